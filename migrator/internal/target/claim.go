package target

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/cespare/xxhash/v2"
	"github.com/redis/rueidis"

	"surecut/internal/endpoint"
	"surecut/internal/reply"
)

// A target belongs to one run of one migration at a time. The record __surecut:migration says to which. A run changes the record only in a
// transaction (through a proxy, in a script) that fails if the record has changed since it was read, so that of two runs which begin at
// the same time one is refused. The run that holds the record renews it. Another run may take over a record that was not renewed for the
// length of a lease.
//
// A run can be stopped without noticing (SIGSTOP, a suspended machine) and go on when another run has taken the record over. So a run
// writes only while its last renewal is recent by both clocks, monotonic and wall; otherwise it renews first, and ends if the record is no
// longer its own. A run that takes a record over ends the connections of the run before it, and a run uses a new connection only after it
// has seen that the record is its own. So commands that a stopped run had on their way do not arrive late.

const (
	// leaseTime is how long a record is valid after its last renewal.
	leaseTime = 30 * time.Second
	// leaseRenewal is the interval at which the run renews its record.
	leaseRenewal = 5 * time.Second
	// leaseTrust is how long the run may write after a renewal without another one.
	leaseTrust = 15 * time.Second
)

// ErrClaimed says that the target belongs to another run.
var ErrClaimed = errors.New("two migrations must not write to one target: wait for the other one or stop it on its host; if it was killed, its claim ends " + leaseTime.String() + " after it was last renewed")

// Claim is the hold of this run on the target.
type Claim struct {
	t     *Target
	run   string // ID of this run: the ID of the migration is not enough, since it may be resumed elsewhere from a copy of its state
	host  string
	place string // hash of host and state directory, whose lock keeps a second process away

	resumed bool   // an earlier run of this migration has held the target
	whole   bool   // the witnesses of the earlier run show that the target has not lost its keys
	later   record // of the overlapping migrations with a record in another database, the one that was renewed last

	renewing sync.Mutex
	mu       sync.Mutex
	held     bool      // guarded by mu
	renewed  time.Time // when the last renewal was sent; guarded by mu
}

func newClaim(t *Target, stateDir string) (*Claim, error) {
	var id [8]byte
	if _, err := rand.Read(id[:]); err != nil {
		return nil, err
	}
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	dir, err := filepath.Abs(stateDir)
	if err != nil {
		return nil, fmt.Errorf("Config.StateDir: %w", err)
	}
	place := strconv.FormatUint(xxhash.Sum64String(host+"\x00"+dir), 16)
	return &Claim{t: t, run: hex.EncodeToString(id[:]), host: host, place: place}, nil
}

// Resume says that an earlier run of the migration has held the target. whole says whether that run's witnesses show that the target has
// not lost its keys.
func (c *Claim) Resume(whole bool) { c.resumed, c.whole = true, whole }

// Acquire claims the target for this run, or returns an error that says which run holds it. It ends connections that the run which held it
// before, or a killed run of this migration, may have left behind.
func (c *Claim) Acquire(ctx context.Context) error {
	before, err := c.change(ctx, c.writing("running"), func(r record, elsewhere bool) error {
		if err := c.mayAcquire(r, elsewhere); err != nil {
			return err
		}
		return c.stillOurs(r, elsewhere)
	})
	if err != nil {
		return err
	}
	ids := []string{c.t.id}
	if id := before["id"]; id != "" && id != c.t.id {
		ids = append(ids, id)
	}
	return c.t.left.endNamed(ctx, ids)
}

// mayAcquire returns an error if a record keeps this run, which holds no record yet, from claiming the target. elsewhere says that the
// record is in another database of the same server.
func (c *Claim) mayAcquire(r record, elsewhere bool) error {
	switch {
	case r.fields["state"] != "running", r.age() >= leaseTime:
		return nil
	case r.fields["id"] == c.t.id && (r.fields["run"] == c.run || r.fields["place"] == c.place || r.fields["place"] == "" && r.fields["host"] == c.host):
		return nil
	case elsewhere && c.t.DBs.Home >= 0 && r.fields["db"] != allDatabases: // both migrations keep to one database each
		return nil
	}
	return r.refused()
}

// mayRenew returns an error if a record that this run held before belongs to another run by now. A record that is gone belongs to nobody,
// and is written again; the witnesses decide what it means that the target has lost keys.
func (c *Claim) mayRenew(r record, elsewhere bool) error {
	if elsewhere || r.fields["run"] == c.run || len(r.fields) == 0 {
		return nil
	}
	return r.refused()
}

// Renew renews the claim. While the target does not answer, it waits.
func (c *Claim) Renew(ctx context.Context, state string) error {
	c.renewing.Lock()
	defer c.renewing.Unlock()
	_, err := c.change(ctx, c.writing(state), c.mayRenew)
	return err
}

// Release deletes the record if it still belongs to this run. That of another run stays as it is.
func (c *Claim) Release(ctx context.Context) error {
	c.renewing.Lock()
	defer c.renewing.Unlock()
	_, err := c.change(ctx, func(int64) []string { return []string{"DEL", KeyMigration} }, c.mayRenew)
	if errors.Is(err, ErrClaimed) {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.held = false
	return err
}

// Hold returns nil if this run may write. It asks the target only if the last renewal is not recent.
func (c *Claim) Hold(ctx context.Context) error {
	if c == nil || c.trusted() {
		return nil
	}
	c.renewing.Lock()
	defer c.renewing.Unlock()
	if c.trusted() { // another goroutine has renewed the claim meanwhile
		return nil
	}
	_, err := c.change(ctx, c.writing("running"), c.mayRenew)
	return err
}

// trusted says whether the last renewal is recent, or no claim is held yet. It asks both clocks: the monotonic one stands still while the
// machine is suspended, and the wall clock may be set.
func (c *Claim) trusted() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	return !c.held || now.Sub(c.renewed) < leaseTrust && now.Round(0).Sub(c.renewed.Round(0)).Abs() < leaseTrust
}

// verify checks that the record still belongs to this run, before a new connection is used.
func (c *Claim) verify(ctx context.Context) error {
	if c == nil {
		return nil
	}
	c.mu.Lock()
	held := c.held
	c.mu.Unlock()
	if !held {
		return nil
	}
	fields, err := c.t.ownHash(ctx, KeyMigration)
	if err != nil {
		return err
	}
	return c.mayRenew(record{fields: fields}, false)
}

// record is the record __surecut:migration as it was read.
type record struct {
	fields map[string]string
	now    int64 // the target's clock when the record was read, Unix ms; 0: unknown
}

// age returns how long ago the record was renewed. It goes by the clock of the target where that is known, so that the clocks of two hosts
// need not agree.
func (r record) age() time.Duration {
	seen, err := strconv.ParseInt(r.fields["seen_ms"], 10, 64)
	if err == nil && seen > 0 && r.now > 0 {
		return time.Duration(r.now-seen) * time.Millisecond
	}
	beat, _ := strconv.ParseInt(r.fields["heartbeat_ms"], 10, 64)
	return time.Since(time.UnixMilli(beat))
}

func (r record) refused() error {
	return fmt.Errorf("the target belongs to migration %q on host %q, which renewed its claim %v ago: %w",
		r.fields["id"], r.fields["host"], r.age().Round(time.Second), ErrClaimed)
}

// allDatabases is the value of the field db for a migration that writes to every database of a server.
const allDatabases = "all"

// writing returns what makes the command by which this run writes the record. now is the target's clock; 0: unknown.
func (c *Claim) writing(state string) func(now int64) []string {
	db := allDatabases
	if c.t.DBs.Home >= 0 {
		db = strconv.Itoa(c.t.DBs.Home)
	}
	return func(now int64) []string {
		return []string{"HMSET", KeyMigration, "id", c.t.id, "run", c.run, "place", c.place, "state", state, "host", c.host, "db", db,
			"heartbeat_ms", strconv.FormatInt(time.Now().UnixMilli(), 10), "seen_ms", strconv.FormatInt(now, 10)}
	}
}

// change reads the record, changes it by the command write if may returns nil for it, and returns what it read. If another run changes the
// record in between, it begins again.
func (c *Claim) change(ctx context.Context, write func(now int64) []string, may func(r record, elsewhere bool) error) (before map[string]string, err error) {
	sent := time.Now()
	err = c.t.Retry(ctx, func() (again, err error) {
		n, ok := c.t.PrimaryOf(c.t.Slot(KeyMigration))
		if !ok {
			return fmt.Errorf("target: no node holds slot %d", c.t.Slot(KeyMigration)), nil
		}
		sent = time.Now()
		client, err := c.t.d.Client(ctx, n.Addr, c.t.OwnDB())
		if err != nil {
			return AgainOrEnd(n.Addr, err)
		}
		if c.t.Can.Transactions {
			before, err = c.changeWatched(ctx, client, write, may)
		} else {
			before, err = c.changeByScript(ctx, client, write, may)
		}
		if errors.Is(err, ErrClaimed) || errors.Is(err, ErrGivenAway) {
			return nil, fmt.Errorf("target %s: %w", n.Addr, err)
		}
		if errors.Is(err, errOvertaken) {
			return err, nil
		}
		return AgainOrEnd(n.Addr, err)
	})
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	c.held, c.renewed = true, sent
	c.mu.Unlock()
	return before, nil
}

// errOvertaken says that another run has changed the record between reading and writing it.
var errOvertaken = errors.New("the record of the migration was changed by another one at the same time")

// changeWatched does one attempt of change by WATCH and MULTI. It also shows may the records in other databases of the same server, whose
// migrations may overlap with this one.
func (c *Claim) changeWatched(ctx context.Context, client rueidis.Client, write func(now int64) []string, may func(record, bool) error) (before map[string]string, err error) {
	dc, release := client.Dedicate()
	defer release()
	defer func() {
		if err != nil { // the connection still watches keys, and may have selected another database
			dc.Close()
		}
	}()
	var now int64
	if m, err := dc.Do(ctx, arbitrary(dc, "TIME")).ToMessage(); err == nil {
		at, _ := reply.Time(&m) // a proxy may answer with something else
		now = at.UnixMilli()
	}
	own, others := c.t.OwnDB(), c.others()
	for _, db := range append(others, own) {
		if len(others) > 0 {
			if err := dc.Do(ctx, arbitrary(dc, "SELECT", strconv.Itoa(db))).Error(); err != nil {
				if db != own && endpoint.Code(err) == "ERR" { // there is no such database
					continue
				}
				return nil, err
			}
		}
		res := dc.DoMulti(ctx, arbitrary(dc, "WATCH", KeyMigration), arbitrary(dc, "HGETALL", KeyMigration))
		if err := res[0].Error(); err != nil {
			return nil, err
		}
		fields, err := res[1].AsStrMap()
		if err != nil {
			return nil, err
		}
		if err := may(record{fields, now}, db != own); err != nil {
			return nil, err
		}
		before = fields
	}
	res := dc.DoMulti(ctx, arbitrary(dc, "MULTI"), arbitrary(dc, write(now)...), arbitrary(dc, "EXEC"))
	for _, r := range res {
		if err := r.Error(); rueidis.IsRedisNil(err) {
			return nil, errOvertaken
		} else if err != nil {
			return nil, err
		}
	}
	return before, nil
}

// mostClaimed bounds the number of databases that are searched for records of other migrations. A server has 16 by default.
const mostClaimed = 64

// others returns the other databases that may hold the record of a migration that overlaps with this one.
func (c *Claim) others() (dbs []int) {
	switch {
	case c.t.Cluster || c.t.DBs.Only:
		return nil
	case c.t.DBs.Home > 0:
		return []int{0}
	case c.t.DBs.Home == 0:
		return nil
	}
	for db := 1; db < min(max(c.t.DBs.Count, 16), mostClaimed); db++ {
		dbs = append(dbs, db)
	}
	return dbs
}

// compareAndSet is a script that runs a command on the record if its fields run, state and heartbeat_ms are still those that were read.
const compareAndSet = `local is = redis.call('HMGET', KEYS[1], 'run', 'state', 'heartbeat_ms')
for i = 1, 3 do if (is[i] or '') ~= ARGV[i] then return 0 end end
redis.call(ARGV[4], KEYS[1], unpack(ARGV, 5))
return 1`

func (c *Claim) changeByScript(ctx context.Context, client rueidis.Client, write func(now int64) []string, may func(record, bool) error) (map[string]string, error) {
	before, err := client.Do(ctx, arbitrary(client, c.t.Reading("HGETALL", KeyMigration)...)).AsStrMap()
	if err != nil {
		return nil, err
	}
	if err := may(record{fields: before}, false); err != nil {
		return nil, err
	}
	command := write(0)
	args := slices.Concat([]string{"EVAL", compareAndSet, "1", KeyMigration, before["run"], before["state"], before["heartbeat_ms"]}, command[:1], command[2:])
	switch n, err := client.Do(ctx, arbitrary(client, args...)).AsInt64(); {
	case err != nil:
		return nil, err
	case n == 0:
		return nil, errOvertaken
	}
	return before, nil
}

// Keep renews the claim until ctx ends. It returns an error if the target belongs to another run by now.
func (c *Claim) Keep(ctx context.Context) error {
	tick := time.NewTicker(leaseRenewal)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		err := c.Renew(ctx, "running")
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, ErrClaimed):
			return err
		case err != nil:
			c.t.log.Warn("the heartbeat could not be written to the target", "error", err)
		}
	}
}
