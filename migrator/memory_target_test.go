package migrator

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
)

// memory is a target that lives in memory, for tests of what stands before a writer. It knows strings and the few commands that are sent
// by these tests, and refuses all others: what a real server does with a command is asked of real servers.
type memory struct {
	Target *target

	Keys map[keyspace.Key]memoryValue // with the databases of the target; read and written while nobody else writes
	Ends map[unit]int64               // checkpoints
	Full error                        // what commits end with; nil: they are applied

	NoPayloads, NoCommands error // replies to RESTORE, and to what builds a value; nil: they do what they are to do

	mu sync.Mutex
}

type memoryValue struct {
	Text     string
	ExpireAt int64 // Unix ms; 0: never
}

// inMemory returns a target in memory with the abilities of one server of version 8.0, and three lanes for each link.
func inMemory() *memory {
	m := &memory{Keys: map[keyspace.Key]memoryValue{}, Ends: map[unit]int64{}}
	m.Target = over(m, facts{
		dbs: keyspace.Databases{Home: -1}, number: 80000, dialect: command.DialectOf(80000, 0), held: command.DialectOf(60000, 0),
		can:      abilities{transactions: true, processes: true, placement: true, nodes: true, messages: true, ends: true},
		payloads: payloads{version: 11, modules: true},
	}, 3)
	return m
}

func (m *memory) primaryOf(uint16) (endpoint.Node, bool) { return endpoint.Node{Addr: "memory"}, true }
func (m *memory) refresh(context.Context) error          { return nil }
func (m *memory) reading(args ...string) []string        { return args }

func (m *memory) newWriter(writing) writer { return memoryWriter{m} }

// get returns what a key holds.
func (m *memory) get(k keyspace.Key) (memoryValue, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	v, ok := m.Keys[k]
	return v, ok
}

// text returns what a key of database 0 holds; "" where there is none.
func (m *memory) text(name string) string {
	v, _ := m.get(keyspace.Key{Name: name})
	return v.Text
}

// run runs one command; m.mu is held.
func (m *memory) run(db int, args ...string) error {
	k := keyspace.Key{DB: db, Name: args[1]}
	v, there := m.Keys[k]
	if m.NoPayloads != nil && args[0] == "RESTORE" {
		return m.NoPayloads
	}
	switch strings.ToUpper(args[0]) {
	case "SET":
		v = memoryValue{Text: args[2]}
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
type memoryWriter struct{ m *memory }

func (memoryWriter) close() {}

func (w memoryWriter) commit(ctx context.Context, txs []*transaction) error {
	w.m.mu.Lock()
	defer w.m.mu.Unlock()
	if err := errors.Join(context.Cause(ctx), w.m.Full); err != nil {
		return err
	}
	for _, x := range txs {
		for _, c := range x.calls {
			if err := w.m.run(c.db, c.args...); err != nil {
				x.failed = append(x.failed, failure{call: c, reply: err})
			}
		}
		for _, u := range x.units {
			w.m.Ends[u] = max(w.m.Ends[u], x.end)
		}
	}
	return nil
}

func (w memoryWriter) restore(ctx context.Context, b *batch, settle func(k *loadKey, refused *refusedError) error) error {
	for i := range b.keys {
		k := &b.keys[i]
		k.attempts++
		if err := context.Cause(ctx); err != nil {
			return err
		}
		if err := settle(k, w.restoreOne(k, b.over.at(k.attempts), b.value(k))); err != nil {
			return err
		}
	}
	return nil
}

func (w memoryWriter) restoreOne(k *loadKey, over bool, payload []byte) *refusedError {
	w.m.mu.Lock()
	defer w.m.mu.Unlock()
	key := keyspace.Key{DB: k.db, Name: k.name}
	if _, there := w.m.Keys[key]; there && !over {
		return &refusedError{addr: "memory", reply: errExists}
	}
	delete(w.m.Keys, key)
	if err := w.m.run(k.db, "RESTORE", k.name, strconv.FormatInt(k.expireAt, 10), string(payload)); err != nil {
		return &refusedError{addr: "memory", reply: err}
	}
	return nil
}

func (w memoryWriter) rebuild(_ context.Context, k loadKey, over overwrite, walk func(keyspace.Visitor) error) (lost []string, err error) {
	w.m.mu.Lock()
	defer w.m.mu.Unlock()
	key := keyspace.Key{DB: k.db, Name: k.name}
	built := &stringOnly{}
	err = errors.Join(walk(built), w.m.NoCommands)
	if _, there := w.m.Keys[key]; err == nil && there && !over.first {
		err = errExists
	}
	switch {
	case errors.Is(err, keyspace.ErrGone):
		return nil, keyspace.ErrGone
	case err != nil:
		return nil, &refusedError{addr: "memory", reply: err}
	}
	w.m.Keys[key] = memoryValue{string(built.V.Str), k.expireAt}
	return nil, nil
}

// stringOnly is a visitor of strings, which are all that the memory knows.
type stringOnly struct{ keyspace.Collector }

func (stringOnly) ModulePayload([]byte) error {
	return &keyspace.UnsupportedError{What: "values of modules"}
}

func (w memoryWriter) remove(_ context.Context, keys []keyspace.Key) error {
	w.m.mu.Lock()
	defer w.m.mu.Unlock()
	for _, k := range keys {
		delete(w.m.Keys, k)
	}
	return nil
}
