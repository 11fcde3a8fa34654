package verifier

import "sync"

// readerPool lends the readers of one side, so that connections are used again.
type readerPool struct {
	cfg  *Config
	bigs chan struct{} // a token per big value that may be read at a time

	mu   sync.Mutex
	idle map[*node][]*reader // guarded by mu: readers that are not in use
}

func newReaderPool(o *Config) *readerPool {
	return &readerPool{cfg: o, bigs: make(chan struct{}, 2), idle: map[*node][]*reader{}}
}

// borrow returns a reader of one database of one node; the caller gives it back. It waits while as many readers of the node are in
// use as the settings allow, whatever the number of databases, because the server has other clients, too. A caller that borrows on
// both sides borrows on the source first.
func (p *readerPool) borrow(n *node, db int) *reader {
	n.readers <- struct{}{}
	p.mu.Lock()
	defer p.mu.Unlock()
	list := p.idle[n]
	if len(list) == 0 {
		return newReader(n, db, p.cfg, p.bigs)
	}
	r := list[len(list)-1]
	p.idle[n] = list[:len(list)-1]
	r.db = db
	return r
}

func (p *readerPool) giveBack(r *reader) {
	p.mu.Lock()
	p.idle[r.node] = append(p.idle[r.node], r)
	p.mu.Unlock()
	<-r.node.readers
}

func (p *readerPool) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, list := range p.idle {
		for _, r := range list {
			r.close()
		}
	}
	p.idle = map[*node][]*reader{}
}
