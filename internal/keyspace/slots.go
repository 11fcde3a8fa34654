package keyspace

import (
	"fmt"
	"iter"
	"strconv"
	"strings"
)

// SlotRange is the range of slots from First to Last, including both.
type SlotRange struct{ First, Last uint16 }

// SlotRanges are the slots of a node, of a shard or of a link.
type SlotRanges []SlotRange

// ParseSlots reads ranges of slots, such as "0-5460,10923". An empty text has no ranges.
func ParseSlots(text string) (ranges SlotRanges, err error) {
	if text == "" {
		return nil, nil
	}
	for part := range strings.SplitSeq(text, ",") {
		low, high, isRange := strings.Cut(part, "-")
		if !isRange {
			high = low
		}
		first, err1 := strconv.ParseUint(low, 10, 16)
		last, err2 := strconv.ParseUint(high, 10, 16)
		if err1 != nil || err2 != nil || first > last || last >= Slots {
			return nil, fmt.Errorf("%q is not a range of slots such as 0-5460", part)
		}
		ranges = append(ranges, SlotRange{uint16(first), uint16(last)})
	}
	return ranges, nil
}

// String returns the ranges in the form that ParseSlots reads, such as "0-5460,7000-7000".
func (r SlotRanges) String() string {
	parts := make([]string, len(r))
	for i, s := range r {
		parts[i] = fmt.Sprintf("%d-%d", s.First, s.Last)
	}
	return strings.Join(parts, ",")
}

// Has says whether a slot is in one of the ranges.
func (r SlotRanges) Has(slot uint16) bool {
	for _, s := range r {
		if s.First <= slot && slot <= s.Last {
			return true
		}
	}
	return false
}

// All returns the slots of the ranges, in their order.
func (r SlotRanges) All() iter.Seq[uint16] {
	return func(yield func(uint16) bool) {
		for _, s := range r {
			for slot := int(s.First); slot <= int(s.Last); slot++ {
				if !yield(uint16(slot)) {
					return
				}
			}
		}
	}
}
