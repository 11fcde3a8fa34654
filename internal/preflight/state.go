package preflight

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/rueidis"

	"surecut/internal/endpoint"
	"surecut/internal/keyspace"
)

// MigrationKey is the hash on the target in which a migration records that it runs: id, state, host and heartbeat_ms. On a
// standalone target it is in the database that the URL names, or 0.
const MigrationKey = keyspace.Prefix + ":migration"

// heartbeatFresh is how old the heartbeat of a running migration may be.
const heartbeatFresh = 30 * time.Second

const wantedState = "not loading, every slot covered and none being moved, no other migration by surecut"

func sourceState(ctx context.Context, r *run) []Check {
	return r.state(ctx, &r.source)
}

func targetState(ctx context.Context, r *run) []Check {
	return r.state(ctx, &r.target)
}

func (r *run) state(ctx context.Context, s *side) []Check {
	checks := perNode(s, s.primaries(), func(n *node) Check { return nodeState(ctx, s, n) })
	other := r.otherMigration(ctx, s)
	if other == nil {
		return checks
	}
	if len(checks) == 1 && checks[0].Result == Pass {
		return []Check{*other}
	}
	return append(checks, *other)
}

func nodeState(ctx context.Context, s *side, n *node) Check {
	if n.infoErr != nil {
		return skip("", "INFO: "+oneLine(n.infoErr), wantedState)
	}
	if trouble := serverTrouble(n, s.name == endpoint.Target); trouble.Result != Pass {
		return trouble
	}
	if !s.cluster() {
		return pass("", "not loading, no other migration", wantedState)
	}
	return clusterTrouble(ctx, s.name, n)
}

// serverTrouble judges what INFO says about one server.
func serverTrouble(n *node, written bool) Check {
	for _, field := range []string{"loading", "async_loading"} {
		if n.info[field] == "1" {
			return fail("", "it is still loading its data", wantedState, "wait until redis-cli "+cliAddr(n.addr)+" info persistence shows loading:0")
		}
	}
	if n.info["master_sync_in_progress"] == "1" {
		return fail("", "it is still being synchronised from its primary", wantedState, "wait until redis-cli "+cliAddr(n.addr)+" info replication shows master_sync_in_progress:0")
	}
	stop, _ := n.setting("stop-writes-on-bgsave-error")
	save, reason := n.setting("save")
	if written && n.info["rdb_last_bgsave_status"] == "err" && stop == "yes" && (reason != "" || save != "") {
		return fail("", "its last background save failed, so it refuses writes (MISCONF)", wantedState,
			"make its directory (setting dir) writable, then: redis-cli "+cliAddr(n.addr)+" bgsave")
	}
	return pass("", "", wantedState)
}

// clusterTrouble asks a primary for the state of its cluster. Moving slots are shown only by the nodes that they concern.
func clusterTrouble(ctx context.Context, of endpoint.Side, n *node) Check {
	text, err := n.client.Do(ctx, n.client.B().Arbitrary("CLUSTER", "INFO").Build()).ToString()
	if err != nil {
		return skip("", "CLUSTER INFO: "+oneLine(err), wantedState)
	}
	nodes, err := n.client.Do(ctx, n.client.B().Arbitrary("CLUSTER", "NODES").Build()).ToString()
	if err != nil {
		return skip("", "CLUSTER NODES: "+oneLine(err), wantedState)
	}
	list, err := endpoint.ParseClusterNodes(nodes, n.addr)
	if err != nil {
		return skip("", oneLine(err), wantedState)
	}
	return judgeCluster(of, n.addr, endpoint.ParseInfo(text), list)
}

func judgeCluster(of endpoint.Side, addr string, info map[string]string, nodes []endpoint.ClusterNode) Check {
	fix := "redis-cli --cluster fix " + addr
	state, covered := info["cluster_state"], info["cluster_slots_ok"]
	if state != "ok" || covered != strconv.Itoa(keyspace.Slots) {
		return fail("", fmt.Sprintf("cluster_state:%s, %s of %d slots covered", state, covered, keyspace.Slots), wantedState, fix)
	}
	for _, n := range nodes {
		if moving := len(n.Migrating) + len(n.Importing); moving > 0 {
			found := fmt.Sprintf("%d slots are being moved (%d leave this node, %d arrive)", moving, len(n.Migrating), len(n.Importing))
			if of == endpoint.Source {
				return alarm("", found, wantedState, "wait until the resharding has ended, or accept that the keys of these slots are copied twice, and that a full copy is refused; if nobody moves them any more: "+fix)
			}
			return fail("", found, wantedState, "wait until the resharding has ended, or: "+fix)
		}
	}
	return pass("", fmt.Sprintf("cluster_state:ok, %d slots covered and none being moved, no other migration", keyspace.Slots), wantedState)
}

// otherMigration reads the record that a migration keeps on its target. It returns nil where there is no record that matters.
func (r *run) otherMigration(ctx context.Context, s *side) *Check {
	record, err := s.migrationRecord(ctx)
	if err != nil {
		c := skip(s.name.String(), "it is not known whether another migration is running: "+oneLine(err), wantedState)
		return &c
	}
	if record["id"] == "" {
		return nil
	}
	c := judgeMigration(s.name, resumed{id: r.cfg.Resume, host: hostname()}, record, time.Now())
	if c.Result == Pass {
		return nil
	}
	return &c
}

// migrationRecord returns the record of a migration on this side, unless the node that would hold it does not answer.
func (s *side) migrationRecord(ctx context.Context) (map[string]string, error) {
	if home, ok := s.d.PrimaryOf(s.d.Slot(MigrationKey)); ok {
		for _, n := range s.nodes {
			if n.addr == home.Addr && n.err != nil {
				return nil, n.err
			}
		}
	}
	return migrationRecord(ctx, s.d)
}

func migrationRecord(ctx context.Context, d *endpoint.Deployment) (map[string]string, error) {
	addr, ok := d.PrimaryOf(d.Slot(MigrationKey))
	if !ok {
		return nil, fmt.Errorf("no node owns the slot of %s", MigrationKey)
	}
	home := max(d.Databases().Home, 0)
	ctx, cancel := context.WithTimeout(ctx, checkTimeout) // a server that is stopped would be waited for much longer
	defer cancel()
	c, err := d.Client(ctx, addr.Addr, home)
	if err != nil {
		return nil, err
	}
	record, err := c.Do(ctx, c.B().Hgetall().Key(MigrationKey).Build()).AsStrMap()
	if rueidis.IsRedisNil(err) {
		return nil, nil
	}
	return record, err
}

// Feeding says which migration writes to a target: one that runs, or one that has stopped and may be resumed. It returns "" for
// none.
func Feeding(ctx context.Context, target *endpoint.Deployment) (which string, running bool, err error) {
	record, err := migrationRecord(ctx, target)
	if err != nil || record["id"] == "" || record["state"] == "done" {
		return "", false, err
	}
	beat, _ := strconv.ParseInt(record["heartbeat_ms"], 10, 64)
	running = record["state"] == "running" && time.Since(time.UnixMilli(beat)) < heartbeatFresh
	return fmt.Sprintf("%q on host %q", record["id"], record["host"]), running, nil
}

// resumed is the migration to resume, and the host that resumes it. On the host of the migration itself, the lock of the state
// directory excludes a second process, so a fresh heartbeat from that host can only come from a process that has died.
type resumed struct{ id, host string }

func hostname() string {
	host, err := os.Hostname()
	if err != nil {
		return "unknown"
	}
	return host
}

func judgeMigration(side endpoint.Side, own resumed, record map[string]string, now time.Time) Check {
	id, state := record["id"], record["state"]
	beat, _ := strconv.ParseInt(record["heartbeat_ms"], 10, 64)
	age := now.Sub(time.UnixMilli(beat)).Round(time.Second)
	found := fmt.Sprintf("migration %q on host %q, state %q, last active %v ago", id, record["host"], state, age)
	switch {
	case state == "running" && age < heartbeatFresh && id != own.id:
		return fail(side.String(), found+": it is still running", wantedState, "wait until it has ended, or stop it on its host")
	case state == "running" && age < heartbeatFresh && record["host"] != own.host:
		return fail(side.String(), found+": it is still running in another process", wantedState, "stop that process; if it was killed, wait "+heartbeatFresh.String())
	case state == "done" || id == own.id || side == endpoint.Source:
		return pass(side.String(), found, wantedState)
	}
	return alarm(side.String(), found+": it was stopped before it was complete", wantedState,
		"resume it on its host with the Config.StateDir that it was started with, or start a new migration to an empty target")
}

func sourceIsReplica(_ context.Context, r *run) []Check {
	const wanted = "each shard of the source is read from a replica"
	readers := r.readers()
	return perNode(&r.source, readers, func(n *node) Check {
		if n.infoErr != nil {
			return skip("", "INFO replication: "+oneLine(n.infoErr), wanted)
		}
		moves := n.primary && slices.ContainsFunc(r.source.nodes, func(o *node) bool { return o.shard == n.shard && o.moves })
		return judgeReader(n, r.cfg.ReadFrom, r.source.cluster(), moves, wanted)
	})
}

func judgeReader(n *node, readFrom string, cluster, moves bool, wanted string) Check {
	role := n.info["role"]
	switch {
	case role == "slave" && n.info["master_link_status"] != "up":
		return alarm("", "it is a replica whose connection to its primary is down, so it receives no writes", wanted,
			"bring its primary "+n.info["master_host"]+" back, or read from the primary with Config.ReadFrom primary")
	case role == "slave":
		return pass("", "the migration reads from a replica of "+n.info["master_host"]+":"+n.info["master_port"], wanted)
	case readFrom == "primary":
		return note("", "the migration reads from the primary, because of Config.ReadFrom primary; the primary must fork, and hold the output buffer for the migration", wanted, "set Config.ReadFrom replica")
	case moves:
		return note("", "the migration reads from the primary, because replicas of this version redirect EXEC (clusters of 3.2 to 5.0)", wanted,
			"migrate when the load is low: the primary must fork, and hold the output buffer for the migration")
	case cluster:
		return note("", "this shard has no replica that answers, so the migration reads from the primary", wanted,
			fmt.Sprintf("redis-cli --cluster add-node HOST:PORT %s --cluster-slave", n.addr))
	}
	var replicas []string
	for i := 0; n.info[fmt.Sprintf("slave%d", i)] != ""; i++ {
		if addr := replicaAddr(n.info[fmt.Sprintf("slave%d", i)]); addr != "" {
			replicas = append(replicas, addr)
		}
	}
	if len(replicas) == 0 {
		return note("", "it is a primary without replicas, which must fork, and hold the output buffer for the migration", wanted, "migrate when the load is low")
	}
	return note("", "it is a primary; its replicas are "+strings.Join(replicas, ", "), wanted,
		"to read from a replica, name the sentinels in the URL (redis+sentinel://), so that the primary stays known; or set Config.Source redis://"+replicas[0]+" Config.Accept source_is_primary")
}

// replicaAddr reads "ip=10.0.0.2,port=6379,state=online,...". Port 0 is a tool that acts as a replica.
func replicaAddr(text string) string {
	fields := map[string]string{}
	for f := range strings.SplitSeq(text, ",") {
		if k, v, ok := strings.Cut(f, "="); ok {
			fields[k] = v
		}
	}
	if fields["port"] == "0" || fields["port"] == "" || fields["state"] != "online" {
		return ""
	}
	return fields["ip"] + ":" + fields["port"]
}

// sourceIsPrimary finds a server that was named as the source but is the replica of another. Where the topology is known (a
// cluster, sentinels) this is not a problem: replicas are read while the primary stays known.
func sourceIsPrimary(_ context.Context, r *run) []Check {
	return perNode(&r.source, r.source.primaries(), func(n *node) Check {
		if n.infoErr != nil {
			return skip("", "INFO replication: "+oneLine(n.infoErr), wantedPrimary)
		}
		return judgeNamed(n)
	})
}

const wantedPrimary = "the URL of Config.Source names the server that applications write to"

// judgeNamed judges the server that was named for a shard. A replica that takes writes of its own holds keys that its primary does
// not have.
func judgeNamed(n *node) Check {
	if n.info["role"] != "slave" {
		return pass("", "a primary", wantedPrimary)
	}
	primary := endpoint.PrimaryNamedIn(n.info)
	found := fmt.Sprintf("%s is a replica of %s. Writes that have not reached the replica are not migrated, and no comparison notices that", n.addr, primary)
	if endpoint.TakesWrites(n.info) {
		found = fmt.Sprintf("%s is a replica of %s that accepts writes itself (replica-read-only no). Keys that only the replica holds are migrated as well, and differences from the primary are not noticed", n.addr, primary)
	}
	return alarm("", found, wantedPrimary, "name the primary: Config.Source redis://"+primary+". In a cluster or with sentinels, a replica is still used for reading")
}

func targetIsPrimary(_ context.Context, r *run) []Check {
	const wanted = "a primary that accepts writes"
	return perNode(&r.target, r.target.primaries(), func(n *node) Check {
		if n.infoErr != nil {
			return skip("", "INFO replication: "+oneLine(n.infoErr), wanted)
		}
		if n.info["role"] != "master" {
			found := "it is a replica of " + endpoint.PrimaryNamedIn(n.info) + " and refuses writes"
			if endpoint.TakesWrites(n.info) {
				found = "it is a replica of " + endpoint.PrimaryNamedIn(n.info) + " that accepts writes (replica-read-only no), but loses them at its next synchronisation"
			}
			return fail("", found, wanted,
				"name its primary as Config.Target, or end the replication: redis-cli "+cliAddr(n.addr)+" replicaof no one")
		}
		least, _ := n.setting("min-replicas-to-write", "min-slaves-to-write")
		if want, err := strconv.Atoi(least); err == nil && want > 0 && n.num("min_slaves_good_slaves", 0) < float64(want) {
			return fail("", fmt.Sprintf("it refuses writes, because it has %s good replicas and min-replicas-to-write is %d", n.info["min_slaves_good_slaves"], want), wanted,
				"bring its replicas back, or: redis-cli "+cliAddr(n.addr)+" config set min-replicas-to-write 0")
		}
		return pass("", "a primary", wanted)
	})
}
