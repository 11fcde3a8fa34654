package dataset

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/rueidis"
)

// value is what one key holds, in a form that can be compared: every line is one element, in an order that does not
// depend on encodings. An absent key has no type.
type value struct {
	kind     string
	expireAt int64 // Unix ms by the server's clock; -1: never
	lines    []string
	fields   map[string]int64 // when a field expires, as expireAt, where the server has such
}

// readValues reads keys of one database by typed commands. What the server cannot tell is left out by the caller's
// shape.
func readValues(ctx context.Context, s *Side, db int, keys []string, sh shape) ([]value, error) {
	c, err := s.client(db)
	if err != nil {
		return nil, err
	}
	values := make([]value, len(keys))
	for {
		began := time.Now()
		if err := readHeads(ctx, c, s.Has("PEXPIRETIME"), keys, values); err != nil {
			return nil, err
		}
		if s.Has("PEXPIRETIME") || time.Since(began) < ttlTolerance/2 {
			break
		}
	}
	return values, readContents(ctx, c, keys, values, sh)
}

// readHeads reads types and expiries. A server before 7.0 tells only what is left of an expiry, which is right to as long as it
// takes to ask for it.
func readHeads(ctx context.Context, c rueidis.Client, exact bool, keys []string, values []value) error {
	base := time.Now().UnixMilli() // the servers of tests have the clock of this machine
	var cmds []rueidis.Completed
	for _, k := range keys {
		cmds = append(cmds, c.B().Type().Key(k).Build())
		if exact {
			cmds = append(cmds, c.B().Pexpiretime().Key(k).Build())
		} else {
			cmds = append(cmds, c.B().Pttl().Key(k).Build())
		}
	}
	replies := c.DoMulti(ctx, cmds...)
	for i := range values {
		var err, errExpiry error
		v := &values[i]
		v.kind, err = replies[2*i].ToString()
		v.expireAt, errExpiry = replies[2*i+1].AsInt64()
		if err := errors.Join(err, errExpiry); err != nil {
			return fmt.Errorf("read type or expiry of %q: %w", keys[i], err)
		}
		if !exact && v.expireAt >= 0 {
			v.expireAt += base
		}
	}
	return nil
}

// readContents reads the values of keys whose type is known, in one pipeline; a second reads the fields' expiries.
func readContents(ctx context.Context, c rueidis.Client, keys []string, values []value, sh shape) error {
	var cmds []rueidis.Completed
	var of, streams, vectors []int
	for i := range values {
		if values[i].kind == "stream" && !sh.full {
			streams = append(streams, i)
			continue
		}
		if values[i].kind == "vectorset" {
			vectors = append(vectors, i)
			continue
		}
		words, err := values[i].command()
		if err != nil {
			return fmt.Errorf("read %q: %w", keys[i], err)
		}
		if words != nil {
			cmds = append(cmds, readCommand(c, words, keys[i]))
			of = append(of, i)
		}
	}
	var hashes []int
	for n, r := range c.DoMulti(ctx, cmds...) {
		v := &values[of[n]]
		err := v.parse(r, keys[of[n]], sh)
		if rueidis.IsRedisNil(err) || err == nil && v.kind != "string" && v.kind != "stream" && len(v.lines) == 0 || gone(err) {
			*v = value{} // it expired between TYPE and this
			continue
		}
		if err != nil {
			return fmt.Errorf("read %q: %w", keys[of[n]], err)
		}
		if v.kind == "hash" && sh.fieldExpiries {
			hashes = append(hashes, of[n])
		}
	}
	for _, i := range streams {
		if err := values[i].readStream(ctx, c, keys[i]); err != nil {
			return fmt.Errorf("read %q: %w", keys[i], err)
		}
	}
	for _, i := range vectors {
		if err := values[i].readVectors(ctx, c, keys[i]); err != nil {
			return fmt.Errorf("read %q: %w", keys[i], err)
		}
	}
	return readFieldExpiries(ctx, c, keys, values, hashes)
}

// readVectors reads a vector set: its shape, and each element's vector as it is stored, and attributes.
func (v *value) readVectors(ctx context.Context, c rueidis.Client, key string) error {
	info, err := c.Do(ctx, c.B().Arbitrary("VINFO").Keys(key).Build()).ToAny()
	if rueidis.IsRedisNil(err) {
		*v = value{} // it expired between TYPE and this
		return nil
	}
	if err != nil {
		return err
	}
	facts := flatMap(info)
	for _, name := range []string{"quant-type", "hnsw-m", "vector-dim", "projection-input-dim", "size", "attributes-count"} {
		v.add("%s %v", name, facts[name])
	}
	names, err := c.Do(ctx, c.B().Arbitrary("VRANDMEMBER").Keys(key).Args(fmt.Sprint(facts["size"])).Build()).AsStrSlice()
	if err != nil {
		return err
	}
	slices.Sort(names)
	cmds := make([]rueidis.Completed, 0, 2*len(names))
	for _, name := range names {
		cmds = append(cmds, c.B().Arbitrary("VEMB").Keys(key).Args(name, "RAW").Build(), c.B().Arbitrary("VGETATTR").Keys(key).Args(name).Build())
	}
	results := c.DoMulti(ctx, cmds...)
	for i, name := range names {
		vector, err := results[2*i].ToAny()
		if err != nil {
			return err
		}
		attributes, err := results[2*i+1].ToAny()
		if err != nil && !rueidis.IsRedisNil(err) {
			return err
		}
		v.add("element %q: %s %v", name, render(vector), attributes)
	}
	return nil
}

// readCommand builds what command describes.
func readCommand(c rueidis.Client, words []string, key string) rueidis.Completed {
	last := len(words) - 1
	return c.B().Arbitrary(words[:last]...).Keys(key).Args(strings.Fields(words[last])...).Build()
}

// gone tells whether a reply says that a key does not exist.
func gone(err error) bool {
	reply, ok := rueidis.IsRedisErr(err)
	return ok && reply.Error() == "no such key"
}

// shape says which facts both servers of a comparison hold.
type shape struct {
	full          bool // XINFO STREAM FULL: since 6.0
	counters      bool // entries-added and the like: since 7.0
	read          bool // entries-read of a group: 7.0 has it, but tells its replicas always only since 7.4, or Valkey 8.0
	consumers     bool // consumers without pending entries: replicated since 7.0
	fieldExpiries bool
	unsigned      bool // a score of -0 is one of 0
}

func shapeOf(a, b *Side) shape {
	return shape{
		full:          a.Number >= 60000 && b.Number >= 60000,
		counters:      a.Number >= 70000 && b.Number >= 70000,
		read:          a.Number >= 70000 && b.Number >= 70000 && a.Own >= 70400,
		consumers:     a.Number >= 70000 && b.Number >= 70000,
		fieldExpiries: a.Has("HPEXPIRETIME") && b.Has("HPEXPIRETIME"),
	}
}

// command gives the words that read a value: those before the key, and last, in one word, those after it. An absent
// key has none.
func (v *value) command() ([]string, error) {
	switch v.kind {
	case "none":
		v.kind = ""
		return nil, nil
	case "string":
		return []string{"GET", ""}, nil
	case "list":
		return []string{"LRANGE", "0 -1"}, nil
	case "set":
		return []string{"SMEMBERS", ""}, nil
	case "zset":
		return []string{"ZRANGE", "0 -1 WITHSCORES"}, nil
	case "hash":
		return []string{"HGETALL", ""}, nil
	case "stream":
		return []string{"XINFO", "STREAM", "FULL COUNT 0"}, nil
	default:
		return nil, fmt.Errorf("type %s", v.kind)
	}
}

func (v *value) parse(r rueidis.RedisResult, key string, sh shape) error {
	switch v.kind {
	case "string":
		text, err := r.ToString()
		v.lines = []string{plainHLL(text)}
		return err
	case "stream":
		return v.parseStream(r, key, sh)
	}
	var err error
	if v.lines, err = r.AsStrSlice(); err != nil {
		return err
	}
	switch v.kind {
	case "set":
		slices.Sort(v.lines)
	case "zset":
		return v.scores(sh.unsigned)
	case "hash":
		v.pairs()
	}
	return nil
}

// plainHLL gives the registers of a HyperLogLog in place of its bytes: counting alone changes its cache, and servers before 4.0
// make dense ones where later ones do not.
func plainHLL(text string) string {
	if !strings.HasPrefix(text, "HYLL") || len(text) < 16 {
		return text
	}
	body, registers := text[16:], []byte(nil)
	if text[4] == 0 {
		for len(body) >= 3 { // four registers of six bits, the lowest first
			bits := uint32(body[0]) | uint32(body[1])<<8 | uint32(body[2])<<16
			registers = append(registers, byte(bits&63), byte(bits>>6&63), byte(bits>>12&63), byte(bits>>18))
			body = body[3:]
		}
	}
	for text[4] == 1 && len(body) > 0 {
		b := body[0]
		body = body[1:]
		var value byte
		var run int
		switch {
		case b >= 0x80:
			value, run = (b>>2&31)+1, int(b&3)+1
		case b >= 0x40 && len(body) > 0:
			run = int(b&63)<<8 + int(body[0]) + 1
			body = body[1:]
		default:
			run = int(b&63) + 1
		}
		registers = append(registers, bytes.Repeat([]byte{value}, run)...)
	}
	if len(registers) != 16384 {
		return text
	}
	return "HYLL" + string(registers)
}

// scores replaces each score by its bits: servers print the same number differently.
func (v *value) scores(unsigned bool) error {
	rows := make([]string, 0, len(v.lines)/2)
	for i := 0; i+1 < len(v.lines); i += 2 {
		score, err := strconv.ParseFloat(v.lines[i+1], 64)
		if err != nil {
			return err
		}
		if unsigned && score == 0 {
			score = 0
		}
		rows = append(rows, fmt.Sprintf("%s score %016x (%v)", v.lines[i], math.Float64bits(score), score))
	}
	slices.Sort(rows)
	v.lines = rows
	return nil
}

// pairs joins fields and values so that no pair can look like another, and sorts them; the fields' names stay.
func (v *value) pairs() {
	v.fields = make(map[string]int64, len(v.lines)/2)
	rows := make([]string, 0, len(v.lines)/2)
	for i := 0; i+1 < len(v.lines); i += 2 {
		rows = append(rows, strconv.Itoa(len(v.lines[i]))+":"+v.lines[i]+"="+v.lines[i+1])
		v.fields[v.lines[i]] = -1
	}
	slices.Sort(rows)
	v.lines = rows
}

func readFieldExpiries(ctx context.Context, c rueidis.Client, keys []string, values []value, hashes []int) error {
	var cmds []rueidis.Completed
	names := make([][]string, len(hashes))
	for n, i := range hashes {
		names[n] = sortedKeys(values[i].fields)
		cmds = append(cmds, c.B().Arbitrary("HPEXPIRETIME").Keys(keys[i]).Args("FIELDS", strconv.Itoa(len(names[n]))).Args(names[n]...).Build())
	}
	for n, r := range c.DoMulti(ctx, cmds...) {
		v := &values[hashes[n]]
		times, err := r.AsIntSlice()
		if err != nil {
			return fmt.Errorf("read expiries of the fields of %q: %w", keys[hashes[n]], err)
		}
		for f, name := range names[n] {
			v.fields[name] = times[f]
		}
	}
	return nil
}

func (v *value) parseStream(r rueidis.RedisResult, key string, sh shape) error {
	// A claim that finds nothing makes a consumer at the source, which no server tells its replicas (8.0 included).
	idle := sh.consumers && !strings.HasPrefix(key, trafficKeys)
	reply, err := r.ToAny()
	if err != nil {
		return err
	}
	info := flatMap(reply)
	v.add("length %v, last %v", info["length"], info["last-generated-id"])
	if sh.counters {
		v.add("deleted up to %v, added %v", info["max-deleted-entry-id"], info["entries-added"])
	}
	for _, e := range list(info["entries"]) {
		v.add("entry %s", render(e))
	}
	for _, g := range list(info["groups"]) {
		group := flatMap(g)
		name := hex.EncodeToString([]byte(fmt.Sprint(group["name"])))
		pending := list(group["pending"])
		v.add("group %s: last %v, pending %v", name, group["last-delivered-id"], len(pending))
		if sh.read {
			v.add("group %s: read %v", name, group["entries-read"])
		}
		for _, p := range pending {
			v.add("group %s: pending %s", name, render(p)) // ID, consumer, time of delivery, deliveries
		}
		for _, cons := range list(group["consumers"]) {
			consumer := flatMap(cons)
			if pending := list(consumer["pending"]); idle || len(pending) > 0 {
				v.add("group %s: consumer %q pending %s", name, consumer["name"], render(pending))
			}
		}
	}
	return nil
}

func (v *value) add(format string, args ...any) {
	v.lines = append(v.lines, fmt.Sprintf(format, args...))
}

func list(x any) []any {
	l, _ := x.([]any)
	return l
}

func flatMap(x any) map[string]any {
	m := map[string]any{}
	l := list(x)
	for i := 0; i+1 < len(l); i += 2 {
		m[fmt.Sprint(l[i])] = l[i+1]
	}
	return m
}

// render writes a nested reply so that different replies never look alike.
func render(x any) string {
	switch x := x.(type) {
	case []any:
		parts := make([]string, len(x))
		for i, e := range x {
			parts[i] = render(e)
		}
		return "[" + strings.Join(parts, " ") + "]"
	case string:
		return strconv.Quote(x)
	default:
		return fmt.Sprint(x)
	}
}
