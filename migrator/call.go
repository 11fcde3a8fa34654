package migrator

import (
	"errors"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"surecut/internal/command"
	"surecut/internal/keyspace"
)

// call is one command for the target. Its arguments are binary and belong to the call.
type call struct {
	db    int
	args  []string
	key   keyspace.Key  // the first key that the call names, as scope names it
	other *keyspace.Key // the key that the call names in another database; nil: there is none
	renew int64         // Unix ms: until then the reply 0 means that the target lacks a key that the source had; 0: the reply proves nothing

	absolute bool // the call may be applied again from an earlier point; see command.Spec.Absolute

	reads   bool     // the effect depends on the values of the keys
	more    []string // the keys after the first, where reads is set
	needs   []string // through a proxy: the call is run only if these keys exist
	asks    bool     // through a proxy: the call is not run, and only asks whether the keys in needs exist
	expires int64    // Unix ms at which the key expires after the call; 0: never, or as before
	learns  bool     // PTTL of a key that took over an expiry: the reply is noted
	awaits  bool     // an empty reply means that the target dropped a pending entry which the source keeps

	commands int64 // commands of the source that count as applied with the call
	later    bool  // if the call fails, its key is copied only once the link has caught up
	message  bool  // PUBLISH: nothing can be copied in its place
	unnamed  bool  // the call may touch keys that it does not name, and that cannot be copied in its place

	pos   int // index in the transaction as it was sent, MULTI being 0
	asked int // how many EXISTS directly before the call ask for keys that may have expired

	failed bool // the call is in the field failed of its transaction
}

// always is the field renew of a call whose reply 0 means at any time that the target lacks a key that the source had.
const always = math.MaxInt64

// proves returns always for a command that a source passes on only if it found its key, so that the reply 0 shows that the target lacks the
// key. For other commands it returns 0. RENAME replies with an error instead, but if that is lost, its keys are copied because of renew.
func proves(name string) int64 {
	switch name {
	case "COPY", "RENAME", "RENAMENX", "SMOVE", "RPOPLPUSH", "LMOVE", "LPUSHX", "RPUSHX":
		return always
	}
	return 0
}

// keys returns the keys that a call names, as scope names them: if the call fails, any of them may differ from the source's. It returns nil
// for a call that names none and may touch others.
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

// gone returns those keys that a call reads and that may have expired on the target.
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

// disagrees returns an error if the reply shows that the call may not have done on the target what it did on the source. If the call
// learns an expiry, disagrees notes it in e.
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

// foundGone says whether one of the replies to the EXISTS before a call found no key.
func foundGone(replies []answer) bool {
	return slices.ContainsFunc(replies, func(m answer) bool { return m.kind == answerInt && m.n == 0 })
}

// lacksField says whether the reply shows that the target lacks a field whose expiry the call renewed or removed.
func (c *call) lacksField(m *answer, now int64) bool {
	if m.kind != answerList || len(m.list) == 0 {
		return false
	}
	said := func(n int64) bool {
		return slices.ContainsFunc(m.list, func(m answer) bool { return m.kind == answerInt && m.n == n })
	}
	if strings.EqualFold(c.args[0], "HPERSIST") {
		return said(-2) || len(m.list) == 1 && said(-1) // -1: the field has no expiry, so it was made anew after it had expired
	}
	if len(c.args) < 3 || !strings.EqualFold(c.args[0], "HPEXPIREAT") {
		return false
	}
	at, err := strconv.ParseInt(c.args[2], 10, 64)
	return err == nil && at > now && said(-2)
}

// errKeyGone is the failure of a call whose reply shows that the target lacks a key or field, which the source had.
var errKeyGone = errors.New("the command changed nothing on the target, though it did on the source")

// errUnseen is the failure of a call that was applied, and whose reply, which might have been errKeyGone or errExpired, was lost.
var errUnseen = errors.New("the connection broke before the reply")

// errExpired is the failure of a call that reads a key which may have expired on the target, and was missing or not asked for in time.
var errExpired = errors.New("the key may have expired on the target before the command")

// failure is a call whose keys are to be copied from the source: the target refused it, or it may have met another value than on the
// source. reply is the target's reply, or one of the errors above.
type failure struct {
	call  call
	reply error
}
