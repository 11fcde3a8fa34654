package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
	"golang.org/x/term"

	"surecut/migrator"
)

// progress is the flag that chooses how a long run shows where it stands, on stderr.
func (b *binding) progress(kind *string) {
	b.text("progress", kind, "bar, line, json or none; bar where stderr is a terminal, else line")
}

func checkProgress(mode string) error {
	switch mode {
	case "", "bar", "line", "json", "none":
		return nil
	}
	return fmt.Errorf("--progress %q: want bar, line, json or none", mode)
}

// progressKind settles the default: a bar where stderr is a terminal, else lines.
func progressKind(kind string, w io.Writer) string {
	if kind != "" {
		return kind
	}
	if f, ok := w.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		return "bar"
	}
	return "line"
}

// migrateProgress shows a migration on stderr.
type migrateProgress struct {
	kind string
	w    io.Writer

	last      time.Time // shown
	lastPhase string
	loading   rate // bytes of the snapshot
	applying  rate // commands of the stream

	bars *mpb.Progress
	bar  *mpb.Bar
	text atomic.Value // string, beside the bar
}

func newMigrateProgress(kind string, w io.Writer) *migrateProgress {
	return &migrateProgress{kind: progressKind(kind, w), w: w}
}

// draw begins the bar.
func (p *migrateProgress) draw() {
	if p.bars == nil {
		p.bars = mpb.New(mpb.WithOutput(p.w), mpb.WithWidth(40))
		p.text.Store("")
		p.bar = p.bars.AddBar(0, mpb.AppendDecorators(decor.Any(func(decor.Statistics) string { return " " + p.text.Load().(string) })))
	}
}

// show is called often, and shows when it is due: at a new phase and at the end at once, otherwise every half second as JSON, every
// five as a line.
func (p *migrateProgress) show(r migrator.Report) {
	phase, ended := overall(r.Links), r.State != "running" && r.State != "caught_up"
	every := map[string]time.Duration{"json": 500 * time.Millisecond, "line": 5 * time.Second, "bar": 100 * time.Millisecond}[p.kind]
	if p.kind == "none" || !ended && phase == p.lastPhase && time.Since(p.last) < every {
		return
	}
	var keys, bytes, total, lagBytes int64
	var lag float64
	for _, l := range r.Links {
		keys, bytes, lagBytes, lag = keys+l.Keys, bytes+l.Bytes, lagBytes+l.LagBytes, max(lag, l.LagSeconds)
		total += max(l.SnapshotTotal, 0)
	}
	p.loading.add(bytes)
	p.applying.add(r.Counters.CommandsApplied)
	p.lastPhase, p.last = phase, time.Now()
	switch p.kind {
	case "json":
		p.json(phase, r)
	case "line":
		fmt.Fprintln(p.w, "surecut: "+p.describe(phase, keys, bytes, total, lagBytes, lag, r.Counters.Commands))
	case "bar":
		p.draw()
		p.text.Store(p.describe(phase, keys, bytes, total, lagBytes, lag, r.Counters.Commands))
		p.bar.SetTotal(max(total, bytes), false)
		p.bar.SetCurrent(bytes)
	}
}

func (p *migrateProgress) json(phase string, r migrator.Report) {
	sayFlagsInMigration(&r)
	line, err := json.Marshal(struct {
		Event string `json:"event"`
		Phase string `json:"phase"`
		migrator.Report
	}{"progress", phase, r})
	if err == nil {
		fmt.Fprintf(p.w, "%s\n", line)
	}
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

// close ends the display, where the last state stays.
func (p *migrateProgress) close() {
	if p.bars != nil {
		p.bar.Abort(false)
		p.bars.Wait()
	}
}

// overall is the phase of the link that is furthest behind.
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

// rate is a moving speed per second.
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
