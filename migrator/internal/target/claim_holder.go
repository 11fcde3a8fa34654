package target

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/cespare/xxhash/v2"
)

// leaseTime is how long a record is valid after its last renewal.
const leaseTime = 30 * time.Second

// ErrClaimed says that the target belongs to another run.
var ErrClaimed = errors.New("two migrations must not write to one target: wait for the other one or stop it on its host; if it was killed, its claim ends " + leaseTime.String() + " after it was last renewed")

// holder is this run, as the record of the claim names it.
type holder struct {
	id    string // of the migration
	run   string // ID of this run: the ID of the migration is not enough, since it may be resumed elsewhere from a copy of its state
	host  string
	place string // hash of host and state directory, whose lock keeps a second process away
	db    string // the only database that it writes to, or allDatabases
	fence string // what keeps it from writing once another run has the target: fencedByEnding or fencedByTime
	epoch int64  // of its claim: higher than that of each claim before; 0: it holds none yet
}

// What keeps a run from writing when another one has taken the target over.
const (
	fencedByEnding = "connections" // it names its connections, so that they can be found and ended
	fencedByTime   = "lease"       // it writes only so long after it has renewed its record
)

// allDatabases is the database of a holder that writes to every database of a server.
const allDatabases = "all"

// newHolder returns a new run of a migration. home is the only database of the target that it writes to; -1: it writes to all.
func newHolder(id string, home int, stateDir string) (holder, error) {
	var run [8]byte
	if _, err := rand.Read(run[:]); err != nil {
		return holder{}, err
	}
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	dir, err := filepath.Abs(stateDir)
	if err != nil {
		return holder{}, fmt.Errorf("Config.StateDir: %w", err)
	}
	h := holder{id: id, run: hex.EncodeToString(run[:]), host: host, db: allDatabases}
	h.place = strconv.FormatUint(xxhash.Sum64String(host+"\x00"+dir), 16)
	if home >= 0 {
		h.db = strconv.Itoa(home)
	}
	return h, nil
}

// claiming returns the command by which this run takes over a record, and gives its claim an epoch. A record that is gone does not tell the
// epochs before, so the clocks of the target and of the host have to be beyond them.
func (h *holder) claiming(before record) []string {
	h.epoch = max(before.epoch()+1, before.now, time.Now().UnixMilli())
	return h.writing("running")(before)
}

// writing returns what makes the command by which this run renews its record.
func (h *holder) writing(state string) func(before record) []string {
	return func(before record) []string {
		return []string{"HMSET", KeyMigration, "id", h.id, "run", h.run, "epoch", strconv.FormatInt(h.epoch, 10), "place", h.place, "state", state,
			"host", h.host, "db", h.db, "fence", h.fence, "heartbeat_ms", strconv.FormatInt(time.Now().UnixMilli(), 10), "seen_ms", strconv.FormatInt(before.now, 10)}
	}
}

// namePrefix begins the name of each connection over which surecut writes to a target.
const namePrefix = "surecut-"

// connectionName returns the name of every connection over which this run writes.
func (h *holder) connectionName() string { return namePrefix + h.id + ":" + h.run + ":" + h.db }

// other says whether a connection with this name writes for another run, to databases to which this one writes as well. Names of earlier
// versions tell no database.
func (h *holder) other(name string) bool {
	if !strings.HasPrefix(name, namePrefix) || name == h.connectionName() {
		return false
	}
	parts := strings.Split(name, ":")
	return len(parts) < 3 || h.db == allDatabases || parts[2] == allDatabases || parts[2] == h.db
}

// mayAcquire returns an error if a record keeps this run, which holds no record yet, from claiming the target. elsewhere says that the
// record is in another database of the same server.
func (h *holder) mayAcquire(r record, elsewhere bool) error {
	switch {
	case r.fields["state"] != "running", r.age() >= leaseTime:
		return nil
	case r.fields["id"] == h.id && (r.fields["run"] == h.run || r.fields["place"] == h.place || r.fields["place"] == "" && r.fields["host"] == h.host):
		return nil
	case elsewhere && h.db != allDatabases && r.fields["db"] != allDatabases: // both migrations keep to one database each
		return nil
	}
	return r.refused()
}

// overlaps says whether a record in another database of the same server belongs to another migration that writes to the same databases as
// this one.
func (h *holder) overlaps(r record) bool {
	return r.fields["id"] != "" && r.fields["id"] != h.id && (h.db == allDatabases || r.fields["db"] == allDatabases)
}

// mayRenew returns an error if a record that this run held before belongs to another run by now. A record that is gone belongs to nobody,
// and is written again; the witnesses decide what it means that the target has lost keys. So is one of an earlier claim, which a server that
// went back to older data has brought back. A record without an epoch may have been written later, by an earlier version.
func (h *holder) mayRenew(r record, elsewhere bool) error {
	if elsewhere || r.fields["run"] == h.run || len(r.fields) == 0 || r.epoch() > 0 && r.epoch() < h.epoch {
		return nil
	}
	return r.refused()
}

// record is the record __surecut:migration as it was read.
type record struct {
	fields map[string]string
	db     int    // in which it was found
	now    int64  // the target's clock when the record was read, Unix ms; 0: unknown
	server string // run_id of the server that holds it; "": unknown
}

// age returns how long ago the record was renewed. It goes by the clock of the target where that is known, so that the clocks of two hosts
// need not agree.
func (r record) age() time.Duration {
	if seen := r.seen(); seen > 0 && r.now > 0 {
		return time.Duration(r.now-seen) * time.Millisecond
	}
	return time.Since(time.UnixMilli(r.number("heartbeat_ms")))
}

// seen returns when the record was last renewed, in Unix ms by the clock of the target; 0 where that is not known.
func (r record) seen() int64 { return r.number("seen_ms") }

// epoch returns the epoch of the claim. A record of an earlier version has none, and 0 is before all others.
func (r record) epoch() int64 { return r.number("epoch") }

// number returns a field that is a number; 0 where it is none.
func (r record) number(field string) int64 {
	n, err := strconv.ParseInt(r.fields[field], 10, 64)
	if err != nil {
		return 0
	}
	return n
}

func (r record) refused() error {
	return fmt.Errorf("the target belongs to migration %q on host %q, which renewed its claim %v ago: %w",
		r.fields["id"], r.fields["host"], r.age().Round(time.Second), ErrClaimed)
}
