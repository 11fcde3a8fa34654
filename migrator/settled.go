package migrator

import (
	"fmt"
	"strings"
)

// Settled says whether the target holds everything that the source had when Finish was called, each key with its true expiry; see
// Unsettled.
func (m *Migration) Settled() bool { return len(m.Unsettled()) == 0 }

// Unsettled returns why the target does not hold everything that the source had when Finish was called, or why that is not known, in
// sentences without a full stop: the migration ended while commands were still to be received or applied, while keys were held without their
// expiry or were still to be copied, before it had come to where an earlier run had stopped, or while the source or the target did not answer. It may be
// called once Run has returned.
func (m *Migration) Unsettled() (reasons []string) {
	if w := m.unfinished.Load(); w != nil {
		reasons = append(reasons, w.String())
	}
	for _, l := range m.live() {
		if m.movingSlots() == 0 && l.loadsNothing() { // no key depends on it
			continue
		}
		if why := l.unsettled(); why != "" {
			reasons = append(reasons, why)
		}
	}
	if n := m.movingSlots(); n > 0 {
		reasons = append(reasons, fmt.Sprintf("%d slots of the source move between its shards (%s), and their keys are not read again yet: run the same command again once they have settled", n, slotList(m.slotsThatMove())))
	}
	return reasons
}

func (l *link) unsettled() string {
	if l.file != nil && l.file.whole.Load() { // offsets may end before a part that was cut off, and expiries are held to the end
		return ""
	}
	var reasons []string
	if l.expiries.Holding() {
		reasons = append(reasons, "keys from "+l.shard.Primary()+" are still held without their expiry")
	}
	if !l.passed() {
		reasons = append(reasons, "keys from "+l.shard.Primary()+" that an earlier run may have changed are still in doubt")
	}
	if r := l.report(); r.AppliedOffset < r.Offset {
		reasons = append(reasons, "not everything that was received from "+l.shard.Primary()+" is applied")
	}
	if l.replica != nil {
		if why := l.replica.unsettled(); why != "" {
			reasons = append(reasons, why)
		}
	}
	return strings.Join(reasons, "; ")
}

// passed says whether the stream has passed everything that earlier runs have applied to the target, and no key is in doubt. A run that was
// stopped before its stream began knows that only if there was no earlier one.
func (l *link) passed() bool {
	if s := l.applying.Load(); s != nil {
		return s.Settled()
	}
	return !l.began.inTarget() || l.m.scans() || l.m.cfg.Mode == ModeFull
}
