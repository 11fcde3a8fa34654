package target

import "time"

// Distrust lets so much time go by since the last renewal of a claim that it has to be renewed before the next write.
func (c *Claim) Distrust() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.renewed = time.Now().Add(-leaseTrust)
}
