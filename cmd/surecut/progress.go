package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
	"golang.org/x/term"

	"surecut/migrator"
	"surecut/verifier"
)

// progress adds the flag that chooses how a long run shows its progress on stderr.
func (b *binding) progress(kind *string) {
	b.text("progress", kind, "how progress is shown on stderr: bar, line, json or none (default: bar on a terminal, otherwise line)")
}

func checkProgress(mode string) error {
	switch mode {
	case "", "bar", "line", "json", "none":
		return nil
	}
	return fmt.Errorf("--progress %q: must be bar, line, json or none", mode)
}

// progressKind returns the kind or, if that is empty, the default: a bar if stderr is a terminal, otherwise lines.
func progressKind(kind string, w io.Writer) string {
	if kind != "" {
		return kind
	}
	if f, ok := w.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		return "bar"
	}
	return "line"
}

// display shows the progress of a long run on stderr: as a bar, as a line from time to time, or as one JSON object per line.
type display struct {
	kind     string
	w        io.Writer
	keepBar  bool          // after the run has ended
	jsonTime time.Duration // between two JSON objects

	mu    sync.Mutex
	last  time.Time // time of the last output; guarded by mu
	phase string    // phase in the last output; guarded by mu
	bars  *mpb.Progress
	bar   *mpb.Bar
	text  atomic.Value // the string next to the bar
}

// stand is the progress that a run has made.
type stand struct {
	phase       string // a new phase is shown at once
	now         bool   // show this at once
	done, total int64
	text        string
	event       func() any // returns the object to print in JSON mode
}

func newDisplay(kind string, w io.Writer, jsonTime time.Duration) *display {
	return &display{kind: progressKind(kind, w), w: w, jsonTime: jsonTime, last: time.Now()}
}

// show may be called often. It prints only when output is due.
func (d *display) show(s stand) {
	d.mu.Lock()
	defer d.mu.Unlock()
	every := map[string]time.Duration{"json": d.jsonTime, "line": 5 * time.Second, "bar": 100 * time.Millisecond}[d.kind]
	if d.kind == "none" || !s.now && s.phase == d.phase && time.Since(d.last) < every {
		return
	}
	d.phase, d.last = s.phase, time.Now()
	switch d.kind {
	case "json":
		if line, err := json.Marshal(s.event()); err == nil {
			fmt.Fprintf(d.w, "%s\n", line)
		}
	case "line":
		fmt.Fprintln(d.w, "surecut: "+s.text)
	case "bar":
		d.draw()
		d.text.Store(s.text)
		d.bar.SetTotal(max(s.total, s.done), false)
		d.bar.SetCurrent(s.done)
	}
}

// draw creates the bar, unless it exists already.
func (d *display) draw() {
	if d.bars == nil {
		d.text.Store("")
		d.bars = mpb.New(mpb.WithOutput(d.w), mpb.WithWidth(40))
		d.bar = d.bars.AddBar(0, mpb.AppendDecorators(decor.Any(func(decor.Statistics) string { return " " + d.text.Load().(string) })))
	}
}

// close ends the display.
func (d *display) close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.bars != nil {
		d.bar.Abort(!d.keepBar)
		d.bars.Wait()
	}
}

// migrateProgress shows the progress of a migration.
type migrateProgress struct {
	*display
	loading  rate // bytes of the snapshot
	applying rate // commands of the stream
}

func newMigrateProgress(kind string, w io.Writer) *migrateProgress {
	p := &migrateProgress{display: newDisplay(kind, w, 500*time.Millisecond)}
	p.keepBar = true
	return p
}

func (p *migrateProgress) report(r migrator.Report) {
	s := stand{phase: overall(r.Links), now: r.State != "running" && r.State != "caught_up"}
	var keys, lagBytes int64
	var lag float64
	for _, l := range r.Links {
		keys, s.done, lagBytes, lag = keys+l.Keys, s.done+l.Bytes, lagBytes+l.LagBytes, max(lag, l.LagSeconds)
		s.total += max(l.SnapshotTotal, 0)
	}
	p.loading.add(s.done)
	p.applying.add(r.Counters.CommandsApplied)
	s.text = p.describe(s.phase, keys, s.done, s.total, lagBytes, lag, r.Counters.Commands)
	if len(r.Waiting) > 0 {
		w := r.Waiting[0]
		s.text += fmt.Sprintf(", %s waits for %s for %.0f s (%s)", w.Who, w.For, w.Seconds, w.Why)
	}
	s.event = func() any {
		sayFlagsInMigration(&r)
		return struct {
			Event string `json:"event"`
			Phase string `json:"phase"`
			migrator.Report
		}{"progress", s.phase, r}
	}
	p.show(s)
}

func (p *migrateProgress) describe(phase string, keys, bytes, total, lagBytes int64, lag float64, commands int64) string {
	parts := []string{phase, fmt.Sprintf("%d keys", keys), sizeText(bytes)}
	if phase == "snapshot" {
		parts = append(parts, sizeText(int64(p.loading.perSecond))+"/s")
		if left := total - bytes; total > 0 && p.loading.perSecond > 0 && left > 0 {
			parts = append(parts, "ETA "+time.Duration(float64(left)/p.loading.perSecond*float64(time.Second)).Round(time.Second).String())
		}
	} else if commands > 0 {
		parts = append(parts, fmt.Sprintf("%d commands, %.0f/s, lag %s %.1f s", commands, p.applying.perSecond, sizeText(lagBytes), lag))
	}
	return strings.Join(parts, ", ")
}

// overall returns the phase of the link that is furthest behind.
func overall(links []migrator.Link) string {
	order := []string{"handshake", "snapshot", "streaming", "caught_up", "draining", "done"}
	for _, phase := range order {
		for _, l := range links {
			if l.Phase == phase {
				return phase
			}
		}
	}
	return "handshake"
}

// rate is a moving average of a speed per second.
type rate struct {
	at        time.Time
	last      int64
	perSecond float64
}

func (r *rate) add(n int64) {
	now := time.Now()
	if elapsed := now.Sub(r.at).Seconds(); !r.at.IsZero() && elapsed > 0.05 {
		speed := max(float64(n-r.last)/elapsed, 0)
		r.perSecond += (speed - r.perSecond) * min(elapsed/2, 1)
	} else if !r.at.IsZero() {
		return
	}
	r.at, r.last = now, n
}

func sizeText(n int64) string {
	const unit = 1024
	if n < unit {
		return fmt.Sprintf("%d B", n)
	}
	value, i := float64(n)/unit, 0
	for value >= unit && i < 3 {
		value, i = value/unit, i+1
	}
	return fmt.Sprintf("%.1f %ciB", value, "KMGT"[i])
}

// verifyStand returns the progress of a verification. Its end is always shown.
func verifyStand(p verifier.Progress) stand {
	s := stand{now: p.Phase == verifier.PhaseDone, done: p.SourceKeys + p.TargetKeys, total: p.SourceTotal + p.TargetTotal}
	if p.Phase == verifier.PhaseResolve || p.Phase == verifier.PhaseLocate {
		s.done, s.total = p.Settled, p.Suspects
	}
	s.event = func() any {
		return struct {
			Event string `json:"event"`
			verifier.Progress
		}{"progress", p}
	}
	switch p.Phase {
	case verifier.PhaseEnumerate:
		s.text = fmt.Sprintf("reading: source %d of %d keys, target %d of %d, %.0f keys/s", p.SourceKeys, p.SourceTotal, p.TargetKeys, p.TargetTotal,
			float64(s.done)/max(p.Seconds, 0.001))
	case verifier.PhaseResolve:
		s.text = fmt.Sprintf("round %d: %d of %d keys in doubt are decided", p.Round, p.Settled, p.Suspects)
	default:
		s.text = fmt.Sprintf("%s: %d source keys, %d target keys, %.1f s", p.Phase, p.SourceKeys, p.TargetKeys, p.Seconds)
	}
	return s
}

// scanStand returns the progress of a scan of keys or of bytes. A total of keys is from the start of the scan.
func scanStand(unit string, done, total int64) stand {
	total = max(total, done)
	return stand{done: done, total: total, text: fmt.Sprintf("scanned %d of %d %s", done, total, unit), event: func() any {
		return map[string]any{"event": "progress", "phase": "scan", "unit": unit, "done": done, "total": total}
	}}
}
