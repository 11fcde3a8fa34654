package verifier

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"surecut/internal/endpoint"
)

// slotWatch watches whether all slots of a side stay on their nodes while its keys are listed.
type slotWatch struct {
	*side
	before []string // the node that served each slot when it began; nil: slots do not decide on the server of a key
}

func (s *side) watchSlots() *slotWatch { return &slotWatch{s, placesOf(s.dep)} }

// placesOf returns the node that serves each slot according to the last discovery. It returns nil where slots do not decide on the
// server of a key.
func placesOf(d *endpoint.Deployment) []string {
	if !d.Sharded() {
		return nil
	}
	out := make([]string, d.Slots())
	for slot := range out {
		primary, _ := d.PrimaryOf(uint16(slot))
		out[slot] = primary.Addr
	}
	return out
}

// heldStill checks whether all slots stayed on their nodes while keys were listed. A key is listed by neither node if it leaves one
// before that node has listed it, for another whose listing has already passed its place.
func (m *slotWatch) heldStill(ctx context.Context) {
	if m.before == nil {
		return
	}
	if err := m.refresh(ctx); err != nil {
		m.short.add("%s: it is not known whether slots moved while keys were listed: %v", m.name, err)
		return
	}
	moved, first := 0, 0
	for slot, addr := range placesOf(m.dep) {
		if slot < len(m.before) && addr != m.before[slot] {
			if moved++; moved == 1 {
				first = slot
			}
		}
	}
	if moved > 0 {
		now, _ := m.dep.PrimaryOf(uint16(first))
		m.short.add("%s: %d slots are served by another node than when the listing of keys began (slot %d by %s, now by %s), so keys may be missing from the listing; verify again when no slots are moving",
			m.name, moved, first, m.before[first], cmp.Or(now.Addr, "no node"))
	}
	moving := m.moving(ctx)
	m.strays.takeOutMoved()
	if moving != "" {
		m.short.add("%s: %s, so keys may be missing from the listing; verify again when no slots are moving", m.name, moving)
	}
}

// servedByNobody notes slots of a cluster that no node serves: nobody can read the keys in them.
func (m *slotWatch) servedByNobody() {
	if m.dep.Kind() != endpoint.Cluster {
		return
	}
	n, first := 0, 0
	for slot := range m.dep.Slots() {
		if _, ok := m.dep.PrimaryOf(uint16(slot)); !ok {
			if n++; n == 1 {
				first = slot
			}
		}
	}
	if n > 0 {
		m.short.add("%s: no node serves %d of the slots (the first one is %d); assign them (redis-cli --cluster fix), then verify again", m.name, n, first)
	}
}

// moving describes slots that are moving from one node to another. It returns "" where none is, or where nobody can be asked.
func (m *slotWatch) moving(ctx context.Context) (text string) {
	if n := m.dep.Moving(); n > 0 {
		return fmt.Sprintf("%d slots are being moved", n)
	}
	if m.dep.Kind() != endpoint.Cluster || m.dep.Spec().Proxy != "" {
		return ""
	}
	for _, shard := range m.dep.Shards() {
		addr := shard.Primary.Addr
		reply, err := m.clusterNodes(ctx, addr)
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
			m.strays.imports(addr, line.Importing)
		}
	}
	return text
}

// clusterNodes asks one primary for CLUSTER NODES. It bounds the wait, so that a primary that hangs does not hold up the others.
func (m *slotWatch) clusterNodes(ctx context.Context, addr string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, min(m.cfg.Silence, 5*time.Second))
	defer cancel()
	client, err := m.dep.Client(ctx, addr, 0)
	if err != nil {
		return "", err
	}
	return client.Do(ctx, client.B().Arbitrary("CLUSTER", "NODES").Build()).ToString()
}
