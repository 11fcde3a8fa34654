package compat

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/redis/rueidis"

	"surecut/internal/command"
	"surecut/internal/endpoint"
	"surecut/internal/keyspace"
	"surecut/internal/profile"
)

// RuleTrial is the rule for calls that a trial cluster has refused.
const RuleTrial = "trial"

const (
	trialQueue = 4096 // units that wait to be sent; a caller that adds more waits
	trialBatch = 64   // units that are sent at once
)

// trial sends the calls that the tally sees to a cluster that may be written to, each to the node of its first key and a
// transaction as a whole, and keeps the refusals. Tally.Add queues the calls, and one goroutine sends them.
type trial struct {
	d      *endpoint.Deployment
	open   map[string]*unit // by stream and client: transactions that have begun
	queue  chan *unit
	ended  chan error
	left   int64 // number of calls that were not sent
	sent   int64
	refuse map[string]*refusal // by command
	other  int64               // number of errors that are caused by the data
	sample string
}

// unit is one call, or one transaction.
type unit struct {
	node  string
	calls [][]string
	keys  [][]string // by call
	names []string
}

type refusal struct {
	count     int64
	text      string
	keys      [][]string
	templates counter
}

// Trial also sends everything that is added from now on to a cluster, which must be empty because the calls change it. End waits
// for the last calls, and must be called before Result.
func (t *Tally) Trial(ctx context.Context, d *endpoint.Deployment) error {
	if d.Kind() != endpoint.Cluster {
		return errors.New("the trial must be a cluster, redis+cluster://host:port")
	}
	for _, shard := range d.Shards() {
		client, err := d.Client(ctx, shard.Primary.Addr, 0)
		if err != nil {
			return fmt.Errorf("trial: %w", err)
		}
		n, err := client.Do(ctx, client.B().Dbsize().Build()).AsInt64()
		if err != nil {
			return fmt.Errorf("trial: DBSIZE of %s: %w", shard.Primary.Addr, err)
		}
		if n > 0 {
			return fmt.Errorf("trial: %s holds %d keys, which the calls would change; use an empty cluster", shard.Primary.Addr, n)
		}
	}
	t.trial = &trial{d: d, open: map[string]*unit{}, queue: make(chan *unit, trialQueue), ended: make(chan error, 1), refuse: map[string]*refusal{}}
	go func() { t.trial.ended <- t.trial.run(ctx) }()
	return nil
}

// End waits until the trial cluster has answered everything, and notes what it refused.
func (t *Tally) End() error {
	r := t.trial
	if r == nil {
		return nil
	}
	close(r.queue)
	if err := <-r.ended; err != nil {
		return fmt.Errorf("trial: %w", err)
	}
	t.trial = nil
	e := t.Evidence(FromTrial, r.d.Spec().String())
	e.Note = fmt.Sprintf("%d calls were sent to the trial cluster; %d were not, because they have no keys, block, or belong to a transaction that did not end.", r.sent, r.left)
	if r.other > 0 {
		e.Note += fmt.Sprintf(" %d failed for other reasons, such as %s, because the trial cluster does not hold the source's data.", r.other, keyspace.Printable(r.sample))
	}
	for name, f := range r.refuse {
		key := observedKey{RuleTrial, name}
		o := &observation{command: name, affected: f.count, templates: f.templates, clients: newCounter(templateRoom),
			rule: &profile.Rule{ID: RuleTrial, When: profile.CrossSlot, Level: profile.Block, Error: f.text,
				Reason: "the trial cluster refused it", Remedy: "see the other findings of the command, and the groups of keys"}}
		o.evidence.add(FromTrial)
		for _, keys := range f.keys {
			o.examples = append(o.examples, shownKeys(keys))
		}
		t.observed[key], t.order = o, append(t.order, key)
	}
	return nil
}

// add queues a call, or keeps it until its transaction ends. The parameter at holds the positions of its keys.
func (r *trial) add(c *call, at []int) {
	id := c.Stream + "\x00" + c.Client
	u := r.open[id]
	switch {
	case c.name == "MULTI":
		if len(r.open) == maxClients {
			clear(r.open)
		}
		r.open[id] = &unit{}
		return
	case c.name == "DISCARD" || c.name == "EXEC":
		delete(r.open, id)
		if u != nil && c.name == "EXEC" && u.node != "" {
			r.queue <- u
		}
		return
	case !sendable(c.spec, c.Args, at):
		r.left++
		return
	}
	words, keys := make([]string, len(c.Args)), []string{}
	for i, arg := range c.Args {
		words[i] = string(arg)
	}
	for _, i := range at {
		keys = append(keys, words[i])
	}
	into := u
	if into == nil {
		into = &unit{}
	}
	into.calls, into.keys, into.names = append(into.calls, words), append(into.keys, keys), append(into.names, c.name)
	if into.node == "" {
		slot := uint16(0)
		if len(keys) > 0 {
			slot = keyspace.Slot(keys[0])
		}
		if node, ok := r.d.PrimaryOf(slot); ok {
			into.node = node.Addr
		}
	}
	if u == nil && into.node != "" {
		r.queue <- into
	}
}

// sendable says whether a call is sent: one that names keys and does not block, or SELECT of another database. A command that acts
// on servers is never sent.
func sendable(s *command.Spec, args [][]byte, at []int) bool {
	if s.Name == "SELECT" {
		return len(args) == 2 && string(args[1]) != "0"
	}
	if len(at) == 0 || s.Name == "MIGRATE" || s.Name == "WATCH" || s.Name == "RESTORE-ASKING" {
		return false
	}
	switch s.Name {
	case "BLPOP", "BRPOP", "BRPOPLPUSH", "BLMOVE", "BLMPOP", "BZPOPMIN", "BZPOPMAX", "BZMPOP":
		return false
	case "XREAD", "XREADGROUP":
		for _, arg := range args {
			if bytes.EqualFold(arg, []byte("BLOCK")) {
				return false
			}
		}
	}
	return true
}

// run sends units until the queue is closed. After an error it drops the remaining units, so that nobody waits for them.
func (r *trial) run(ctx context.Context) (failed error) {
	conns := map[string]rueidis.DedicatedClient{}
	var release []func()
	defer func() {
		for _, f := range release {
			f()
		}
	}()
	for u := range r.queue {
		batch := []*unit{u}
		for len(batch) < trialBatch && len(r.queue) > 0 {
			batch = append(batch, <-r.queue)
		}
		for len(batch) > 0 && failed == nil { // in one go as long as the node is the same
			n := 1
			for n < len(batch) && batch[n].node == batch[0].node {
				n++
			}
			conn := conns[batch[0].node]
			if conn == nil {
				client, err := r.d.Client(ctx, batch[0].node, 0)
				if err != nil {
					failed = err
					break
				}
				var done func()
				conn, done = client.Dedicate()
				conns[batch[0].node], release = conn, append(release, done)
			}
			failed = r.send(ctx, conn, batch[:n])
			batch = batch[n:]
		}
	}
	return failed
}

// send runs units on one node.
func (r *trial) send(ctx context.Context, conn rueidis.DedicatedClient, units []*unit) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	var cmds []rueidis.Completed
	for _, u := range units {
		if len(u.calls) > 1 {
			cmds = append(cmds, conn.B().Arbitrary("MULTI").Build())
		}
		for _, words := range u.calls {
			cmds = append(cmds, conn.B().Arbitrary(words[0]).Args(words[1:]...).Build())
		}
		if len(u.calls) > 1 {
			cmds = append(cmds, conn.B().Arbitrary("EXEC").Build())
		}
	}
	replies := conn.DoMulti(ctx, cmds...)
	for _, u := range units {
		r.sent += int64(len(u.calls))
		n := len(u.calls)
		if n > 1 {
			replies = replies[1:]
		}
		for i, reply := range replies[:n] {
			if err := r.judge(u.names[i], u.keys[i], reply.Error()); err != nil {
				return err
			}
		}
		replies = replies[n:]
		if n > 1 {
			var all []string
			for _, keys := range u.keys {
				all = append(all, keys...)
			}
			if err := r.judgeExec(all, replies[0]); err != nil {
				return err
			}
			replies = replies[1:]
		}
	}
	return nil
}

// judgeExec judges the reply of EXEC: EXEC itself may be refused, or its array may contain errors.
func (r *trial) judgeExec(keys []string, reply rueidis.RedisResult) error {
	list, err := reply.ToArray()
	if err != nil {
		return r.judge("EXEC", keys, err)
	}
	for _, m := range list {
		if err := m.Error(); err != nil && !rueidis.IsRedisNil(err) {
			return r.judge("EXEC", keys, err)
		}
	}
	return nil
}

// judge classifies an error: a refusal by the cluster, an error caused by the data, or a failure of the connection, which ends the
// trial.
func (r *trial) judge(name string, keys []string, err error) error {
	switch {
	case err == nil || endpoint.IsNil(err):
		return nil
	case endpoint.Code(err) == "":
		return err
	case !ofCluster(err.Error()):
		r.other++
		r.sample = err.Error()
		return nil
	}
	f := r.refuse[name]
	if f == nil {
		f = &refusal{text: err.Error(), templates: newCounter(templateRoom)}
		r.refuse[name] = f
	}
	f.count++
	for _, k := range keys {
		f.templates.add(template(k))
	}
	if len(f.keys) < 5 && len(keys) > 0 {
		f.keys = append(f.keys, keys)
	}
	return nil
}

// ofCluster recognizes errors that a single server would not return. Before 6.2 the errors of scripts have no code of their own.
func ofCluster(text string) bool {
	for _, part := range []string{"CROSSSLOT", "MOVED ", "EXECABORT", "cluster mode", "Cluster mode", "non local key", "hash to the same slot", "unknown command", "no-cluster"} {
		if strings.Contains(text, part) {
			return true
		}
	}
	return false
}
