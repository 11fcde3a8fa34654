package migrator

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"

	"surecut/internal/endpoint"
	"surecut/internal/keyspace"
	"surecut/internal/rdb"
	"surecut/internal/resp"
)

// memory is a target that lives in memory, for tests of what stands before a writer. It knows strings and the few commands that are sent
// by these tests, and refuses all others: what a real server does with a command is asked of real servers.
type memory struct {
	t *target

	mu   sync.Mutex
	keys map[keyspace.Key]memoryValue
	ends map[unit]int64 // checkpoints
	full error          // what commits end with; nil: they are applied

	noPayloads, noCommands error // replies to RESTORE, and to what builds a value; nil: they do what they are to do
}

type memoryValue struct {
	text     string
	expireAt int64 // Unix ms; 0: never
}

// inMemory has a target live in memory.
func inMemory(t *target) *memory {
	m := &memory{t: t, keys: map[keyspace.Key]memoryValue{}, ends: map[unit]int64{}}
	t.way, t.payloads = m, payloads{version: 11, modules: true}
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
	v, ok := m.keys[k]
	return v, ok
}

// text returns what a key of database 0 holds; "" where there is none.
func (m *memory) text(name string) string {
	v, _ := m.get(keyspace.Key{Name: name})
	return v.text
}

// run runs one command; m.mu is held.
func (m *memory) run(db int, args ...string) error {
	k := keyspace.Key{DB: db, Name: args[1]}
	v, there := m.keys[k]
	if m.noPayloads != nil && args[0] == "RESTORE" {
		return m.noPayloads
	}
	switch strings.ToUpper(args[0]) {
	case "SET":
		v = memoryValue{text: args[2]}
	case "APPEND":
		v.text += args[2]
	case "PEXPIREAT":
		v.expireAt, _ = strconv.ParseInt(args[2], 10, 64)
	case "RESTORE":
		if there {
			return resp.Error("BUSYKEY Target key name already exists.")
		}
		text, err := textOf([]byte(args[3]))
		if err != nil {
			return resp.Error("ERR " + err.Error())
		}
		v.text = text
		v.expireAt, _ = strconv.ParseInt(args[2], 10, 64)
	case "RENAME":
		if !there {
			return resp.Error("ERR no such key")
		}
		delete(m.keys, k)
		k.Name = args[2]
	case "DEL":
		delete(m.keys, k)
		return nil
	case "RPUSH":
		return resp.Error("WRONGTYPE Operation against a key holding the wrong kind of value")
	default:
		return resp.Error("ERR unknown command '" + args[0] + "'")
	}
	m.keys[k] = v
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
	if err := errors.Join(context.Cause(ctx), w.m.full); err != nil {
		return err
	}
	for _, x := range txs {
		for _, c := range x.calls {
			if err := w.m.run(c.db, c.args...); err != nil {
				x.failed = append(x.failed, failure{c, err})
			}
		}
		for _, u := range x.units {
			w.m.ends[u] = max(w.m.ends[u], x.end)
		}
	}
	return nil
}

func (w memoryWriter) restore(ctx context.Context, b *batch, settle func(k *loadKey, refused *refusedError) error) error {
	for i := range b.keys {
		k := &b.keys[i]
		k.attempts++
		w.m.mu.Lock()
		if b.over.at(k.attempts) {
			delete(w.m.keys, keyspace.Key{DB: k.db, Name: k.name})
		}
		failed := w.m.run(k.db, "RESTORE", k.name, strconv.FormatInt(k.expireAt, 10), string(b.value(k)))
		w.m.mu.Unlock()
		refused, _, err := judge("memory", k, failed)
		if err = errors.Join(context.Cause(ctx), err); err == nil {
			err = settle(k, refused)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (w memoryWriter) rebuild(_ context.Context, k loadKey, over overwrite, walk func(keyspace.Visitor) error) (lost []string, err error) {
	w.m.mu.Lock()
	defer w.m.mu.Unlock()
	temp := "temporary"
	b := newRebuild([]byte(temp), w.m.t.dialect, func(args ...[]byte) error {
		if w.m.noCommands != nil {
			return w.m.noCommands
		}
		return w.m.run(k.db, copies(args)...)
	})
	if err = walk(b); err == nil {
		err = b.Finish(k.expireAt)
	}
	if _, there := w.m.keys[keyspace.Key{DB: k.db, Name: k.name}]; err == nil && there && !over.first {
		err = errExists
	}
	if err == nil {
		return b.Lost, w.m.run(k.db, "RENAME", temp, k.name)
	}
	return b.Lost, errors.Join(judgeRebuilt(fmt.Sprintf("memory: write key %s", k.name), "memory", err), w.m.run(k.db, "DEL", temp))
}

func (w memoryWriter) remove(_ context.Context, keys []keyspace.Key) error {
	w.m.mu.Lock()
	defer w.m.mu.Unlock()
	for _, k := range keys {
		delete(w.m.keys, k)
	}
	return nil
}
