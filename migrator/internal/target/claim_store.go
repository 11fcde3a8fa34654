package target

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/rueidis"

	"surecut/internal/endpoint"
	"surecut/internal/reply"
)

// claimStore reads and writes the record of the claim on the target.
type claimStore struct{ nodes *nodes }

// permit returns an error if a record of the target forbids that the claim is written. elsewhere says that the record is in another
// database of the same server. The record in the database of surecut's own keys comes last.
type permit func(r record, elsewhere bool) error

// errOvertaken says that another run has changed the record between reading and writing it.
var errOvertaken = errors.New("the record of the migration was changed by another one at the same time")

// read reads the record.
func (s claimStore) read(ctx context.Context) (record, error) {
	fields, err := s.nodes.ownHash(ctx, KeyMigration)
	return record{fields: fields}, err
}

// change reads the record, changes it by the command write if may returns nil for it, and returns what it read, and when that was begun. If
// another run changes the record in between, change begins again.
func (s claimStore) change(ctx context.Context, write func(before record) []string, may permit) (before record, sent time.Time, err error) {
	err = s.nodes.Retry(ctx, func() (again, err error) {
		addr, err := s.nodes.node(s.nodes.Slot(KeyMigration))
		if err != nil {
			return err, nil
		}
		sent = time.Now()
		client, err := s.nodes.d.Client(ctx, addr, s.nodes.OwnDB())
		if err != nil {
			return AgainOrEnd(addr, err)
		}
		if s.nodes.Can.Transactions {
			before, err = s.changeWatched(ctx, client, write, may)
		} else {
			before, err = s.changeByScript(ctx, client, write, may)
		}
		if errors.Is(err, errOvertaken) {
			return err, nil
		}
		return AgainOrEnd(addr, err)
	})
	return before, sent, err
}

// changeWatched does one attempt of change by WATCH and MULTI. It also shows may the records in other databases of the same server, whose
// migrations may overlap with this one.
func (s claimStore) changeWatched(ctx context.Context, client rueidis.Client, write func(before record) []string, may permit) (before record, err error) {
	dc, release := client.Dedicate()
	defer release()
	defer func() {
		if err != nil { // the connection still watches keys, and may have selected another database
			dc.Close()
		}
	}()
	before.now = clockOf(ctx, dc)
	if s.nodes.Can.Processes {
		before.server = serverOf(ctx, dc)
	}
	own, others := s.nodes.OwnDB(), s.others(ctx, dc)
	for _, found := range s.watchAll(ctx, dc, others, own) {
		if found.err != nil {
			return before, found.err
		}
		before.db, before.fields = found.db, found.fields
		if err := may(before, found.db != own); err != nil {
			return before, err
		}
	}
	var res []rueidis.RedisResult
	command := write(before)
	_ = s.nodes.calls.write(strings.ToLower(command[0]), 1, func() error {
		res = dc.DoMulti(ctx, arbitrary(dc, "MULTI"), arbitrary(dc, command...), arbitrary(dc, "EXEC"))
		return nil
	})
	for _, r := range res {
		if err := r.Error(); rueidis.IsRedisNil(err) {
			return before, errOvertaken
		} else if err != nil {
			return before, err
		}
	}
	if run := field(command, "run"); s.nodes.Can.Processes && run != "" && run != before.fields["run"] {
		s.spread(ctx, dc)
	}
	return before, nil
}

// field returns the value of a field in a command that writes a hash; "" where it has none.
func field(command []string, name string) string {
	if i := slices.Index(command, name); i >= 0 {
		return command[i+1]
	}
	return ""
}

// spread waits until the replicas have the record that was written last on a connection (WAIT, since 3.0), so that the one that is promoted
// next has it. It does not wait longer than leaseRenewal, and says which risk is left. A replica that still loads its snapshot answers no WAIT.
func (s claimStore) spread(ctx context.Context, c connection) {
	replicas := 0
	text, _ := c.Do(ctx, arbitrary(c, "INFO", "replication")).ToString()
	for name, value := range endpoint.ParseInfo(text) {
		if strings.HasPrefix(name, "slave") && strings.Contains(value, ",state=online,") {
			replicas++
		}
	}
	if replicas == 0 {
		return
	}
	have, err := c.Do(ctx, arbitrary(c, "WAIT", strconv.Itoa(replicas), strconv.FormatInt(leaseRenewal.Milliseconds(), 10))).AsInt64()
	if err != nil || int(have) < replicas {
		s.nodes.log.Warn("not all replicas of the target have answered that they hold the claim of this run: if one of them becomes the primary now, a run that held the target before may write until this one renews its claim",
			"replicas", replicas, "have", have, "error", err)
	}
}

// serverOf returns the run_id of a server; "": unknown.
func serverOf(ctx context.Context, c connection) string {
	text, _ := c.Do(ctx, arbitrary(c, "INFO", "server")).ToString()
	return instanceOf(text, "").Process
}

// clockOf returns the time by a server's clock, in Unix ms; 0: unknown.
func clockOf(ctx context.Context, c connection) int64 {
	m, err := c.Do(ctx, arbitrary(c, "TIME")).ToMessage()
	if err != nil {
		return 0
	}
	at, _ := reply.Time(&m) // a proxy may answer with something else
	return at.UnixMilli()
}

// watched is the record of one database, or why it could not be read.
type watched struct {
	db     int
	fields map[string]string
	err    error
}

// watchAll reads the records of other databases that exist, and then of the own one, which stays selected. EXEC runs nothing if one of them is
// changed after that. All of it takes one round trip: a run over a long path has to renew its claim in time.
func (s claimStore) watchAll(ctx context.Context, c connection, others []int, own int) (all []watched) {
	dbs := append(slices.Clone(others), own)
	var cmds []rueidis.Completed
	for _, db := range dbs {
		if len(others) > 0 {
			cmds = append(cmds, arbitrary(c, "SELECT", strconv.Itoa(db)))
		}
		cmds = append(cmds, arbitrary(c, "WATCH", KeyMigration), arbitrary(c, "HGETALL", KeyMigration))
	}
	each := len(cmds) / len(dbs)
	replies := c.DoMulti(ctx, cmds...)
	for i, db := range dbs {
		of := replies[i*each : (i+1)*each]
		if err := of[0].Error(); err != nil && db != own && endpoint.Code(err) == "ERR" {
			continue // there is no such database
		}
		found := watched{db: db}
		for _, r := range of[:each-1] {
			found.err = cmp.Or(found.err, r.Error())
		}
		if found.err == nil {
			found.fields, found.err = of[each-1].AsStrMap()
		}
		all = append(all, found)
	}
	return all
}

// mostClaimed bounds the number of databases that are searched for records of other migrations whether they hold keys or not. A server has
// 16 by default.
const mostClaimed = 64

// others returns the other databases that may hold the record of a migration that overlaps with this one.
func (s claimStore) others(ctx context.Context, c connection) (dbs []int) {
	home := s.nodes.DBs.Home
	switch {
	case s.nodes.Cluster || s.nodes.DBs.Only || home == 0:
		return nil
	case home > 0:
		return []int{0}
	}
	for db := 1; db < min(max(s.nodes.DBs.Count, 16), mostClaimed); db++ {
		dbs = append(dbs, db)
	}
	if s.nodes.DBs.Count <= mostClaimed {
		return dbs
	}
	info, _ := c.Do(ctx, arbitrary(c, "INFO", "keyspace")).ToString()
	held, _ := endpoint.Keyspace(endpoint.ParseInfo(info)) // where INFO is refused, it is not known
	for _, db := range slices.Sorted(maps.Keys(held)) {
		if db >= mostClaimed {
			dbs = append(dbs, db)
		}
	}
	return dbs
}

// compareAndSet is a script that runs a command on the record if its fields run, state and heartbeat_ms are still those that were read.
const compareAndSet = `local is = redis.call('HMGET', KEYS[1], 'run', 'state', 'heartbeat_ms')
for i = 1, 3 do if (is[i] or '') ~= ARGV[i] then return 0 end end
redis.call(ARGV[4], KEYS[1], unpack(ARGV, 5))
return 1`

// changeByScript does one attempt of change through a proxy.
func (s claimStore) changeByScript(ctx context.Context, client rueidis.Client, write func(before record) []string, may permit) (before record, err error) {
	before.fields, err = client.Do(ctx, arbitrary(client, s.nodes.Reading("HGETALL", KeyMigration)...)).AsStrMap()
	if err != nil {
		return before, err
	}
	if err := may(before, false); err != nil {
		return before, err
	}
	command, is := write(before), before.fields
	args := slices.Concat([]string{"EVAL", compareAndSet, "1", KeyMigration, is["run"], is["state"], is["heartbeat_ms"]}, command[:1], command[2:])
	n, err := client.Do(ctx, arbitrary(client, args...)).AsInt64()
	if err == nil && n == 0 {
		err = errOvertaken
	}
	return before, err
}
