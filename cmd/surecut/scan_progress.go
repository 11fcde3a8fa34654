package main

import (
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
)

// scanProgress shows on stderr how far a scan is; show is called by one goroutine at a time.
type scanProgress struct {
	kind  string
	w     io.Writer
	what  string // keys or bytes
	shown time.Time
	bars  *mpb.Progress
	bar   *mpb.Bar
}

// newScanProgress begins the display; a scan that takes less time than a line needs shows none.
func newScanProgress(kind, what string, w io.Writer) *scanProgress {
	p := &scanProgress{kind: progressKind(kind, w), w: w, what: what, shown: time.Now()}
	if p.kind == "bar" {
		p.bars = mpb.New(mpb.WithOutput(w), mpb.WithWidth(40))
		p.bar = p.bars.AddBar(0, mpb.BarRemoveOnComplete(), mpb.PrependDecorators(decor.Name("scan ")),
			mpb.AppendDecorators(decor.CountersNoUnit("%d of %d "+what), decor.Percentage(decor.WC{W: 6})))
	}
	return p
}

func (p *scanProgress) show(done, total int64) {
	total = max(total, done) // of keys the total is as of the scan's start
	every := map[string]time.Duration{"line": 5 * time.Second, "json": 500 * time.Millisecond, "bar": 100 * time.Millisecond}[p.kind]
	if p.kind == "none" || time.Since(p.shown) < every {
		return
	}
	p.shown = time.Now()
	switch p.kind {
	case "bar":
		p.bar.SetTotal(total, false)
		p.bar.SetCurrent(done)
	case "line":
		fmt.Fprintf(p.w, "surecut: scanned %d of %d %s\n", done, total, p.what)
	case "json":
		line, err := json.Marshal(map[string]any{"event": "progress", "phase": "scan", "unit": p.what, "done": done, "total": total})
		if err == nil {
			fmt.Fprintf(p.w, "%s\n", line)
		}
	}
}

func (p *scanProgress) close() {
	if p.bars != nil {
		p.bar.Abort(true)
		p.bars.Wait()
	}
}
