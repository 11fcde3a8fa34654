package migrator

// Settled says whether the target holds all that was received from the source, each key with its true expiry. It returns false if the
// migration was stopped while commands were still to be applied, or while keys were held without their expiry.
func (m *Migration) Settled() bool {
	for _, l := range m.links {
		if l.file != nil && l.file.whole.Load() { // offsets may end before a part that was cut off, and expiries are held to the end
			continue
		}
		if l.expiries.Holding() {
			return false
		}
		if r := l.report(); r.AppliedOffset < r.Offset {
			return false
		}
	}
	return true
}
