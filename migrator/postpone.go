package migrator

import (
	"slices"
	"strconv"
	"strings"
)

// postpone appends to run a call with its expiry postponed, and notes its key as held.
func (h *holds) postpone(run []call, c *sourceCommand, x call) []call {
	at, ok := absoluteExpiry(x.args)
	if !ok {
		return append(run, x)
	}
	h.noteHeld(c, x.args[1])
	x.expires = 0 // the key does not expire before the file has been applied
	if strings.EqualFold(x.args[0], "RESTORE") {
		x.args = slices.Clone(x.args)
		x.args[2] = strconv.FormatInt(postponed(at), 10)
	} else {
		x.args = []string{"PEXPIREAT", x.args[1], strconv.FormatInt(postponed(at), 10)}
	}
	return append(run, x)
}

// notePassedFields reports a call that gives fields of a hash an expiry which has passed: the target deletes the fields at once, so that a
// later command of the file cannot renew it.
func (h *holds) notePassedFields(c *sourceCommand, x call) {
	name, at := strings.ToUpper(x.args[0]), int64(-1)
	switch {
	case len(x.args) < 3, name != "HPEXPIREAT" && name != "HEXPIREAT" && name != "HSETEX":
	case name == "HSETEX":
		if i := slices.IndexFunc(x.args, func(a string) bool { return strings.EqualFold(a, "PXAT") }); i > 0 && i+1 < len(x.args) {
			at, _ = strconv.ParseInt(x.args[i+1], 10, 64)
		}
	default:
		at, _ = strconv.ParseInt(x.args[2], 10, 64)
		if name == "HEXPIREAT" {
			at *= 1000
		}
	}
	if at > 0 && at <= h.Clock.Now() {
		h.Ledger.Note(c.db, x.args[1], name, "fields of this hash had an expiry that has passed; if the file renews it further down, they are missing")
	}
}
