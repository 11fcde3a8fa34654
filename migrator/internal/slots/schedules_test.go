package slots

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// The model plays a source cluster whose slots move, a link for each of its shards, and a target, in a random order of small steps: writes,
// moves of both kinds, moves that are cut off or given up, FLUSHALL, streams that lag, lanes that lag behind them, runs that are killed, and
// streams that are lost. It follows docs/moving-slots.md by the real Table. Whenever every stream is applied to its end and no slot moves,
// the target must hold what the source holds.

// entry is a command in the stream of a shard. Its end offset is its index plus one.
type entry struct {
	op    string // set, incr, del, rename, restore, trim, flush
	slot  uint16
	key   string
	other string // of rename
	value int
}

type shard struct {
	data map[string]int
	log  []entry
}

type move struct{ from, to int }

// cluster is the source.
type cluster struct {
	shards []*shard
	owner  map[uint16]int
	moves  map[uint16]move
	next   int // makes values differ
}

// keysPerSlot bounds the keys of a slot.
const keysPerSlot = 4

func keyOf(s uint16, i int) string { return fmt.Sprintf("%d:%d", s, i) }

func slotOf(key string) uint16 {
	text, _, _ := strings.Cut(key, ":")
	s, _ := strconv.Atoi(text)
	return uint16(s)
}

// at returns the shard that answers for a key.
func (c *cluster) at(key string) int {
	s := slotOf(key)
	m, moves := c.moves[s]
	if _, there := c.shards[c.owner[s]].data[key]; moves && !there {
		return m.to
	}
	return c.owner[s]
}

// holds returns what the source holds.
func (c *cluster) holds() map[string]int {
	all := map[string]int{}
	for s := range c.owner {
		for i := range keysPerSlot {
			key := keyOf(s, i)
			if v, there := c.shards[c.at(key)].data[key]; there {
				all[key] = v
			}
		}
	}
	return all
}

func (c *cluster) run(n int, e entry) {
	sh := c.shards[n]
	apply(sh.data, e)
	sh.log = append(sh.log, e)
}

// apply executes a command that names its keys.
func apply(data map[string]int, e entry) {
	switch e.op {
	case "set", "restore":
		data[e.key] = e.value
	case "incr":
		data[e.key]++
	case "del":
		delete(data, e.key)
	case "rename":
		if v, there := data[e.key]; there {
			delete(data, e.key)
			data[e.other] = v
		}
	case "trim":
		for i := range keysPerSlot {
			delete(data, keyOf(e.slot, i))
		}
	case "flush":
		clear(data)
	}
}

// sent is what a lane has to apply.
type sent struct {
	e   entry
	end int64
}

// follower is a link.
type follower struct {
	at      int64             // the stream was dispatched up to here
	queue   map[uint16][]sent // by slot: not yet applied
	record  int64             // all slots have applied the stream up to here, as the target remembers it
	loading *image            // a snapshot that is still to be loaded
}

type image struct {
	data map[string]int
	at   int64
}

// place, in the target, of a checkpoint.
type site struct {
	link int
	slot uint16
}

// faulty are changes of the rule which the model must find.
type faulty struct {
	noMeeting, notesForgotten, marksForgotten, signsIgnored, positionsEarly, loadsUnseen, gapUnmarked, fencesForgotten bool
}

type world struct {
	r      *rand.Rand
	c      *cluster
	links  []*follower
	target map[string]int
	marks  map[site]int64   // checkpoints
	fences map[string]int64 // offsets as of which keys were copied, in the stream of the link that copied them
	copier map[string]int   // that link
	notes  map[uint16]map[string]bool
	table  *Table
	disk   State
	wrong  faulty

	again *rereading
	kinds []int // of steps, each as often as it is likely
	trace []string
}

// rereading is an attempt that is under way.
type rereading struct {
	a      *Attempt
	slots  []uint16
	owner  int
	stood  []int64
	met    []bool
	left   []string
	listed bool
}

func newWorld(r *rand.Rand, wrong faulty) *world {
	w := &world{r: r, c: &cluster{owner: map[uint16]int{}, moves: map[uint16]move{}}, target: map[string]int{}, marks: map[site]int64{},
		fences: map[string]int64{}, copier: map[string]int{}, notes: map[uint16]map[string]bool{}, wrong: wrong}
	for range 2 + r.IntN(2) {
		w.c.shards = append(w.c.shards, &shard{data: map[string]int{}})
	}
	n := 1 + r.IntN(3)
	st := State{}
	for range w.c.shards {
		st.Owned = append(st.Owned, nil)
		w.links = append(w.links, &follower{queue: map[uint16][]sent{}})
	}
	for s := range uint16(n) {
		o := r.IntN(len(w.c.shards))
		w.c.owner[s] = o
		st.Owned[o] = appendSlot(st.Owned[o], s)
	}
	w.disk = st
	w.table = newTable(st, w.save, 3)
	w.weigh()
	return w
}

func (w *world) save(st State) error { w.disk = st; return nil }

func (w *world) say(format string, args ...any) {
	w.trace = append(w.trace, fmt.Sprintf(format, args...))
}

func (w *world) slot() uint16 { return uint16(w.r.IntN(len(w.c.owner))) }

// weigh draws how often each kind of step is taken in this schedule: what is rare in most is then frequent in some.
func (w *world) weigh() {
	for i, usual := range []int{22, 12, 2, 26, 13, 5, 15, 2, 2, 1} {
		weight := usual
		switch w.r.IntN(6) {
		case 0:
			weight *= 4
		case 1:
			weight /= 4
		}
		for range weight {
			w.kinds = append(w.kinds, i)
		}
	}
}

// step does something at random.
func (w *world) step() {
	i := w.r.IntN(len(w.links))
	switch w.kinds[w.r.IntN(len(w.kinds))] {
	case 0:
		w.write()
	case 1:
		w.move()
	case 2:
		w.flush()
	case 3:
		w.deliver(i)
	case 4:
		w.applyOne(i)
	case 5:
		w.look()
	case 6:
		w.settle()
	case 7:
		w.remember()
	case 8:
		w.kill()
	default:
		w.lose(i)
	}
}

func (w *world) write() {
	s := w.slot()
	key := keyOf(s, w.r.IntN(keysPerSlot))
	n := w.c.at(key)
	w.c.next++
	e := entry{op: "set", slot: s, key: key, value: 100 * w.c.next}
	_, there := w.c.shards[n].data[key]
	switch k := w.r.IntN(10); {
	case k < 4:
		e.op = "incr"
	case k < 6 && there:
		e.op = "del"
	case k < 7 && there:
		e.other = keyOf(s, w.r.IntN(keysPerSlot))
		_, moves := w.c.moves[s]
		if _, both := w.c.shards[n].data[e.other]; e.other == key || moves && (!both || w.c.at(e.other) != n) { // the server answers TRYAGAIN
			return
		}
		e.op = "rename"
	}
	w.c.run(n, e)
	w.say("shard %d runs %v at %d", n, e, len(w.c.shards[n].log))
}

// move takes a step in the move of a slot.
func (w *world) move() {
	s := w.slot()
	from := w.c.owner[s]
	m, moves := w.c.moves[s]
	if !moves {
		to := w.r.IntN(len(w.c.shards))
		switch {
		case to == from:
		case w.r.IntN(4) == 0:
			w.atomic(s, from, to)
		default:
			w.c.moves[s] = move{from, to}
			w.say("slot %d begins to move from %d to %d", s, from, to)
		}
		return
	}
	var keys []string
	for i := range keysPerSlot {
		if _, there := w.c.shards[m.from].data[keyOf(s, i)]; there {
			keys = append(keys, keyOf(s, i))
		}
	}
	if len(keys) > 0 {
		key := keys[w.r.IntN(len(keys))]
		w.c.run(m.to, entry{op: "restore", slot: s, key: key, value: w.c.shards[m.from].data[key]})
		cut := w.r.IntN(8) == 0
		if !cut {
			w.c.run(m.from, entry{op: "del", slot: s, key: key})
		}
		w.say("key %s moves to %d (cut off: %v), ends %d and %d", key, m.to, cut, len(w.c.shards[m.from].log), len(w.c.shards[m.to].log))
		return
	}
	w.c.owner[s] = m.to
	delete(w.c.moves, s)
	w.say("slot %d is with %d", s, m.to)
}

// atomic moves a slot as a whole.
func (w *world) atomic(s uint16, from, to int) {
	for i := range keysPerSlot {
		if v, there := w.c.shards[from].data[keyOf(s, i)]; there {
			w.c.run(to, entry{op: "set", slot: s, key: keyOf(s, i), value: v})
		}
	}
	w.c.owner[s] = to
	w.c.run(from, entry{op: "trim", slot: s})
	w.say("slot %d moves from %d to %d at once", s, from, to)
}

func (w *world) flush() {
	n := w.r.IntN(len(w.c.shards))
	w.c.run(n, entry{op: "flush"})
	w.say("shard %d is flushed at %d", n, len(w.c.shards[n].log))
}

func (w *world) note(s uint16, keys ...string) {
	if w.notes[s] == nil {
		w.notes[s] = map[string]bool{}
	}
	for _, k := range keys {
		if k != "" && !w.wrong.notesForgotten {
			w.notes[s][k] = true
		}
	}
}

// deliver dispatches the next command of a link's stream.
func (w *world) deliver(i int) {
	l := w.links[i]
	if l.loading != nil {
		if w.r.IntN(3) == 0 {
			w.load(i)
		}
		return
	}
	if int(l.at) == len(w.c.shards[i].log) {
		return
	}
	e, end := w.c.shards[i].log[l.at], l.at+1
	switch e.op {
	case "flush":
		w.flushed(i, end)
	case "trim":
		if w.table.Owns(i, e.slot) && end > w.disk.point(i, e.slot) || slices.Contains(slices.Collect(maps.Keys(w.table.Moving())), e.slot) {
			must(w.table.Begin([]uint16{e.slot}, true))
		}
	default:
		w.dispatch(i, e, end)
	}
	l.at = end
}

func (st *State) point(link int, s uint16) int64 {
	for _, p := range st.Points {
		if p.Link == link && p.Slots.Has(s) {
			return p.At
		}
	}
	return 0
}

func (w *world) dispatch(i int, e entry, end int64) {
	l := w.links[i]
	v, err := w.table.Judge(i, e.slot, end)
	must(err)
	if end <= w.marks[site{i, e.slot}] { // the target has it from an earlier run
		return
	}
	w.say("link %d: %v at %d: %d", i, e, end, v)
	switch v {
	case Note:
		w.note(e.slot, e.key, e.other)
	case Apply:
		fenced := func(k string) bool {
			return k != "" && !w.wrong.fencesForgotten && w.copier[k] == i && w.fences[k] >= end
		}
		switch a, b := fenced(e.key), fenced(e.other); {
		case e.other == "" && a, a && b:
		case a != b && e.other != "":
			w.drain(i, e.slot)
			w.copy(i, e.key)
			w.copy(i, e.other)
		default:
			l.queue[e.slot] = append(l.queue[e.slot], sent{e, end})
		}
	}
}

// flushed carries a FLUSHALL: it deletes the keys of the slots that the link owns, and marks those that move.
func (w *world) flushed(i int, end int64) {
	moving := w.table.Moving()
	for s := range w.c.owner {
		if _, moves := moving[s]; moves {
			must(w.table.Begin([]uint16{s}, true))
			continue
		}
		if !w.table.Owns(i, s) || end <= w.disk.point(i, s) || end <= w.marks[site{i, s}] {
			continue
		}
		w.drain(i, s)
		for k := range w.target {
			if slotOf(k) == s && !(w.copier[k] == i && w.fences[k] >= end) {
				delete(w.target, k)
			}
		}
		w.marks[site{i, s}] = end
	}
}

// applyOne has the target apply the next command of one lane.
func (w *world) applyOne(i int) {
	for s, q := range w.links[i].queue {
		if len(q) > 0 {
			apply(w.target, q[0].e)
			w.marks[site{i, s}] = q[0].end
			w.links[i].queue[s] = q[1:]
			return
		}
	}
}

func (w *world) drain(i int, s uint16) {
	for _, x := range w.links[i].queue[s] {
		apply(w.target, x.e)
		w.marks[site{i, s}] = x.end
	}
	w.links[i].queue[s] = nil
}

// copy copies a key from the shard of a link, and says whether that is possible. The lane of its slot must be empty.
func (w *world) copy(i int, key string) bool {
	s := slotOf(key)
	if _, moves := w.c.moves[s]; w.c.owner[s] != i || moves && w.c.at(key) != i { // MOVED or ASK
		must(w.table.Begin([]uint16{s}, false))
		w.note(s, key)
		return false
	}
	v, there := w.c.shards[i].data[key]
	if delete(w.target, key); there {
		w.target[key] = v
	}
	w.fences[key], w.copier[key] = int64(len(w.c.shards[i].log)), i
	w.say("link %d copies %s as of %d", i, key, w.fences[key])
	return true
}

// look compares the topology with the table.
func (w *world) look() {
	for s, o := range w.c.owner {
		_, moves := w.c.moves[s]
		must(w.table.See(map[uint16]int{s: o}, map[uint16]bool{s: moves}))
	}
}

// settle takes the next step in reading again the slots that move.
func (w *world) settle() {
	g := w.again
	if g == nil {
		w.beginAgain()
		return
	}
	for i, l := range w.links {
		if g.met[i] {
			continue
		}
		if l.loading != nil && !w.wrong.loadsUnseen || l.at < g.stood[i] {
			return
		}
		for _, s := range g.slots {
			if !w.wrong.noMeeting {
				w.drain(i, s)
			}
		}
		g.met[i] = true
		return
	}
	if !g.listed {
		g.listed = true
		for _, s := range g.slots {
			for k := range w.c.shards[g.owner].data {
				if slotOf(k) == s {
					g.left = append(g.left, k)
				}
			}
			if !w.table.Moving()[s] || w.wrong.marksForgotten {
				continue
			}
			for k := range w.target {
				if slotOf(k) == s {
					g.left = append(g.left, k)
				}
			}
		}
		slices.Sort(g.left)
		return
	}
	if len(g.left) > 1 {
		if !w.copy(g.owner, g.left[0]) {
			w.giveUp()
			return
		}
		g.left = g.left[1:]
		return
	}
	var stop []string
	stop = append(stop, g.left...)
	for _, s := range g.slots {
		stop = append(stop, slices.Sorted(maps.Keys(w.notes[s]))...)
		if w.table.Moving()[s] && !w.wrong.marksForgotten { // it may have been marked since it was listed
			for k := range w.target {
				if slotOf(k) == s {
					stop = append(stop, k)
				}
			}
		}
	}
	for _, k := range stop {
		if !w.copy(g.owner, k) {
			w.giveUp()
			return
		}
	}
	stood := g.stood
	if w.wrong.signsIgnored {
		g.a.broken, g.a.last = false, nil
	}
	at := w.links[g.owner].at
	err := g.a.Settle(at, stood)
	w.again = nil
	if errors.Is(err, ErrMovesAgain) {
		return
	}
	must(err)
	w.say("slots %v settle with link %d at %d, stood %v", g.slots, g.owner, at, g.stood)
	for _, s := range g.slots {
		delete(w.notes, s)
	}
}

func (w *world) giveUp() {
	w.again.a.GiveUp()
	w.again = nil
}

func (w *world) beginAgain() {
	byOwner := map[int][]uint16{}
	moving := w.table.Moving()
	for _, s := range slices.Sorted(maps.Keys(moving)) {
		if _, moves := w.c.moves[s]; !moves {
			byOwner[w.c.owner[s]] = append(byOwner[w.c.owner[s]], s)
		}
	}
	for owner, slots := range byOwner {
		g := &rereading{slots: slots, owner: owner, met: make([]bool, len(w.links))}
		g.a = w.table.Attempt(slots, owner)
		for _, sh := range w.c.shards {
			g.stood = append(g.stood, int64(len(sh.log)))
		}
		if w.wrong.positionsEarly {
			for i := range g.stood {
				g.stood[i] = w.links[i].at
			}
		}
		w.again = g
		return
	}
}

// remember saves how far a link has come.
func (w *world) remember() {
	i := w.r.IntN(len(w.links))
	l := w.links[i]
	for _, q := range l.queue {
		if len(q) > 0 {
			return
		}
	}
	if l.loading == nil {
		l.record = l.at
	}
}

// kill ends the run at this instant, and begins the next one.
func (w *world) kill() {
	for i, l := range w.links {
		for s := range l.queue { // what was sent may still be applied
			for range w.r.IntN(len(l.queue[s]) + 1) {
				x := l.queue[s][0]
				apply(w.target, x.e)
				w.marks[site{i, s}] = x.end
				l.queue[s] = l.queue[s][1:]
			}
			l.queue[s] = nil
		}
		l.at = l.record
	}
	w.again = nil
	w.table = newTable(w.disk, w.save, 3)
	w.say("killed; links go on at %v", func() (at []int64) {
		for _, l := range w.links {
			at = append(at, l.at)
		}
		return at
	}())
	w.look()
}

// lose has a link lose its stream, so that it takes a new snapshot.
func (w *world) lose(i int) {
	l := w.links[i]
	l.loading = &image{maps.Clone(w.c.shards[i].data), int64(len(w.c.shards[i].log))}
	l.queue = map[uint16][]sent{}
	l.at, l.record = l.loading.at, l.loading.at
	w.say("link %d has lost its stream, and takes a snapshot as of %d: %v", i, l.at, l.loading.data)
	for k, by := range w.copier { // the fences lie beside the checkpoints, which are forgotten
		if by == i {
			delete(w.fences, k)
		}
	}
	w.gap()
}

// gap marks what moves: what was deleted in a lost part of a stream is in no notes.
func (w *world) gap() {
	if w.wrong.gapUnmarked {
		return
	}
	for s := range w.table.Moving() {
		must(w.table.Begin([]uint16{s}, true))
	}
}

func hasKey[K comparable, V any](m map[K]V, k K) bool { _, ok := m[k]; return ok }

// load loads the snapshot of a link, and deletes what it does not hold.
func (w *world) load(i int) {
	l := w.links[i]
	im := l.loading
	l.loading = nil
	for k, v := range im.data {
		switch verdict, err := w.table.Judge(i, slotOf(k), im.at); {
		case err != nil:
			panic(err)
		case verdict == Apply:
			w.target[k] = v
		case verdict == Note:
			w.note(slotOf(k), k)
		}
	}
	for s := range w.c.owner {
		if !w.table.Owns(i, s) {
			continue
		}
		for k := range w.target {
			if slotOf(k) == s && !hasKey(im.data, k) {
				delete(w.target, k)
			}
		}
		w.marks[site{i, s}] = im.at
	}
	w.gap()
	w.say("link %d has loaded its snapshot", i)
}

// caughtUp says whether every stream is applied to its end, and no slot moves.
func (w *world) caughtUp() bool {
	for i, l := range w.links {
		if l.loading != nil || int(l.at) < len(w.c.shards[i].log) {
			return false
		}
		for _, q := range l.queue {
			if len(q) > 0 {
				return false
			}
		}
	}
	return w.table.Settled()
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

// differs says how the target differs from the source where it must not.
func (w *world) differs() string {
	if !w.caughtUp() {
		return ""
	}
	if have, want := w.target, w.c.holds(); !maps.Equal(have, want) {
		return fmt.Sprintf("the target holds %v, the source %v", have, want)
	}
	return ""
}

// play plays one schedule, and returns what was wrong in it.
func play(seed uint64, wrong faulty) (string, *world) {
	w := newWorld(rand.New(rand.NewPCG(seed, 0)), wrong)
	for range 60 + w.r.IntN(200) {
		w.step()
		if d := w.differs(); d != "" {
			return d, w
		}
	}
	for n := 0; ; n++ { // the writers stop, and moves come to their end
		for s := range w.c.moves {
			_ = s
			w.move()
		}
		if len(w.c.moves) == 0 {
			w.look()
			for i := range w.links {
				w.deliver(i)
				w.applyOne(i)
			}
			w.settle()
			if w.caughtUp() {
				break
			}
		}
		if n > 100_000 {
			return "the slots do not settle", w
		}
	}
	return w.differs(), w
}

func schedules(t *testing.T) int {
	text := os.Getenv("SURECUT_SCHEDULES")
	if text == "" {
		return 5_000
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestSchedules(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("first seed %d", seed)
	for i := range uint64(schedules(t)) {
		if d, w := play(seed+i, faulty{}); d != "" {
			t.Fatalf("seed %d: %s\n%s", seed+i, d, strings.Join(w.trace, "\n"))
		}
	}
}

// TestScheduleFaults: each of these changes of the rule must be found.
func TestScheduleFaults(t *testing.T) {
	for name, wrong := range map[string]faulty{
		"no meeting before the keys are read again":                {noMeeting: true},
		"notes are forgotten":                                      {notesForgotten: true},
		"marks are forgotten":                                      {marksForgotten: true},
		"signs during the reading are ignored":                     {signsIgnored: true},
		"positions of the links instead of those of the primaries": {positionsEarly: true},
		"a link that loads is not waited for":                      {loadsUnseen: true},
		"a lost stream marks nothing":                              {gapUnmarked: true},
		"copies without fences":                                    {fencesForgotten: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for seed := range uint64(50_000) {
				if d, _ := play(seed, wrong); d != "" {
					t.Logf("found after %d schedules", seed+1)
					return
				}
			}
			t.Fatal("not found")
		})
	}
}
