package stream

import (
	"math"
	"strconv"
	"strings"

	"surecut/internal/keyspace"
	"surecut/migrator/internal/reread"
	"surecut/migrator/internal/slab"
	"surecut/migrator/internal/target"
)

// holds decides which keys are held without their expiry while the link lags, and which are copied once it has caught up.
type holds struct {
	*Config
	ahead    *ahead
	touched  map[uint64]struct{} // hashes of keys whose first change since the source was lost has come; see ask
	suspects map[uint64]struct{} // hashes of keys that were added to Doubts.later
}

func newHolds(cfg *Config, ahead *ahead) *holds {
	return &holds{Config: cfg, ahead: ahead, touched: map[uint64]struct{}{}, suspects: map[uint64]struct{}{}}
}

// forget notes that what is known of keys by their databases does not hold any more.
func (h *holds) forget() {
	clear(h.touched)
	clear(h.suspects)
}

// changesExpiry says whether hold may change a call of a command.
func changesExpiry(name string) bool {
	return name == "PERSIST" || name == "PEXPIREAT" || name == "EXPIREAT" || name == "RESTORE"
}

// hold appends to run a call that gives a key an expiry, or removes it. While expiries are held, hold leaves out an expiry that could pass
// before the link has caught up, and any that was relative at the source: that one was dated by the time of receipt, which may be much
// later than that of the command. The reply tells whether the target still has the key; one that has expired there is copied again.
func (h *holds) hold(run []target.Call, c *sourceCommand, x target.Call, relative bool) []target.Call {
	if h.File {
		return h.postpone(run, c, x)
	}
	if strings.EqualFold(x.Args[0], "PERSIST") && len(x.Args) == 2 {
		if !h.Expiries.Holds() {
			x.Renew = target.Always
			return append(run, x)
		}
		return h.keepHeld(run, c, x)
	}
	at, ok := absoluteExpiry(x.Args)
	if !ok {
		return append(run, x)
	}
	if !h.Expiries.Holds() || !relative && at > h.Clock.Now()+h.HoldExpiry.Milliseconds() {
		x.Renew = renews(x.Args[0], at)
		return append(run, x)
	}
	if strings.EqualFold(x.Args[0], "RESTORE") {
		h.noteHeld(c, x.Args[1])
		x.Args = append([]string(nil), x.Args...)
		x.Args[2], x.Expires = "0", 0
		return append(run, x)
	}
	return h.keepHeld(run, c, x)
}

// keepHeld appends EXISTS and PERSIST in place of a call that changes the expiry of a key, and notes the key as held.
func (h *holds) keepHeld(run []target.Call, c *sourceCommand, x target.Call) []target.Call {
	h.noteHeld(c, x.Args[1])
	there := x
	there.Args, there.Renew, there.Expires = []string{"EXISTS", x.Args[1]}, target.Always, 0
	there.Commands = 0
	x.Args, x.Expires = []string{"PERSIST", x.Args[1]}, 0
	return append(run, there, x)
}

func (h *holds) noteHeld(c *sourceCommand, name string) {
	if err := h.Expiries.Hold(keyspace.Key{DB: c.db, Name: name}); err != nil {
		h.Link.Fail(err)
	}
}

// absoluteExpiry returns the Unix ms at which a call lets a whole key expire: PEXPIREAT, EXPIREAT, or RESTORE with ABSTTL. Other commands
// that set the expiry of a key have been rewritten to these forms before.
func absoluteExpiry(args []string) (at int64, ok bool) {
	if len(args) < 3 {
		return 0, false
	}
	var unit int64
	switch {
	case strings.EqualFold(args[0], "PEXPIREAT"):
		unit = 1
	case strings.EqualFold(args[0], "EXPIREAT"):
		unit = 1000
	case strings.EqualFold(args[0], "RESTORE") && args[2] != "0":
		unit = 1
	default:
		return 0, false
	}
	n, err := strconv.ParseInt(args[2], 10, 64)
	fits := n <= math.MaxInt64/unit && n >= math.MinInt64/unit // servers refuse what does not
	return n * unit, err == nil && fits
}

// renews returns the field Renew of a call that gives a key an expiry: at, until which the reply 0 shows that the target lacks the key, or
// 0 for RESTORE, which makes the key.
func renews(name string, at int64) int64 {
	if strings.EqualFold(name, "RESTORE") {
		return 0
	}
	return at
}

// holdAgain notes the keys of a command, which are the arguments with these indexes, as held: an earlier run may have applied the command and ended before it saved the list, or the
// command (see carriesExpiry) makes a key that is without expiry because another one is held.
func (h *holds) holdAgain(c *sourceCommand, keys []int) error {
	for _, k := range keys {
		if err := h.Expiries.Hold(keyspace.Key{DB: c.db, Name: slab.View(c.args[k])}); err != nil {
			return err
		}
	}
	return nil
}

// carriesExpiry says whether a command gives a key the expiry that another key has.
func carriesExpiry(name string) bool { return name == "RENAME" || name == "RENAMENX" || name == "COPY" }

// holdCopy removes a near expiry from the copy of a key, and notes the key as held: the stream is behind the copy, and might renew the
// expiry only after the target has let the key expire.
func (h *holds) holdCopy(c *reread.Copy) error {
	if c.ExpireAt == 0 || !h.Expiries.Holds() || c.ExpireAt > h.Clock.Now()+h.HoldExpiry.Milliseconds() {
		return nil
	}
	c.ExpireAt = 0
	if err := h.Expiries.Hold(c.Key); err != nil {
		return err
	}
	return h.Expiries.Save()
}
