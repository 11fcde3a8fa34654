// Package targettest has a target that lives in memory, and the contract that all writers keep. Only tests import it.
package targettest

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"sync"

	"surecut/internal/command"
	"surecut/internal/endpoint"
	"surecut/internal/keyspace"
	"surecut/internal/rdb"
	"surecut/internal/resp"
	"surecut/migrator/internal/target"
)

// Memory is a target that lives in memory, for tests of what stands before a writer. It knows strings and the few commands that are sent
// by these tests, and refuses all others: what a real server does with a command is asked of real servers.
type Memory struct {
	Target *target.Target

	Keys map[keyspace.Key]Value // with the databases of the target; read and written while nobody else writes
	Ends map[target.Unit]int64  // checkpoints
	Full error                  // what commits end with; nil: they are applied

	Payloads int // how many values were sent by RESTORE

	NoPayloads, NoCommands error // replies to RESTORE, and to what builds a value; nil: they do what they are to do

	mu sync.Mutex
}

// Value is what a key holds.
type Value struct {
	Text     string
	ExpireAt int64 // Unix ms; 0: never
}

// New returns a target in memory with the abilities of one server of version 8.0, and three lanes for each link.
func New() *Memory {
	m := &Memory{Keys: map[keyspace.Key]Value{}, Ends: map[target.Unit]int64{}}
	m.Target = target.Over(m, target.Facts{
		DBs: keyspace.Databases{Home: -1}, Number: 80000, Dialect: command.DialectOf(80000, 0), Held: command.DialectOf(60000, 0),
		Can:      target.Abilities{Transactions: true, Processes: true, Placement: true, Nodes: true, Messages: true, Ends: true},
		Payloads: target.Payloads{Version: 11, Modules: true},
	}, 3)
	return m
}

// PrimaryOf returns a node that does not exist.
func (m *Memory) PrimaryOf(uint16) (endpoint.Node, bool) { return endpoint.Node{Addr: "memory"}, true }

// Refresh does nothing.
func (m *Memory) Refresh(context.Context) error { return nil }

// Reading returns the command as it is.
func (m *Memory) Reading(args ...string) []string { return args }

// NewWriter returns a writer to the memory.
func (m *Memory) NewWriter(target.Writing) target.Writer { return memoryWriter{m} }

// Get returns what a key holds.
func (m *Memory) Get(k keyspace.Key) (Value, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	v, ok := m.Keys[k]
	return v, ok
}

// Text returns what a key of database 0 holds; "" where there is none.
func (m *Memory) Text(name string) string {
	v, _ := m.Get(keyspace.Key{Name: name})
	return v.Text
}

// run runs one command; m.mu is held.
func (m *Memory) run(db int, args ...string) error {
	k := keyspace.Key{DB: db, Name: args[1]}
	v, there := m.Keys[k]
	if m.NoPayloads != nil && args[0] == "RESTORE" {
		return m.NoPayloads
	}
	switch strings.ToUpper(args[0]) {
	case "SET":
		v = Value{Text: args[2]}
	case "APPEND":
		v.Text += args[2]
	case "PEXPIREAT":
		v.ExpireAt, _ = strconv.ParseInt(args[2], 10, 64)
	case "RESTORE":
		if there {
			return resp.Error("BUSYKEY Target key name already exists.")
		}
		text, err := textOf([]byte(args[3]))
		if err != nil {
			return resp.Error("ERR " + err.Error())
		}
		v.Text = text
		v.ExpireAt, _ = strconv.ParseInt(args[2], 10, 64)
	case "RENAME":
		if !there {
			return resp.Error("ERR no such key")
		}
		delete(m.Keys, k)
		k.Name = args[2]
	case "DEL":
		delete(m.Keys, k)
		return nil
	case "MOVE":
		if !there {
			return nil
		}
		delete(m.Keys, k)
		k.DB, _ = strconv.Atoi(args[2])
	case "SWAPDB":
		first, _ := strconv.Atoi(args[1])
		second, _ := strconv.Atoi(args[2])
		swapped := map[keyspace.Key]Value{}
		for k, v := range m.Keys {
			if k.DB == first || k.DB == second {
				k.DB = first + second - k.DB
			}
			swapped[k] = v
		}
		m.Keys = swapped
		return nil
	case "RPUSH":
		return resp.Error("WRONGTYPE Operation against a key holding the wrong kind of value")
	default:
		return resp.Error("ERR unknown command '" + args[0] + "'")
	}
	m.Keys[k] = v
	return nil
}

// textOf reads the payload of a string.
func textOf(payload []byte) (string, error) {
	var c keyspace.Collector
	err := rdb.WalkValue(payload[0], payload[1:len(payload)-10], &c)
	return string(c.V.Str), err
}

// memoryWriter writes to memory.
type memoryWriter struct{ m *Memory }

func (memoryWriter) Close() {}

func (w memoryWriter) Commit(ctx context.Context, txs []*target.Transaction) error {
	w.m.mu.Lock()
	defer w.m.mu.Unlock()
	if err := errors.Join(context.Cause(ctx), w.m.Full); err != nil {
		return err
	}
	for _, x := range txs {
		x.Expand()
		for _, c := range x.Calls {
			if err := w.m.run(c.DB, c.Args...); err != nil {
				x.Failed = append(x.Failed, target.Failure{Call: c, Reply: err})
			}
		}
		for _, u := range x.Units {
			w.m.Ends[u] = max(w.m.Ends[u], x.End)
		}
	}
	return nil
}

func (w memoryWriter) Restore(ctx context.Context, b *target.Batch, settle func(k *target.Value, refused *target.RefusedError) error) error {
	for i := range b.Keys {
		k := &b.Keys[i]
		k.Attempts++
		if err := context.Cause(ctx); err != nil {
			return err
		}
		if err := settle(k, w.restoreOne(k, b.Over.At(k.Attempts), b.Value(k))); err != nil {
			return err
		}
	}
	return nil
}

func (w memoryWriter) restoreOne(k *target.Value, over bool, payload []byte) *target.RefusedError {
	w.m.mu.Lock()
	defer w.m.mu.Unlock()
	key := keyspace.Key{DB: k.DB, Name: k.Name}
	if _, there := w.m.Keys[key]; there && !over {
		return &target.RefusedError{Addr: "memory", Reply: target.ErrExists}
	}
	delete(w.m.Keys, key)
	w.m.Payloads++
	if err := w.m.run(k.DB, "RESTORE", k.Name, strconv.FormatInt(k.ExpireAt, 10), string(payload)); err != nil {
		return &target.RefusedError{Addr: "memory", Reply: err}
	}
	return nil
}

func (w memoryWriter) Rebuild(_ context.Context, k target.Value, over target.Overwrite, walk func(keyspace.Visitor) error) (lost []string, err error) {
	w.m.mu.Lock()
	defer w.m.mu.Unlock()
	key := keyspace.Key{DB: k.DB, Name: k.Name}
	built := &stringOnly{}
	err = errors.Join(walk(built), w.m.NoCommands)
	if _, there := w.m.Keys[key]; err == nil && there && !over.First {
		err = target.ErrExists
	}
	switch {
	case err == nil && !built.any:
		return nil, keyspace.ErrEmpty
	case errors.Is(err, keyspace.ErrGone):
		return nil, keyspace.ErrGone
	case err != nil:
		return nil, &target.RefusedError{Addr: "memory", Reply: err}
	}
	w.m.Keys[key] = Value{string(built.V.Str), k.ExpireAt}
	return nil, nil
}

// stringOnly is a visitor of strings, which are all that the memory knows.
type stringOnly struct {
	keyspace.Collector
	any bool // there was one
}

func (s *stringOnly) StringChunk(p []byte) error {
	s.any = true
	return s.Collector.StringChunk(p)
}

func (stringOnly) ModulePayload([]byte) error {
	return &keyspace.UnsupportedError{What: "values of modules"}
}

func (w memoryWriter) Remove(_ context.Context, keys []keyspace.Key) error {
	w.m.mu.Lock()
	defer w.m.mu.Unlock()
	for _, k := range keys {
		delete(w.m.Keys, k)
	}
	return nil
}
