package verifier

import "github.com/redis/rueidis"

const (
	mostElements = 4096 // of one page
	carefulPage  = 8    // elements of a page while large ones are known to lie ahead
	unknownPage  = 32   // elements of a page at most where it is not known what lies ahead
	spareBytes   = 2 << 20
)

// pager sizes the pages in which one value is read. The pages before tell what elements take; what the server says that the whole
// value takes tells whether larger ones must lie ahead: then pages stay small until those have been read.
type pager struct {
	total   int64 // bytes of the whole value as the server measures it; unknownSize
	left    int64 // elements that have not been read; below 0: not known
	read    int64 // bytes that were read, about as the server measures them
	window  int64 // bytes that a page may have
	ordered bool  // large elements may stand together, and are not scattered as in a hash table
	beside  int64 // bytes that a server may take for an element beside those of its reply
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

// inOrder says that the pages come in an order in which large elements may stand together, each with so many bytes beside its reply's.
func (p *pager) inOrder(beside int64) *pager {
	p.ordered, p.beside = true, beside
	return p
}

// took takes in a page of so many elements, and sizes the next one.
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

// learn sizes the next page by how many elements the last one had, by all their bytes and by those of the largest.
func (p *pager) learn(elements int, bytes, largest int64) {
	if elements == 0 { // a stretch of a table that holds none
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
