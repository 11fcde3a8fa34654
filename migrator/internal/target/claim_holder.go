package target

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
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
}

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

// writing returns what makes the command by which this run writes the record. now is the target's clock; 0: unknown.
func (h holder) writing(state string) func(now int64) []string {
	return func(now int64) []string {
		return []string{"HMSET", KeyMigration, "id", h.id, "run", h.run, "place", h.place, "state", state, "host", h.host, "db", h.db,
			"heartbeat_ms", strconv.FormatInt(time.Now().UnixMilli(), 10), "seen_ms", strconv.FormatInt(now, 10)}
	}
}

// mayAcquire returns an error if a record keeps this run, which holds no record yet, from claiming the target. elsewhere says that the
// record is in another database of the same server.
func (h holder) mayAcquire(r record, elsewhere bool) error {
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

// mayRenew returns an error if a record that this run held before belongs to another run by now. A record that is gone belongs to nobody,
// and is written again; the witnesses decide what it means that the target has lost keys.
func (h holder) mayRenew(r record, elsewhere bool) error {
	if elsewhere || r.fields["run"] == h.run || len(r.fields) == 0 {
		return nil
	}
	return r.refused()
}

// record is the record __surecut:migration as it was read.
type record struct {
	fields map[string]string
	now    int64 // the target's clock when the record was read, Unix ms; 0: unknown
}

// age returns how long ago the record was renewed. It goes by the clock of the target where that is known, so that the clocks of two hosts
// need not agree.
func (r record) age() time.Duration {
	if seen := r.seen(); seen > 0 && r.now > 0 {
		return time.Duration(r.now-seen) * time.Millisecond
	}
	beat, _ := strconv.ParseInt(r.fields["heartbeat_ms"], 10, 64)
	return time.Since(time.UnixMilli(beat))
}

// seen returns when the record was last renewed, in Unix ms by the clock of the target; 0 where that is not known.
func (r record) seen() int64 {
	ms, err := strconv.ParseInt(r.fields["seen_ms"], 10, 64)
	if err != nil {
		return 0
	}
	return ms
}

func (r record) refused() error {
	return fmt.Errorf("the target belongs to migration %q on host %q, which renewed its claim %v ago: %w",
		r.fields["id"], r.fields["host"], r.age().Round(time.Second), ErrClaimed)
}
