package migrator

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
	"strings"
	"sync"
	"time"

	"github.com/cespare/xxhash/v2"
	"github.com/redis/rueidis"

	"surecut/internal/endpoint"
	"surecut/internal/reply"
	"surecut/internal/retry"
)

// A target belongs to one run of one migration at a time. The record __surecut:migration says to which; it is changed only by
// comparing it with what was read, in one transaction (through a proxy, in one script), so that of two runs which begin at once one is
// refused. The run that holds the record renews it. Whoever finds it not renewed for the length of a lease may take it over.
//
// A run can be stopped without noticing (SIGSTOP, a suspended machine) and wake up when the record is another's. So it writes only
// while its last renewal is recent by both clocks, monotonic and wall; otherwise it renews first, and ends where the record is not its
// own any more. Whoever takes a record over ends the connections of the run before it, and a new connection is used only after the
// record was seen to be its own: so what a run had on its way when it was stopped does not arrive late.

const (
	// leaseTime is how long a record counts that nobody renews.
	leaseTime = 30 * time.Second
	// leaseRenewal is how often it is renewed.
	leaseRenewal = 5 * time.Second
	// leaseTrust is how long after a renewal may be written without another one.
	leaseTrust = 15 * time.Second
)

// errClaimed says that the target belongs to another run.
var errClaimed = errors.New("two migrations must not write to one target: wait for the other one or stop it on its host; if it was killed, its claim ends " + leaseTime.String() + " after it was last renewed")

// claim is the hold of this run on the target.
type claim struct {
	t     *target
	run   string // names this run: the same migration may be resumed elsewhere from a copy of its state
	host  string
	place string // host and state directory, whose lock keeps a second process away

	resumed bool   // an earlier run of this migration has held the target
	whole   bool   // what the earlier run has left shows that the target has not lost its keys
	later   record // of a migration in another database that overlaps, the one that was renewed last

	renewing sync.Mutex
	mu       sync.Mutex
	held     bool      // guarded by mu
	renewed  time.Time // when the last renewal was sent; guarded by mu
}

func newClaim(t *target, stateDir string) (*claim, error) {
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
	return &claim{t: t, run: hex.EncodeToString(id[:]), host: host, place: place}, nil
}

// acquire takes the target, or says whose it is. Connections of the run that held it before are ended, and so are those that a killed run
// of this migration may have left behind.
func (c *claim) acquire(ctx context.Context) error {
	before, err := c.change(ctx, "running", func(r record, elsewhere bool) error {
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
	return c.t.disown(ctx, ids)
}

// mayAcquire judges a record that this run does not hold yet. elsewhere says that it is in another database of the same server.
func (c *claim) mayAcquire(r record, elsewhere bool) error {
	switch {
	case r.fields["state"] != "running", r.age() >= leaseTime:
		return nil
	case r.fields["id"] == c.t.id && (r.fields["run"] == c.run || r.fields["place"] == c.place || r.fields["place"] == "" && r.fields["host"] == c.host):
		return nil
	case elsewhere && c.t.dbs.Home >= 0 && r.fields["db"] != allDatabases: // that one keeps to its own database
		return nil
	}
	return r.refused()
}

// mayRenew judges a record that this run held when it last looked. One that is gone is nobody else's: what it means that a target has
// lost keys is not decided here.
func (c *claim) mayRenew(r record, elsewhere bool) error {
	if elsewhere || r.fields["run"] == c.run || len(r.fields) == 0 {
		return nil
	}
	return r.refused()
}

// renew extends the claim. While the target does not answer it waits.
func (c *claim) renew(ctx context.Context, state string) error {
	c.renewing.Lock()
	defer c.renewing.Unlock()
	_, err := c.change(ctx, state, c.mayRenew)
	return err
}

// hold returns nil while this run may write. It costs nothing as long as the claim is renewed in time.
func (c *claim) hold(ctx context.Context) error {
	if c == nil || c.trusted() {
		return nil
	}
	c.renewing.Lock()
	defer c.renewing.Unlock()
	if c.trusted() { // renewed by somebody else meanwhile
		return nil
	}
	_, err := c.change(ctx, "running", c.mayRenew)
	return err
}

// trusted says whether the last renewal is recent. The monotonic clock stands still while a machine is suspended, and the wall clock may
// be set, so both are asked.
func (c *claim) trusted() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	return !c.held || now.Sub(c.renewed) < leaseTrust && now.Round(0).Sub(c.renewed.Round(0)).Abs() < leaseTrust
}

// verify sees that the record is this run's, before a new connection is used.
func (c *claim) verify(ctx context.Context) error {
	if c == nil {
		return nil
	}
	c.mu.Lock()
	held := c.held
	c.mu.Unlock()
	if !held {
		return nil
	}
	fields, err := c.t.ownHash(ctx, keyMigration)
	if err != nil {
		return err
	}
	return c.mayRenew(record{fields: fields}, false)
}

// record is what a target says of the migration that it belongs to.
type record struct {
	fields map[string]string
	now    int64 // the target's clock, Unix ms; 0: it does not tell
}

// age is how long ago the record was renewed: by the clock of the target where it is known, so that two hosts need not agree on the time.
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
		r.fields["id"], r.fields["host"], r.age().Round(time.Second), errClaimed)
}

// allDatabases is the field db of a migration that writes to every database of a server.
const allDatabases = "all"

// fields is the record as this run writes it.
func (c *claim) fields(state string, now int64) []string {
	db := allDatabases
	if c.t.dbs.Home >= 0 {
		db = strconv.Itoa(c.t.dbs.Home)
	}
	return []string{"id", c.t.id, "run", c.run, "place", c.place, "state", state, "host", c.host, "db", db,
		"heartbeat_ms", strconv.FormatInt(time.Now().UnixMilli(), 10), "seen_ms", strconv.FormatInt(now, 10)}
}

// change writes the record if may allows it for what is there, and returns what was there. Nobody else changes it in between.
func (c *claim) change(ctx context.Context, state string, may func(r record, elsewhere bool) error) (before map[string]string, err error) {
	sent := time.Now()
	err = c.t.retry(ctx, func() (again, err error) {
		n, ok := c.t.primaryOf(c.t.slot(keyMigration))
		if !ok {
			return fmt.Errorf("target: no node holds slot %d", c.t.slot(keyMigration)), nil
		}
		sent = time.Now()
		client, err := c.t.d.Client(ctx, n.Addr, c.t.ownDB())
		if err != nil {
			return classify(n.Addr, err)
		}
		if c.t.can.transactions {
			before, err = c.changeWatched(ctx, client, state, may)
		} else {
			before, err = c.changeByScript(ctx, client, state, may)
		}
		if errors.Is(err, errClaimed) || errors.Is(err, errGivenAway) {
			return nil, fmt.Errorf("target %s: %w", n.Addr, err)
		}
		if errors.Is(err, errOvertaken) {
			return err, nil
		}
		return classify(n.Addr, err)
	})
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	c.held, c.renewed = true, sent
	c.mu.Unlock()
	return before, nil
}

// errOvertaken says that the record was changed between reading and writing it.
var errOvertaken = errors.New("the record of the migration was changed by another one at the same time")

// changeWatched does it by WATCH and MULTI. Migrations that write to other databases of the same server have their records there; what
// overlaps with this one is refused as well.
func (c *claim) changeWatched(ctx context.Context, client rueidis.Client, state string, may func(record, bool) error) (before map[string]string, err error) {
	dc, release := client.Dedicate()
	defer release()
	defer func() {
		if err != nil { // it watches, and may have selected another database
			dc.Close()
		}
	}()
	var now int64
	if m, err := dc.Do(ctx, arbitrary(dc, "TIME")).ToMessage(); err == nil {
		at, _ := reply.Time(&m) // a proxy may not tell it
		now = at.UnixMilli()
	}
	own, others := c.t.ownDB(), c.others()
	for _, db := range append(others, own) {
		if len(others) > 0 {
			if err := dc.Do(ctx, arbitrary(dc, "SELECT", strconv.Itoa(db))).Error(); err != nil {
				if db != own && endpoint.Code(err) == "ERR" { // there is no such database
					continue
				}
				return nil, err
			}
		}
		res := dc.DoMulti(ctx, arbitrary(dc, "WATCH", keyMigration), arbitrary(dc, "HGETALL", keyMigration))
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
	res := dc.DoMulti(ctx, arbitrary(dc, "MULTI"), arbitrary(dc, append([]string{"HMSET", keyMigration}, c.fields(state, now)...)...), arbitrary(dc, "EXEC"))
	for _, r := range res {
		if err := r.Error(); rueidis.IsRedisNil(err) {
			return nil, errOvertaken
		} else if err != nil {
			return nil, err
		}
	}
	return before, nil
}

// mostClaimed bounds the databases that are asked for other migrations. Servers have 16 unless they are told otherwise.
const mostClaimed = 64

// others are the databases in which migrations may have their records that overlap with this one.
func (c *claim) others() (dbs []int) {
	switch {
	case c.t.cluster || c.t.dbs.Only:
		return nil
	case c.t.dbs.Home > 0:
		return []int{0}
	case c.t.dbs.Home == 0:
		return nil
	}
	for db := 1; db < min(max(c.t.dbs.Count, 16), mostClaimed); db++ {
		dbs = append(dbs, db)
	}
	return dbs
}

// compareAndSet writes the record if it still is what was read: fields run, state and heartbeat_ms.
const compareAndSet = `local is = redis.call('HMGET', KEYS[1], 'run', 'state', 'heartbeat_ms')
for i = 1, 3 do if (is[i] or '') ~= ARGV[i] then return 0 end end
redis.call('HMSET', KEYS[1], unpack(ARGV, 4))
return 1`

func (c *claim) changeByScript(ctx context.Context, client rueidis.Client, state string, may func(record, bool) error) (map[string]string, error) {
	before, err := client.Do(ctx, arbitrary(client, c.t.reading("HGETALL", keyMigration)...)).AsStrMap()
	if err != nil {
		return nil, err
	}
	if err := may(record{fields: before}, false); err != nil {
		return nil, err
	}
	args := slices.Concat([]string{"EVAL", compareAndSet, "1", keyMigration, before["run"], before["state"], before["heartbeat_ms"]}, c.fields(state, 0))
	switch n, err := client.Do(ctx, arbitrary(client, args...)).AsInt64(); {
	case err != nil:
		return nil, err
	case n == 0:
		return nil, errOvertaken
	}
	return before, nil
}

// keepClaim renews the claim until ctx ends. Its error says that the target belongs to another run by now.
func (m *Migration) keepClaim(ctx context.Context) error {
	tick := time.NewTicker(leaseRenewal)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		err := m.claim.renew(ctx, "running")
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, errClaimed):
			return err
		case err != nil:
			m.cfg.Log.Warn("the target does not take the heartbeat", "error", err)
		}
	}
}

// disown ends connections that earlier runs of migrations may have left behind: what still waits in their sockets must not arrive late.
// Where that is forbidden, nothing can be left behind for longer than the server needs to read it.
func (t *target) disown(ctx context.Context, ids []string) error {
	if !t.can.transactions { // what arrives late is in doubt, and is copied again
		return nil
	}
	if !t.can.processes {
		return retry.Pause(ctx, proxyGrace)
	}
	for _, addr := range t.primaries() {
		client, err := t.d.Client(ctx, addr, 0)
		if err != nil {
			return fmt.Errorf("target %s: %w", addr, err)
		}
		list, err := client.Do(ctx, arbitrary(client, "CLIENT", "LIST")).ToString()
		if err != nil {
			continue
		}
		for line := range strings.Lines(list) {
			if !slices.ContainsFunc(ids, func(id string) bool { return strings.Contains(line, " name="+clientName(id)+" ") }) {
				continue
			}
			if _, rest, ok := strings.Cut(line, "addr="); ok {
				client.Do(ctx, arbitrary(client, "CLIENT", "KILL", strings.Fields(rest)[0]))
			}
		}
	}
	return nil
}
