package target

// bloom is a set of hashes with false positives. The bits of a hash lie in one block, which is a line of the processor's cache.
type bloom struct{ bits []uint64 }

const bloomBlock = 8 // words

// block returns the block of a hash.
func (b *bloom) block(h uint64) []uint64 {
	i := h >> 36 % uint64(len(b.bits)/bloomBlock) * bloomBlock
	return b.bits[i : i+bloomBlock]
}

func (b *bloom) add(h uint64) {
	block := b.block(h)
	for range 4 {
		block[h>>6%bloomBlock] |= 1 << (h & 63)
		h >>= 9
	}
}

// merge adds the hashes of another set, whose size must be that of b or divide it.
func (b *bloom) merge(other *bloom) {
	for i := range b.bits {
		b.bits[i] |= other.bits[i%len(other.bits)]
	}
}

func (b *bloom) has(h uint64) bool {
	block := b.block(h)
	for range 4 {
		if block[h>>6%bloomBlock]&(1<<(h&63)) == 0 {
			return false
		}
		h >>= 9
	}
	return true
}
