package target

import "github.com/redis/rueidis"

// conn is one connection to one node of the target, owned by one writer.
type conn struct {
	addr    string
	dc      rueidis.DedicatedClient
	release func()
	keep    func() bool // cancels the closing at the end of the context
	id      string      // CLIENT ID; empty before Redis 5.0
	server  Instance    // who answers
	ends    bool        // the server lets connections be ended
	db      int         // the selected database; -1 after a failure
	reaches int         // the server is known to have the databases up to this one
	pipe    *pipe       // second connection to the node, for batches of restores and transactions; nil: not open
}

func (c *conn) process() string { return c.server.Process }

// ids returns the CLIENT IDs of a connection and its pipe, as far as they are known.
func (c *conn) ids() []string {
	switch {
	case c.id == "":
		return nil
	case c.pipe == nil || c.pipe.id == "":
		return []string{c.id}
	}
	return []string{c.id, c.pipe.id}
}

func (c *conn) close() {
	c.keep()
	c.dc.Close()
	c.release()
}
