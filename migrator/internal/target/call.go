package target

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

// Call is one command for the target, or a series of them. Its arguments are binary and belong to the call.
type Call struct {
	DB       int
	Args     []string
	Series   *Series       // the commands that the call stands for; nil: Args is the only one
	Key      keyspace.Key  // the first key that the call names, as scope names it
	Other    *keyspace.Key // the key that the call names in another database; nil: there is none
	More     []string      // the keys after the first, where Reads is set
	Renew    int64         // Unix ms: until then the reply 0 means that the target lacks a key that the source had; 0: the reply proves nothing
	Expires  int64         // Unix ms at which the key expires after the call; 0: never, or as before
	Commands int64         // commands of the source that count as applied with the call
	needs    []string      // through a proxy: the call is run only if these keys exist

	pos   int // index in the transaction as it was sent, MULTI being 0
	asked int // how many EXISTS directly before the call ask for keys that may have expired

	// Side by side, since a call is made for each command: spread among the other fields, they would make it a quarter larger.
	Absolute bool // the call may be applied again from an earlier point; see command.Spec.Absolute
	Reads    bool // the effect depends on the values of the keys
	Learns   bool // PTTL of a key that took over an expiry: the reply is noted
	Awaits   bool // an empty reply means that the target dropped a pending entry which the source keeps
	Later    bool // if the call fails, its key is copied only once the link has caught up
	Message  bool // PUBLISH: nothing can be copied in its place
	Unnamed  bool // the call may touch keys that it does not name, and that cannot be copied in its place
	asks     bool // through a proxy: the call is not run, and only asks whether the keys in needs exist
	failed   bool // the call is in the field Failed of its transaction
}

// Always is the field Renew of a call whose reply 0 means at any time that the target lacks a key that the source had.
const Always = math.MaxInt64

// RenewOf returns the field Renew of a call of this command: Always for a command that a source passes on only if it found its key, so that
// the reply 0 shows that the target lacks the key, and 0 for other commands. RENAME replies with an error instead, but if that is lost, its keys are copied because of Renew.
func RenewOf(name string) int64 {
	switch name {
	case "COPY", "RENAME", "RENAMENX", "SMOVE", "RPOPLPUSH", "LMOVE", "LPUSHX", "RPUSHX":
		return Always
	}
	return 0
}

// Keys returns the keys that a call names, as scope names them: if the call fails, any of them may differ from the source's. It returns nil
// for a call that names none and may touch others.
func (c *Call) Keys() []keyspace.Key {
	if c.Series != nil { // each of its commands has one key, of which its own call tells
		return nil
	}
	if c.Other != nil {
		return []keyspace.Key{c.Key, *c.Other}
	}
	args := make([][]byte, len(c.Args))
	for i, a := range c.Args {
		args[i] = []byte(a)
	}
	var indexes []int
	if spec, known := command.Lookup(args); known && spec.Class != command.Keyless {
		if found, err := spec.Keys(args, nil); err == nil {
			indexes = found
		}
	}
	switch {
	case len(indexes) == 0 && c.Unnamed:
		return nil
	case len(indexes) == 0:
		return []keyspace.Key{c.Key}
	}
	keys := make([]keyspace.Key, len(indexes))
	for i, k := range indexes {
		keys[i] = keyspace.Key{DB: c.Key.DB, Name: c.Args[k]}
	}
	return keys
}

// size returns how many commands the call is.
func (c *Call) size() int {
	if c.Series != nil {
		return c.Series.Len()
	}
	return 1
}

// gone returns those keys that a call reads and that may have expired on the target.
func (c *Call) gone(e *Expiring) (names []string) {
	if c.Series != nil {
		return c.Series.gone(e, c.DB)
	}
	if !c.Reads {
		return nil
	}
	if e.mayBeGone(c.DB, c.Key.Name) {
		names = append(names, c.Key.Name)
	}
	for _, name := range c.More {
		if e.mayBeGone(c.DB, name) {
			names = append(names, name)
		}
	}
	return names
}

// disagrees returns an error if the reply shows that the call may not have done on the target what it did on the source. If the call
// learns an expiry, disagrees notes it in e.
func (c *Call) disagrees(m *answer, e *Expiring) error {
	gone := false
	switch m.kind { // the clock is asked only where it matters
	case answerError:
		return m.err
	case answerInt:
		if c.Learns && m.n > 0 {
			e.Note(c.DB, c.Key.Name, time.Now().UnixMilli()+m.n)
		}
		gone = m.n == 0 && c.Renew > 0 && c.Renew > time.Now().UnixMilli()
	case answerNil:
		gone = c.Renew == Always
	case answerList:
		gone = c.Awaits && len(m.list) == 0 || c.lacksField(m, time.Now().UnixMilli())
	}
	if gone {
		return ErrKeyGone
	}
	return nil
}

// foundGone says whether one of the replies to the EXISTS before a call found no key.
func foundGone(replies []answer) bool {
	return slices.ContainsFunc(replies, func(m answer) bool { return m.kind == answerInt && m.n == 0 })
}

// lacksField says whether the reply shows that the target lacks a field whose expiry the call renewed or removed.
func (c *Call) lacksField(m *answer, now int64) bool {
	if m.kind != answerList || len(m.list) == 0 {
		return false
	}
	said := func(n int64) bool {
		return slices.ContainsFunc(m.list, func(m answer) bool { return m.kind == answerInt && m.n == n })
	}
	if strings.EqualFold(c.Args[0], "HPERSIST") {
		return said(-2) || len(m.list) == 1 && said(-1) // -1: the field has no expiry, so it was made anew after it had expired
	}
	if len(c.Args) < 3 || !strings.EqualFold(c.Args[0], "HPEXPIREAT") {
		return false
	}
	at, err := strconv.ParseInt(c.Args[2], 10, 64)
	return err == nil && at > now && said(-2)
}

// ErrKeyGone is the failure of a call whose reply shows that the target lacks a key or field, which the source had.
var ErrKeyGone = errors.New("the command changed nothing on the target, though it did on the source")

// errUnseen is the failure of a call that was applied, and whose reply, which might have been ErrKeyGone or ErrExpired, was lost.
var errUnseen = errors.New("the connection broke before the reply")

// ErrExpired is the failure of a call that reads a key which may have expired on the target, and was missing or not asked for in time.
var ErrExpired = errors.New("the key may have expired on the target before the command")

// Failure is a call whose keys are to be copied from the source: the target refused it, or it may have met another value than on the
// source. reply is the target's reply, or one of the errors above.
type Failure struct {
	Call  Call
	Reply error
}
