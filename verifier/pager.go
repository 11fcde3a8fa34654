package verifier

import "github.com/redis/rueidis"

const (
	mostElements = 4096 // elements of one page at most
	carefulPage  = 8    // elements of a page while large ones are known to lie ahead
	unknownPage  = 32   // elements of a page at most while the elements ahead are not known
	spareBytes   = 2 << 20
)

// pager sizes the pages in which one value is read. The pages read so far tell how large elements are. The size of the whole value,
// which the server tells, shows whether larger elements must lie ahead: if so, pages stay small until those have been read.
type pager struct {
	total   int64 // bytes of the whole value as the server measures it, or unknownSize
	left    int64 // elements that have not been read; below 0: not known
	read    int64 // bytes that were read, about as the server would measure them
	window  int64 // bytes that a page may have
	ordered bool  // large elements may be adjacent, because the order is not the random one of a hash table
	beside  int64 // bytes that a server may take for an element in addition to those in the reply
	size    int   // elements of the next page
}

func newPager(total, count, window int64) *pager {
	p := &pager{total: total, left: count, window: window, size: 1}
	if count > 0 && total != unknownSize {
		p.size = int(clamp(window/max(total/count, 1), 1, firstElements))
	}
	if total == unknownSize {
		p.size = 2
	}
	return p
}

// inOrder says that large elements may be adjacent in the pages, and how many bytes a server takes for an element in addition to
// those in the reply.
func (p *pager) inOrder(beside int64) *pager {
	p.ordered, p.beside = true, beside
	return p
}

// took takes in a page with the given number of elements, and sizes the next page.
func (p *pager) took(page []rueidis.RedisMessage, elements int) {
	bytes, largest := int64(0), int64(0)
	step := max(len(page)/max(elements, 1), 1)
	for i := 0; i < len(page); i += step {
		one := int64(0)
		for k := i; k < min(i+step, len(page)); k++ {
			one += weight(&page[k])
		}
		bytes, largest = bytes+one, max(largest, one)
	}
	p.learn(elements, bytes, largest)
}

// learn sizes the next page by the number of elements of the last one, by all their bytes and by the bytes of the largest one.
func (p *pager) learn(elements int, bytes, largest int64) {
	if elements == 0 { // the scan has passed an empty stretch of the table
		p.size = min(4*p.size, mostElements)
		return
	}
	p.read += bytes
	p.left -= int64(elements)
	usual := max(bytes/int64(elements), 1)
	if p.ordered {
		usual = max(usual, largest/2)
	}
	p.size = int(clamp(p.window/usual, 1, min(mostElements, 4*int64(p.size))))
	switch {
	case !p.ordered:
	case p.total == unknownSize || p.left < 0:
		p.size = min(p.size, unknownPage)
	case p.total-p.read-p.left*(usual+p.beside)*3/2 > spareBytes:
		p.size = min(p.size, carefulPage)
	}
}

func clamp(v, low, high int64) int64 { return max(low, min(v, high)) }
