package keyspace

const (
	hllHeader    = 16 // "HYLL", encoding, 3 unused bytes, 8 bytes of cached cardinality
	hllRegisters = 16384
	hllBits      = 6
	hllDense     = hllHeader + hllRegisters*hllBits/8 // size of a dense HyperLogLog
	hllLongest   = hllHeader + 2*hllRegisters         // no sparse HyperLogLog is larger: each run takes two bytes at most
)

// hll hashes a string that is a HyperLogLog by its registers. It leaves out two things and nothing else: the cached cardinality
// (bytes 8 to 15), which PFCOUNT rewrites, and the encoding, because servers before 4.0 merge into a dense HyperLogLog where later
// ones keep it sparse. A string that merely begins like a HyperLogLog is hashed by its bytes.
type hll struct {
	held []byte // the whole string, while it may be a HyperLogLog
	over bool   // the string is no HyperLogLog
}

// These bound the size of a string that may be a HyperLogLog.
const (
	ShortestHLL = hllHeader + 2
	LongestHLL  = hllLongest
)

// MayBeHLL says whether a string that begins with head may be a HyperLogLog.
func MayBeHLL(head []byte) bool {
	return len(head) > 4 && string(head[:4]) == "HYLL" && head[4] <= 1
}

func (m *hll) write(p []byte, plain *twin) {
	plain.Write(p)
	if m.over {
		return
	}
	if len(m.held)+len(p) > hllLongest {
		m.over, m.held = true, nil
		return
	}
	if len(m.held) == 0 && len(p) > 0 && p[0] != 'H' {
		m.over = true
		return
	}
	m.held = append(m.held, p...)
	if n := min(len(m.held), 4); string(m.held[:n]) != "HYLL"[:n] || len(m.held) > 4 && m.held[4] > 1 {
		m.over, m.held = true, nil
	}
}

// sum returns the hash and the length that count: for a HyperLogLog those of its dense form.
func (m *hll) sum(size int64, plain *twin) (hash twinSum, length int64) {
	if m.over || len(m.held) < hllHeader {
		return plain.sum(), size
	}
	var registers [hllRegisters]byte
	if !readHLL(m.held, &registers) {
		return plain.sum(), size
	}
	var d twin
	d.Reset()
	d.Write([]byte("HYLL"))
	if unused := m.held[5:8]; string(unused) != "\x00\x00\x00" { // no command of HyperLogLogs writes these bytes, so they are data
		d.Write(unused)
	}
	d.Write(registers[:])
	return d.sum(), hllDense
}

// readHLL reads the registers of a whole HyperLogLog. It returns false where p is not one.
func readHLL(p []byte, registers *[hllRegisters]byte) bool {
	if p[4] == 0 {
		if len(p) != hllDense {
			return false
		}
		body := p[hllHeader:]
		for i := range registers {
			at, shift := i*hllBits/8, i*hllBits%8
			v := uint(body[at]) >> shift
			if shift > 8-hllBits {
				v |= uint(body[at+1]) << (8 - shift)
			}
			registers[i] = byte(v & (1<<hllBits - 1))
		}
		return true
	}
	at := 0
	for i := hllHeader; i < len(p); i++ {
		var run int
		var value byte
		switch b := p[i]; {
		case b&0x80 != 0: // VAL: 1vvvvvxx
			run, value = int(b&3)+1, b>>2&31+1
		case b&0x40 != 0: // XZERO: 01xxxxxx xxxxxxxx
			if i++; i == len(p) {
				return false
			}
			run = int(b&63)<<8 + int(p[i]) + 1
		default: // ZERO: 00xxxxxx
			run = int(b&63) + 1
		}
		if at+run > hllRegisters {
			return false
		}
		for ; run > 0; run-- {
			registers[at] = value
			at++
		}
	}
	return at == hllRegisters
}
