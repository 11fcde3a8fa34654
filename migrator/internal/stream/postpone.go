package stream

import (
	"slices"
	"strconv"
	"strings"

	"surecut/migrator/internal/target"
)

// postpone appends to run a call with its expiry postponed, and notes its key as held.
func (h *holds) postpone(run []target.Call, c *sourceCommand, x target.Call) []target.Call {
	at, ok := absoluteExpiry(x.Args)
	if !ok {
		return append(run, x)
	}
	h.noteHeld(c, x.Args[1])
	x.Expires = 0 // the key does not expire before the file has been applied
	if strings.EqualFold(x.Args[0], "RESTORE") {
		x.Args = slices.Clone(x.Args)
		x.Args[2] = strconv.FormatInt(target.Postponed(at), 10)
	} else {
		x.Args = []string{"PEXPIREAT", x.Args[1], strconv.FormatInt(target.Postponed(at), 10)}
	}
	return append(run, x)
}

// notePassedFields reports a call that gives fields of a hash an expiry which has passed: the target deletes the fields at once, so that a
// later command of the file cannot renew it.
func (h *holds) notePassedFields(c *sourceCommand, x target.Call) {
	name, at := strings.ToUpper(x.Args[0]), int64(-1)
	switch {
	case len(x.Args) < 3, name != "HPEXPIREAT" && name != "HEXPIREAT" && name != "HSETEX":
	case name == "HSETEX":
		if i := slices.IndexFunc(x.Args, func(a string) bool { return strings.EqualFold(a, "PXAT") }); i > 0 && i+1 < len(x.Args) {
			at, _ = strconv.ParseInt(x.Args[i+1], 10, 64)
		}
	default:
		at, _ = strconv.ParseInt(x.Args[2], 10, 64)
		if name == "HEXPIREAT" {
			at *= 1000
		}
	}
	if at > 0 && at <= h.Clock.Now() {
		h.Ledger.Note(c.db, x.Args[1], name, "fields of this hash have already expired; if a later command of the file renews their expiry, they are missing on the target")
	}
}
