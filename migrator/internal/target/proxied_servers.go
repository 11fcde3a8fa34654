package target

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/redis/rueidis"

	"surecut/internal/keyspace"
)

// A proxy does not show the servers behind it. One of them may come back without its last writes, or be replaced by a replica that lacks
// them, and all the proxy passes on is an error, or nothing. But a script runs on one server, and can ask it who it is (INFO in EVAL). So
// the names of several records of the link are spread over the servers, a script reads and writes each together with the instance that
// holds it, and an instance that was not there before has the link go back to the oldest record. Every server holds a record that is
// true of it: what it has lost was written after that record, for a server loses the end of what it was sent, and not something before it.
//
// A script that writes after it has asked is replicated by what it does, which servers can do since 3.2. Older ones are not asked.

// whoIs is the beginning of a script: who is the run_id and the replication ID of the server (empty before 4.0).
const whoIs = `if redis.replicate_commands then redis.replicate_commands() end
local function field(section, name) return string.match(redis.call('INFO', section), name .. ':(%w+)') or '' end
local who = {field('server', 'run_id'), field('replication', 'master_replid')}
`

const (
	askWho = whoIs + `return who`

	// readWith reads the hash in KEYS, and returns its fields and values behind who.
	readWith = whoIs + `for _, text in ipairs(redis.call('HGETALL', KEYS[1])) do table.insert(who, text) end
return who`

	// saveWith writes the fields in ARGV from the fourth on to the hash in KEYS, and returns who and 'saved'. It writes nothing if the hash is
	// as far already. It returns 'unknown' if the server is not among those in the first argument, which is empty where all are welcome, and
	// 'behind' if the hash is not as far as the second argument says; that the third one, '1', says whether it must exist.
	saveWith = whoIs + `local function answer(text) table.insert(who, text) return who end
if ARGV[1] ~= '' and not string.find(ARGV[1], who[1] .. '/' .. who[2] .. ' ', 1, true) then return answer('unknown') end
local is = redis.call('HGET', KEYS[1], 'offset')
if is and tonumber(is) < tonumber(ARGV[2]) or not is and ARGV[3] == '1' then return answer('behind') end
if not is or tonumber(is) < tonumber(ARGV[5]) then redis.call('HMSET', KEYS[1], unpack(ARGV, 4)) end
return answer('saved')`
)

// tells says whether the servers behind a proxy tell a script who they are.
func (p *proxy) tells(ctx context.Context) bool {
	if p.t.Number < 30200 {
		return false
	}
	name := keyspace.ProbePrefix + p.t.id + ":0"
	all, err := p.t.instancesOf(ctx, []string{name})
	return err == nil && all[0].Process != ""
}

// instancesOf returns the instance that holds each of several names, which need not exist, behind a proxy.
func (ns *nodes) instancesOf(ctx context.Context, names []string) ([]Instance, error) {
	addr, err := ns.node(0)
	if err != nil {
		return nil, err
	}
	client, err := ns.d.Client(ctx, addr, ns.OwnDB())
	if err != nil {
		return nil, err
	}
	cmds := make([]rueidis.Completed, len(names))
	for i, name := range names {
		cmds[i] = arbitrary(client, "EVAL", askWho, "1", name)
	}
	all := make([]Instance, len(names))
	for i, r := range client.DoMulti(ctx, cmds...) {
		if all[i], _, err = withInstance(r); err != nil {
			return nil, fmt.Errorf("ask the server that holds %s who it is (INFO in a script): %w", names[i], err)
		}
	}
	return all, nil
}

// instancesBehind returns the instances that a proxy hides, by process.
func (ns *nodes) instancesBehind(ctx context.Context) (map[string]Instance, error) {
	names := make([]string, witnessSpread)
	for i := range names {
		names[i] = keyWitness + ns.id + ":" + strconv.Itoa(i*keyspace.Slots/witnessSpread)
	}
	all, err := ns.instancesOf(ctx, names)
	if err != nil {
		return nil, fmt.Errorf("target: %w", err)
	}
	return byProcess(all), nil
}

// withInstance takes a reply apart that has an instance before what a script returns.
func withInstance(r rueidis.RedisResult) (is Instance, rest []string, err error) {
	texts, err := r.AsStrSlice()
	if err == nil && len(texts) < 2 {
		err = errors.New("the reply names no server")
	}
	if err != nil {
		return is, nil, err
	}
	return Instance{texts[0], texts[1]}, texts[2:], nil
}

// byProcess returns instances by their process.
func byProcess(all []Instance) map[string]Instance {
	of := map[string]Instance{}
	for _, is := range all {
		of[is.Process] = is
	}
	return of
}

// spreadSlots returns the slots whose names are spread over the servers behind a proxy.
func spreadSlots() []uint16 {
	slots := make([]uint16, witnessSpread)
	for i := range slots {
		slots[i] = uint16(i * keyspace.Slots / witnessSpread)
	}
	return slots
}

// homes knows which server behind a proxy holds which of a link's records.
type homes map[uint16]string

// keeps says whether the record in a slot is the one that its server holds for all: the first of them.
func (h homes) keeps(slot uint16) bool {
	process, known := h[slot]
	for other, p := range h {
		if known && p == process && other < slot {
			return false
		}
	}
	return true
}

// Servers returns the instances that hold what the link has written: by address, or by process where a proxy hides the addresses.
func (cps *Checkpoints) Servers(ctx context.Context) (map[string]Instance, error) {
	if !cps.nodes.Can.Tells {
		return cps.nodes.Instances(ctx)
	}
	slots := spreadSlots()
	names := make([]string, len(slots))
	for i, slot := range slots {
		names[i] = cps.RecordNameIn(slot)
	}
	all, err := cps.nodes.instancesOf(ctx, names)
	if err != nil {
		return nil, fmt.Errorf("target: %w", err)
	}
	h := homes{}
	for i, slot := range slots {
		h[slot] = all[i].Process
	}
	cps.homes.Store(&h)
	return byProcess(all), nil
}

// Keeps says whether the link's record in a slot is written. Of those that one server behind a proxy holds, one is enough.
func (cps *Checkpoints) Keeps(slot uint16) bool {
	h := cps.homes.Load()
	return h == nil || h.keeps(slot)
}

// saveBehind does what SaveRecord does, through a proxy, whose servers may be replaced between any two commands: so it takes only one.
func (cps *Checkpoints) saveBehind(ctx context.Context, c connection, k RecordKey, saved, at int64, fields []string) error {
	exists := "0"
	if saved >= 0 && (k.Main || k.Must) {
		exists = "1"
	}
	args := append([]string{"EVAL", saveWith, "1", k.Name, cps.instances.all(), strconv.FormatInt(saved, 10), exists, "offset", strconv.FormatInt(at, 10)}, fields...)
	var is Instance
	var answer []string
	err := cps.nodes.calls.write("hmset", 1, func() (err error) {
		is, answer, err = withInstance(c.Do(ctx, arbitrary(c, args...)))
		return err
	})
	switch {
	case err != nil:
		return err
	case slices.Equal(answer, []string{"saved"}):
		return nil
	case slices.Equal(answer, []string{"unknown"}):
		return cps.instances.check(is.Process, is)
	}
	return ErrRegressed
}

// all returns the known instances as saveWith takes them.
func (in *instances) all() string {
	in.mu.Lock()
	defer in.mu.Unlock()
	var b strings.Builder
	for _, process := range slices.Sorted(maps.Keys(in.known)) {
		b.WriteString(process + "/" + in.known[process].history + " ")
	}
	return b.String()
}

// readBehind reads records of the link through a proxy, each with the process that holds it.
func (cps *Checkpoints) readBehind(ctx context.Context, keys []RecordKey) (found []heldRecord, err error) {
	err = cps.nodes.at(ctx, 0, cps.nodes.OwnDB(), func(_ string, c rueidis.Client) error {
		cmds := make([]rueidis.Completed, len(keys))
		for i, k := range keys {
			cmds[i] = arbitrary(c, "EVAL", readWith, "1", k.Name)
		}
		found = nil
		for _, r := range c.DoMulti(ctx, cmds...) {
			is, rest, err := withInstance(r)
			if err != nil {
				return err
			}
			record := heldRecord{map[string]string{}, is.Process}
			for pair := range slices.Chunk(rest, 2) {
				if len(pair) == 2 {
					record.fields[pair[0]] = pair[1]
				}
			}
			found = append(found, record)
		}
		return nil
	})
	return found, err
}
