package quiet

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"surecut/internal/endpoint"
)

// mostWriters bounds how many clients a report names.
const mostWriters = 10

// Client is a client that is connected to a node, as CLIENT LIST describes it.
type Client struct {
	Addr    string `json:"addr"`
	Name    string `json:"name"`    // as CLIENT SETNAME has set it
	Command string `json:"command"` // the last command that it has sent
	IdleS   int64  `json:"idle_seconds"`

	id    int64
	flags string
}

// blocked says that the client's command waits for something.
func (c Client) blocked() bool { return strings.Contains(c.flags, "b") }

func (c Client) String() string {
	text := c.Addr
	if c.Name != "" {
		text += " (" + c.Name + ")"
	}
	return fmt.Sprintf("%s, last command %s", text, c.Command)
}

// nameWriters adds to a node that is not quiet the clients that may have written to it lately, or that the clients are not known.
func nameWriters(ctx context.Context, d *endpoint.Deployment, n *Node, since time.Duration) {
	clients, err := listClients(ctx, d, n.Addr)
	if err != nil {
		n.Reason += "; it is not known who is connected, because CLIENT LIST failed"
		return
	}
	n.Writers = writers(clients, since)
}

func listClients(ctx context.Context, d *endpoint.Deployment, addr string) ([]Client, error) {
	c, err := d.Client(ctx, addr, 0)
	if err != nil {
		return nil, err
	}
	text, err := c.Do(ctx, c.B().Arbitrary("CLIENT", "LIST").Build()).ToString()
	if err != nil {
		return nil, err
	}
	return parseClients(text), nil
}

// parseClients reads the lines of CLIENT LIST.
func parseClients(text string) []Client {
	var clients []Client
	for line := range strings.Lines(text) {
		var c Client
		for _, field := range strings.Fields(line) {
			name, value, _ := strings.Cut(field, "=")
			switch name {
			case "id":
				c.id, _ = strconv.ParseInt(value, 10, 64)
			case "addr":
				c.Addr = value
			case "name":
				c.Name = value
			case "cmd":
				c.Command = strings.ToLower(value)
			case "flags":
				c.flags = value
			case "idle":
				c.IdleS, _ = strconv.ParseInt(value, 10, 64)
			}
		}
		if c.Addr != "" {
			clients = append(clients, c)
		}
	}
	return clients
}

// writers selects the clients that may have written, the most recently active first. Replicas do not write. The name of a transaction
// or a script does not tell what it has done, so it counts if it ran during the quiet time, because surecut sends none then.
func writers(clients []Client, since time.Duration) []Client {
	chosen := []Client{}
	for _, c := range clients {
		recent := time.Duration(c.IdleS+1)*time.Second < since
		switch {
		case strings.Contains(c.flags, "S"):
		case writesData(c.Command), recent && wraps(c.Command):
			chosen = append(chosen, c)
		}
	}
	slices.SortStableFunc(chosen, func(a, b Client) int { return int(a.IdleS - b.IdleS) })
	return chosen[:min(mostWriters, len(chosen))]
}

// wraps says whether a command runs other commands that may write.
func wraps(name string) bool {
	return slices.Contains([]string{"exec", "eval", "evalsha", "fcall"}, name)
}

// held returns the clients whose writes a pause holds back: they will be executed as soon as the pause ends. A command that is not in
// the table counts as a write. Known commands that do not write may be blocked as well: those that wait (XREAD, WAIT), and those that a
// pause holds back because they are replicated (PUBLISH, PFCOUNT). A client that waited for data by its own command (BLPOP) before
// the pause began does not count as long as it has been idle for as long as the pause has lasted. CLIENT LIST tells the idle time in
// whole seconds.
func held(clients []Client, before map[int64]bool, paused time.Duration) []Client {
	chosen := []Client{}
	for _, c := range clients {
		waits := waitsForData(c.Command) && before[c.id] && time.Duration(c.IdleS+1)*time.Second > paused
		if c.blocked() && (!inTable(c.Command) || writesData(c.Command) || wraps(c.Command)) && !waits {
			chosen = append(chosen, c)
		}
	}
	return chosen
}

// waitsForData says whether a command writes but may wait for data first.
func waitsForData(name string) bool {
	return slices.Contains([]string{"blpop", "brpop", "brpoplpush", "blmove", "blmpop", "bzpopmin", "bzpopmax", "bzmpop", "xreadgroup"}, name)
}
