package migrator

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"surecut/internal/endpoint"
	"surecut/internal/keyspace"
)

// TestCompareSlots: a failover leaves every slot in its shard; everything else is a move that names slots and nodes.
func TestCompareSlots(t *testing.T) {
	node := func(id string) endpoint.Node { return endpoint.Node{ID: id, Addr: "at-" + id} }
	shard := func(primary, slots string, replicas ...string) endpoint.Shard {
		ranges, err := keyspace.ParseSlots(slots)
		if err != nil {
			t.Fatal(err)
		}
		s := endpoint.Shard{Primary: node(primary), Slots: ranges}
		for _, r := range replicas {
			s.Replicas = append(s.Replicas, node(r))
		}
		return s
	}
	const a, b = "0-8191", "8192-16383"
	known := []holding{{primary: "at-a1", nodes: []string{"a1", "a2"}}, {primary: "at-b1", nodes: []string{"b1", "b2"}}}
	for i, text := range []string{a, b} {
		known[i].slots, _ = keyspace.ParseSlots(text)
	}
	for _, tt := range []struct {
		name, why string
		now       []endpoint.Shard
		homes     []home
		says      []string // none: nothing moved
	}{
		{"at rest", "", []endpoint.Shard{shard("a1", a, "a2"), shard("b1", b, "b2")}, []home{{0, true}, {1, true}}, nil},
		{"failover", "the promoted replica was known", []endpoint.Shard{shard("a2", a), shard("b1", b, "b2")}, []home{{0, true}, {1, true}}, nil},
		{"a replica changes its shard", "b's primary is what it was", []endpoint.Shard{shard("a1", a), shard("b1", b, "b2", "a2")}, []home{{0, true}, {1, true}}, nil},
		{"an unknown node with all slots", "it may have joined and been promoted between two looks; the stream has to prove it",
			[]endpoint.Shard{shard("c1", a), shard("b1", b)}, []home{{0, false}, {1, true}}, nil},
		{"the first slot", "the order of the shards says nothing about who they are",
			[]endpoint.Shard{shard("b1", "0-0,8192-16383"), shard("a1", "1-8191")}, []home{{1, true}, {0, true}}, []string{"slot 0 of the source moved from at-a1 to at-b1"}},
		{"several slots", "", []endpoint.Shard{shard("a1", "0-99,101-8000"), shard("b1", "100-100,8001-16383")}, nil, []string{"slots 100,8001-8191 of the source moved from at-a1 to at-b1"}},
		{"swapped", "each holds what the other held", []endpoint.Shard{shard("b1", a), shard("a1", b)}, nil,
			[]string{"slots 0-8191 of the source moved from at-a1 to at-b1", "slots 8192-16383 of the source moved from at-b1 to at-a1"}},
		{"a new shard", "", []endpoint.Shard{shard("a1", "0-4000"), shard("c1", "4001-8191"), shard("b1", b)}, nil, []string{"slots 4001-8191 of the source moved from at-a1 to at-c1"}},
		{"an emptied shard", "", []endpoint.Shard{shard("b1", "0-16383")}, nil, []string{"slots 0-8191 of the source moved from at-a1 to at-b1"}},
		{"a split among its own nodes", "the former replica is a primary of its own", []endpoint.Shard{shard("a1", "0-5000"), shard("a2", "5001-8191"), shard("b1", b)}, nil,
			[]string{"slots 5001-8191 of the source moved from at-a1 to at-a2"}},
		{"moved to the other's former replica", "a failover at the same time", []endpoint.Shard{shard("a2", "1-8191"), shard("b2", "0-0,8192-16383")}, nil, []string{"slot 0 of the source moved from at-a2 to at-b2"}},
		{"dropped", "", []endpoint.Shard{shard("a1", "0-7,9-8191"), shard("b1", b)}, nil, []string{"slot 8 of the source moved from at-a1 to no node"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			homes, moves := compareSlots(known, tt.now)
			if tt.homes != nil && !slices.Equal(homes, tt.homes) {
				t.Errorf("homes %v, want %v: %s", homes, tt.homes, tt.why)
			}
			if (len(moves) > 0) != (len(tt.says) > 0) {
				t.Fatalf("%d slots moved: %s", len(moves), tt.why)
			}
			for _, say := range tt.says {
				if text := (&reshardError{moves}).Error(); !strings.Contains(text, say) {
					t.Errorf("%q does not say %q", text, say)
				}
			}
		})
	}
}

// TestSlotWithoutOwner: a slot that nobody held belongs to no link.
func TestSlotWithoutOwner(t *testing.T) {
	half := keyspace.SlotRange{First: 0, Last: 8191}
	known := []holding{{primary: "at-a", nodes: []string{"a"}, slots: keyspace.SlotRanges{half}}}
	_, moves := compareSlots(known, []endpoint.Shard{{Primary: endpoint.Node{ID: "a", Addr: "at-a"}, Slots: keyspace.SlotRanges{{First: 0, Last: 8192}}}})
	if len(moves) != 1 || moves[0].slot != 8192 || moves[0].from != "" {
		t.Errorf("%+v", moves)
	}
}

// TestManyMoves: an error stays readable.
func TestManyMoves(t *testing.T) {
	var moves []slotMove
	for i := range 10 {
		moves = append(moves, slotMove{slot: uint16(i), from: "a", to: fmt.Sprint(i)})
	}
	if text := (&reshardError{moves}).Error(); strings.Count(text, "moved from") != mostMoves || !strings.Contains(text, "and 6 more moves") {
		t.Error(text)
	}
}

func TestSlotText(t *testing.T) {
	for _, text := range []string{"", "0-16383", "5-5,7-9"} {
		ranges, err := keyspace.ParseSlots(text)
		if got := ranges.String(); err != nil || got != text {
			t.Errorf("%q becomes %q, %v", text, got, err)
		}
	}
	for _, text := range []string{"x", "9-5", "0-" + fmt.Sprint(keyspace.Slots), "1-2,"} {
		if ranges, err := keyspace.ParseSlots(text); err == nil {
			t.Errorf("%q becomes %v", text, ranges)
		}
	}
}
