package migrator

import (
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"

	"surecut/internal/command"
	"surecut/internal/keyspace"
)

// call is one command for the target. Args are binary and belong to the call.
type call struct {
	db    int
	args  []string
	key   keyspace.Key  // the key, or one of them, that is copied from the source if the call fails; as the target names it
	other *keyspace.Key // a key in another database that is copied as well; may be nil
	renew int64         // the reply 0 means until then (Unix ms) that the target lacks what the source had: the expiry that the call gives; 0: it may mean anything

	reads   bool     // what it does depends on what its keys hold
	more    []string // keys beside the first that it reads
	needs   []string // through a proxy: keys without which it is not run
	asks    bool     // through a proxy: it is never run, and only asks for the keys that it needs
	expires int64    // Unix ms at which its key expires afterwards; 0: never, or as before
	learns  bool     // PTTL of a key that took over an expiry: the reply is remembered
	awaits  bool     // an empty reply means that the target dropped a pending entry which the source keeps

	commands int64 // commands of the source that are settled with it
	later    bool  // where it fails, its key is copied only when the link has caught up
	message  bool  // PUBLISH: nothing can be copied in its place
	unnamed  bool  // it may touch keys that it does not name: nothing can be copied in their place

	pos   int // its place in the transaction as it was sent, MULTI being 0
	asked int // so many EXISTS stand before it: of keys that may have expired
}

// keys names the keys of a call as the source does: all of them may differ where it was refused. None: nobody knows them.
func (c *call) keys() []keyspace.Key {
	if c.other != nil {
		return []keyspace.Key{c.key, *c.other}
	}
	args := make([][]byte, len(c.args))
	for i, a := range c.args {
		args[i] = []byte(a)
	}
	var indexes []int
	if spec, known := command.Lookup(args); known && spec.Class != command.Keyless {
		if found, err := spec.Keys(args, nil); err == nil {
			indexes = found
		}
	}
	switch {
	case len(indexes) == 0 && c.unnamed:
		return nil
	case len(indexes) == 0:
		return []keyspace.Key{c.key}
	}
	keys := make([]keyspace.Key, len(indexes))
	for i, k := range indexes {
		keys[i] = keyspace.Key{DB: c.key.DB, Name: c.args[k]}
	}
	return keys
}

// gone names the keys that a call reads and that may have expired on the target.
func (c *call) gone(e *expiring) (names []string) {
	if !c.reads {
		return nil
	}
	if e.mayBeGone(c.db, c.key.Name) {
		names = append(names, c.key.Name)
	}
	for _, name := range c.more {
		if e.mayBeGone(c.db, name) {
			names = append(names, name)
		}
	}
	return names
}

// disagrees returns what the reply to a call says against its key being as it is on the source. What it tells of expiries is remembered.
func (c *call) disagrees(m *answer, e *expiring) error {
	now := time.Now().UnixMilli()
	switch {
	case m.kind == answerError:
		return m.err
	case c.learns && m.kind == answerInt && m.n > 0:
		e.note(c.db, c.key.Name, now+m.n)
	}
	if m.kind == answerInt && m.n == 0 && c.renew > now || m.kind == answerNil && c.renew == always || c.lacksField(m, now) || c.awaits && m.kind == answerList && len(m.list) == 0 {
		return errKeyGone
	}
	return nil
}

// foundGone reads the replies of the EXISTS before a call.
func foundGone(replies []answer) bool {
	return slices.ContainsFunc(replies, func(m answer) bool { return m.kind == answerInt && m.n == 0 })
}

// lacksField says whether a call renewed or took away the expiry of a field that the target has not (any more).
func (c *call) lacksField(m *answer, now int64) bool {
	if m.kind != answerList || len(m.list) == 0 {
		return false
	}
	said := func(n int64) bool {
		return slices.ContainsFunc(m.list, func(m answer) bool { return m.kind == answerInt && m.n == n })
	}
	if strings.EqualFold(c.args[0], "HPERSIST") {
		return said(-2) || len(m.list) == 1 && said(-1) // -1: a new one
	}
	if len(c.args) < 3 || !strings.EqualFold(c.args[0], "HPEXPIREAT") {
		return false
	}
	at, err := strconv.ParseInt(c.args[2], 10, 64)
	return err == nil && at > now && said(-2)
}

// errKeyGone is the failure of a call that renews an expiry, or moves a key: the source had the key, the target has not.
var errKeyGone = errors.New("the command changed nothing on the target, though it did on the source")

// errUnseen is the failure of such a call whose reply was lost.
var errUnseen = errors.New("the connection broke before the reply")

// errExpired is the failure of a call that read a key which had an expiry and is not there.
var errExpired = errors.New("the key may have expired on the target before the command")

// failure is a call that the target refused, with its reply.
type failure struct {
	call  call
	reply error
}
