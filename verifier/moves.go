package verifier

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"surecut/internal/endpoint"
)

// places returns the node that serves each slot according to the last discovery. It returns nil where slots do not decide on the
// server of a key.
func (s *side) places() []string {
	if !s.dep.Sharded() {
		return nil
	}
	out := make([]string, s.dep.Slots())
	for slot := range out {
		primary, _ := s.dep.PrimaryOf(uint16(slot))
		out[slot] = primary.Addr
	}
	return out
}

// heldStill checks whether all slots stayed on their nodes while keys were listed. A key is listed by neither node if it leaves one
// before that node has listed it, for another whose listing has already passed its place.
func (s *side) heldStill(ctx context.Context, before []string) {
	if before == nil {
		return
	}
	if err := s.refresh(ctx); err != nil {
		s.short.add("%s: it is not known whether slots moved while keys were listed: %v", s.name, err)
		return
	}
	moved, first := 0, 0
	for slot, addr := range s.places() {
		if slot < len(before) && addr != before[slot] {
			if moved++; moved == 1 {
				first = slot
			}
		}
	}
	if moved > 0 {
		now, _ := s.dep.PrimaryOf(uint16(first))
		s.short.add("%s: %d slots are served by another node than when the listing of keys began (slot %d by %s, now by %s), so keys may be missing from the listing; verify again when no slots are moving",
			s.name, moved, first, before[first], cmp.Or(now.Addr, "no node"))
	}
	moving := s.moving(ctx)
	s.takeOutMoved()
	if moving != "" {
		s.short.add("%s: %s, so keys may be missing from the listing; verify again when no slots are moving", s.name, moving)
	}
}

// servedByNobody notes slots of a cluster that no node serves: nobody can read the keys in them.
func (s *side) servedByNobody() {
	if s.dep.Kind() != endpoint.Cluster {
		return
	}
	n, first := 0, 0
	for slot := range s.dep.Slots() {
		if _, ok := s.dep.PrimaryOf(uint16(slot)); !ok {
			if n++; n == 1 {
				first = slot
			}
		}
	}
	if n > 0 {
		s.short.add("%s: no node serves %d of the slots (the first one is %d); assign them (redis-cli --cluster fix), then verify again", s.name, n, first)
	}
}

// moving describes slots that are moving from one node to another. It returns "" where none is, or where nobody can be asked.
func (s *side) moving(ctx context.Context) (text string) {
	if n := s.dep.Moving(); n > 0 {
		return fmt.Sprintf("%d slots are being moved", n)
	}
	if s.dep.Kind() != endpoint.Cluster || s.dep.Spec().Proxy != "" {
		return ""
	}
	for _, shard := range s.dep.Shards() {
		addr := shard.Primary.Addr
		reply, err := s.clusterNodes(ctx, addr)
		if err != nil {
			continue
		}
		nodes, err := endpoint.ParseClusterNodes(reply, addr)
		if err != nil {
			continue
		}
		for _, line := range nodes { // a node lists only its own moving slots
			moves := len(line.Migrating) + len(line.Importing)
			if moves > 0 && text == "" {
				text = fmt.Sprintf("%d slots of %s are being moved", moves, addr)
			}
			s.imports(addr, line.Importing)
		}
	}
	return text
}

// imports notes slots that are moving to a primary: it already holds some of their keys.
func (s *side) imports(primary string, slots map[uint16]string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for slot := range slots {
		if s.importing == nil {
			s.importing = map[string]map[uint16]bool{}
		}
		if s.importing[primary] == nil {
			s.importing[primary] = map[uint16]bool{}
		}
		s.importing[primary][slot] = true
	}
}

// clusterNodes asks one primary for CLUSTER NODES. It bounds the wait, so that a primary that hangs does not hold up the others.
func (s *side) clusterNodes(ctx context.Context, addr string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, min(s.cfg.Silence, 5*time.Second))
	defer cancel()
	client, err := s.dep.Client(ctx, addr, 0)
	if err != nil {
		return "", err
	}
	return client.Do(ctx, client.B().Arbitrary("CLUSTER", "NODES").Build()).ToString()
}
