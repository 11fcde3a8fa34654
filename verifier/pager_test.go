package verifier

import "testing"

// alike takes in a page of so many elements of one size.
func (p *pager) alike(n int, size int64) { p.learn(n, int64(n)*(size+16), size+16) }

// A page never asks for much more than a window, as far as anything tells beforehand.
func TestPager(t *testing.T) {
	const window = 512 << 10
	t.Run("small elements come in large pages soon", func(t *testing.T) {
		p := newPager(100_000*24, 100_000, window).inOrder(16)
		for range 5 {
			p.alike(p.size, 8)
		}
		if p.size < 1000 {
			t.Errorf("pages of %d", p.size)
		}
	})
	t.Run("what the server says sizes the first page", func(t *testing.T) {
		if p := newPager(50<<20, 100, window); p.size != 1 {
			t.Errorf("100 elements in 50 MB: a page of %d", p.size)
		}
	})
	t.Run("large ones that lie ahead keep pages small", func(t *testing.T) {
		p := newPager(20_000*24+50<<20, 20_100, window).inOrder(16)
		for range 100 {
			p.alike(p.size, 8)
			if p.size > carefulPage {
				t.Fatalf("a page of %d, while 50 MB lie ahead", p.size)
			}
		}
	})
	t.Run("nothing is known", func(t *testing.T) {
		p := newPager(unknownSize, 100_000, window).inOrder(16)
		for range 100 {
			if p.alike(p.size, 8); p.size > unknownPage {
				t.Fatalf("a page of %d", p.size)
			}
		}
	})
	t.Run("a large element makes the next page small", func(t *testing.T) {
		p := newPager(unknownSize, -1, window)
		for range 5 {
			p.alike(p.size, 8)
		}
		if p.alike(2, window); p.size != 1 {
			t.Errorf("a page of %d", p.size)
		}
	})
	t.Run("an empty stretch is crossed in larger steps", func(t *testing.T) {
		p := newPager(unknownSize, -1, window)
		was := p.size
		if p.alike(0, 0); p.size <= was {
			t.Errorf("a page of %d", p.size)
		}
	})
}
