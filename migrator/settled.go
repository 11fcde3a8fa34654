package migrator

// Settled says whether the target holds all that was received from the source, each key with its true expiry. It returns false if the
// migration was stopped while commands were still to be applied, while keys were held without their expiry or were still to be copied, or
// before it had come to where an earlier run had stopped.
func (m *Migration) Settled() bool {
	for _, l := range m.links {
		if l.file != nil && l.file.whole.Load() { // offsets may end before a part that was cut off, and expiries are held to the end
			continue
		}
		if l.expiries.Holding() || !l.passed() {
			return false
		}
		if r := l.report(); r.AppliedOffset < r.Offset {
			return false
		}
	}
	return true
}

// passed says whether the stream has passed everything that earlier runs have applied to the target, and no key is in doubt. A run that was
// stopped before its stream began knows that only if there was no earlier one.
func (l *link) passed() bool {
	if s := l.applying.Load(); s != nil {
		return s.Settled()
	}
	return !l.began.inTarget() || l.m.scans() || l.m.cfg.Mode == ModeFull
}
