//go:build servers

package migrator

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/rueidis"

	"surecut/e2e/servers"
	"surecut/internal/endpoint"
)

// open makes a slot ready to be moved. It may be called again when a failover has taken that back.
func (c *slotCluster) open(slot uint16, from, to *servers.Server) error {
	number := strconv.Itoa(int(slot))
	giver, err := c.self(from)
	if err != nil {
		return err
	}
	shown, err := c.sees(to)
	if err != nil {
		return err
	}
	taker := ""
	knows := false
	for _, n := range shown {
		if n.Has("myself") {
			taker = n.ID
		}
		knows = knows || n.ID == giver.ID && n.Slots.Has(slot)
	}
	if !knows { // as long as a node takes a slot, it does not learn that a failover has changed the owner
		if _, err := c.ask(to, "CLUSTER", "SETSLOT", number, "STABLE"); err != nil {
			return err
		}
		return fmt.Errorf("%s does not know yet that %s has slot %d", to.Addr, from.Addr, slot)
	}
	if _, err := c.ask(to, "CLUSTER", "SETSLOT", number, "IMPORTING", giver.ID); err != nil {
		return err
	}
	_, err = c.ask(from, "CLUSTER", "SETSLOT", number, "MIGRATING", taker)
	return err
}

// carry moves at most so many keys of a slot, and returns how many there were to move. replace overwrites what the other node has: an
// attempt that was cut off may have left a key on both.
func (c *slotCluster) carry(slot uint16, from, to *servers.Server, most int, replace bool) (int, error) {
	reply, err := c.ask(from, "CLUSTER", "GETKEYSINSLOT", strconv.Itoa(int(slot)), strconv.Itoa(most))
	if err != nil {
		return 0, err
	}
	keys := reply.([]any)
	if len(keys) == 0 {
		return 0, nil
	}
	args := []string{"MIGRATE", "127.0.0.1", strconv.Itoa(to.Port), "", "0", "10000"}
	if replace {
		args = append(args, "REPLACE")
	}
	args = append(args, "KEYS")
	for _, k := range keys {
		args = append(args, k.(string))
	}
	if _, err := c.ask(from, args...); err != nil {
		return 0, err
	}
	c.keysMoved.Add(int64(len(keys)))
	return len(keys), nil
}

// end gives a slot to its new owner: first there, then at the old one, then at all others. It returns when every node knows: a replica that
// is promoted before would take the slot back, or give it up for good.
func (c *slotCluster) end(slot uint16, from, to *servers.Server) error {
	c.ending.RLock()
	defer c.ending.RUnlock()
	taker, err := c.self(to)
	if err != nil {
		return err
	}
	nodes := []*servers.Server{to, from}
	for _, n := range c.primaries() {
		if !slices.Contains(nodes, n) {
			nodes = append(nodes, n)
		}
	}
	for i, n := range nodes {
		// What is refused to the others is told them by the new owner in time.
		if _, err := c.ask(n, "CLUSTER", "SETSLOT", strconv.Itoa(int(slot)), "NODE", taker.ID); err != nil && i < 2 {
			return err
		}
	}
	if from != to {
		c.slotsMoved.Add(1)
	}
	return within(20*time.Second, fmt.Sprintf("knowledge of the owner of slot %d", slot), func() error { return c.told(slot, taker.ID) })
}

// told returns an error unless every node knows a node as the owner of a slot.
func (c *slotCluster) told(slot uint16, owner string) error {
	for _, n := range c.live() {
		shown, err := c.sees(n)
		if err != nil {
			return err
		}
		if !slices.ContainsFunc(shown, func(o endpoint.ClusterNode) bool { return o.ID == owner && o.Slots.Has(slot) }) {
			return fmt.Errorf("%s does not know that %s owns slot %d", n.Addr, owner, slot)
		}
	}
	return nil
}

// move moves a slot with its keys to a shard, a few keys at a time, with a pause after each portion. It begins anew when a failover comes
// between.
func (c *slotCluster) move(slot uint16, to, portion int, pause time.Duration) error {
	first := true
	return patient(fmt.Sprintf("end of the move of slot %d", slot), func() error {
		err := c.tryMove(slot, to, portion, pause, !first)
		first = false
		return err
	})
}

func (c *slotCluster) tryMove(slot uint16, to, portion int, pause time.Duration, again bool) error {
	dest, err := c.primary(to)
	if err != nil {
		return err
	}
	from, err := c.owner(slot)
	if err != nil && again {
		return errors.Join(err, c.assign(slot, dest))
	}
	if err != nil {
		return err
	}
	if from == dest {
		if again { // the others may not have been told
			return c.end(slot, from, dest)
		}
		return nil
	}
	if err := c.open(slot, from, dest); err != nil {
		return err
	}
	for {
		n, err := c.carry(slot, from, dest, portion, again)
		if err != nil {
			return err
		}
		if n == 0 {
			return c.end(slot, from, dest)
		}
		time.Sleep(pause)
	}
}

// assign gives a slot that all nodes have given up, as moves and failovers at once may bring it about, to the primary that holds keys of
// it; if none does, to the one that it was to go to.
func (c *slotCluster) assign(slot uint16, dest *servers.Server) error {
	number := strconv.Itoa(int(slot))
	owner := dest
	for _, n := range c.primaries() {
		if keys, err := c.ask(n, "CLUSTER", "COUNTKEYSINSLOT", number); err == nil && keys != int64(0) && n != dest {
			owner = n
		}
	}
	_, err := c.ask(owner, "CLUSTER", "ADDSLOTS", number)
	if err != nil && strings.Contains(err.Error(), "already busy") { // somebody still names an owner that has given it up
		return c.end(slot, owner, owner)
	}
	return err
}

// half begins to move a slot, and moves half of its keys.
func (c *slotCluster) half(slot uint16, to int) (from, dest *servers.Server) {
	c.t.Helper()
	from, err := c.owner(slot)
	c.must(err)
	dest, err = c.primary(to)
	c.must(err)
	c.until("beginning of the move", func() error { return c.open(slot, from, dest) })
	n, err := c.ask(from, "CLUSTER", "COUNTKEYSINSLOT", strconv.Itoa(int(slot)))
	c.must(err)
	_, err = c.carry(slot, from, dest, int(n.(int64)+1)/2, false)
	c.must(err)
	return from, dest
}

// putBack takes back a move that has begun, with the keys that were moved. Clients write to keys that are still away as if there were none.
func (c *slotCluster) putBack(slot uint16, from, to *servers.Server) {
	c.t.Helper()
	number := strconv.Itoa(int(slot))
	_, err := c.ask(from, "CLUSTER", "SETSLOT", number, "STABLE") // or it would not take keys of the slot
	c.must(err)
	for {
		n, err := c.carry(slot, to, from, 100, true)
		c.must(err)
		if n == 0 {
			break
		}
	}
	_, err = c.ask(to, "CLUSTER", "SETSLOT", number, "STABLE")
	c.must(err)
}

// tidy ends what failovers have left of moves that were given up, as an administrator would. Nobody moves slots any more.
func (c *slotCluster) tidy() {
	c.t.Helper()
	for _, n := range c.primaries() {
		self, err := c.self(n)
		c.must(err)
		for _, moving := range []map[uint16]string{self.Migrating, self.Importing} {
			for slot := range moving {
				_, err := c.ask(n, "CLUSTER", "SETSLOT", strconv.Itoa(int(slot)), "STABLE")
				c.must(err)
			}
		}
	}
	c.until("agreement of the primaries", func() error {
		disputed, err := c.disputed()
		if err != nil || len(disputed) == 0 {
			return err
		}
		for _, slot := range disputed {
			owner, err := c.owner(slot)
			if err != nil {
				return err
			}
			if err := c.end(slot, owner, owner); err != nil {
				return err
			}
		}
		return fmt.Errorf("slots %v were disputed", disputed)
	})
}

// disputed lists the slots of which the primaries do not name the same owner.
func (c *slotCluster) disputed() (slots []uint16, err error) {
	type claim struct {
		slot uint16
		id   string
	}
	named := map[claim]int{}
	primaries := c.primaries()
	for _, n := range primaries {
		shown, err := c.sees(n)
		if err != nil {
			return nil, err
		}
		for _, o := range shown {
			for slot := range o.Slots.All() {
				named[claim{slot, o.ID}]++
			}
		}
	}
	agreed := map[uint16]bool{}
	for claimed, n := range named {
		if n == len(primaries) {
			agreed[claimed.slot] = true
		}
	}
	for slot := range uint16(16384) {
		if !agreed[slot] {
			slots = append(slots, slot)
		}
	}
	return slots, nil
}

// pipe runs commands on a node, a few hundred at a time.
func (c *slotCluster) pipe(n *servers.Server, cmds [][]string) []rueidis.RedisResult {
	c.t.Helper()
	client, err := c.client(n.Addr)
	c.must(err)
	var all []rueidis.RedisResult
	for part := range slices.Chunk(cmds, 300) {
		built := make([]rueidis.Completed, len(part))
		for i, args := range part {
			built[i] = endpoint.Arbitrary(client, args...)
		}
		all = append(all, client.DoMulti(context.Background(), built...)...)
	}
	return all
}

// moveAll moves every slot of a shard to another one: those with keys, and those that clients write to, like any other.
func (c *slotCluster) moveAll(from, to int, written []uint16) {
	c.t.Helper()
	giver, err := c.primary(from)
	c.must(err)
	taker, err := c.primary(to)
	c.must(err)
	self, err := c.self(giver)
	c.must(err)
	taken, err := c.self(taker)
	c.must(err)
	var counts, assign [][]string
	slots := slices.Collect(self.Slots.All())
	for _, slot := range slots {
		counts = append(counts, []string{"CLUSTER", "COUNTKEYSINSLOT", strconv.Itoa(int(slot))})
	}
	var full []uint16
	for i, res := range c.pipe(giver, counts) {
		n, err := res.AsInt64()
		c.must(err)
		if n > 0 || slices.Contains(written, slots[i]) {
			full = append(full, slots[i])
			continue
		}
		assign = append(assign, []string{"CLUSTER", "SETSLOT", strconv.Itoa(int(slots[i])), "NODE", taken.ID})
	}
	_, err = c.ask(taker, "CLUSTER", "BUMPEPOCH") // or what the old owner says of itself before it is told would take the slots back
	c.must(err)
	others := slices.DeleteFunc(c.primaries(), func(n *servers.Server) bool { return n == taker || n == giver })
	for _, n := range append([]*servers.Server{taker, giver}, others...) {
		for _, res := range c.pipe(n, assign) {
			if err := res.Error(); err != nil && !strings.Contains(err.Error(), "my slots") {
				c.t.Fatalf("%s: %v", n.Addr, err)
			}
		}
	}
	for _, slot := range full {
		c.must(c.move(slot, to, 100, 0))
	}
}
