package compat

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/redis/rueidis"

	"surecut/internal/endpoint"
	"surecut/internal/keyspace"
	"surecut/internal/retry"
)

// MonitorConfig bounds the load that MONITOR may cause on the servers.
type MonitorConfig struct {
	Total  time.Duration // how long MONITOR is on in total, on each server
	Window time.Duration // length of one window; before each window, the same time passes without MONITOR for comparison

	// Began, if set, is called when MONITOR is on, by the goroutine of the server. Nothing is read before it returns.
	Began func(addr string)
}

// DefaultWindow is the default length of a window in which MONITOR is on.
const DefaultWindow = 2 * time.Second

// These limits end MONITOR early.
const (
	windowBytes   = 32 << 20              // bytes of one window, which then ends early; the next window begins as planned
	bufferLimit   = 64 << 20              // bytes that wait for us in the server
	slowestPing   = 20 * time.Millisecond // PING takes at least this long, and
	slowerPing    = 10                    // this many times as long as without MONITOR
	slowInARow    = 3
	probeInterval = 100 * time.Millisecond
)

// MonitorCost is the cost of MONITOR for one server, as measured in its windows (on) and in the pauses before them (off).
type MonitorCost struct {
	Windows      int     `json:"windows"`
	Bytes        int64   `json:"bytes"`   // that the server sent because of MONITOR
	OpsOn        float64 `json:"ops_on"`  // commands per second
	OpsOff       float64 `json:"ops_off"` // the same without MONITOR
	CPUOn        float64 `json:"cpu_on"`  // CPU seconds per second of the server's process
	CPUOff       float64 `json:"cpu_off"`
	LatencyOnUs  int64   `json:"latency_on_us"` // median of PING
	LatencyOffUs int64   `json:"latency_off_us"`
	PeakBuffer   int64   `json:"peak_buffer"` // bytes that waited for us in the server; 0 where it does not tell (before 6.2)
	Stopped      string  `json:"stopped"`     // why MONITOR was ended early; "" where it was not
}

// Monitor observes the calls of every server by MONITOR, in windows, on all servers concurrently. It stops on a server that suffers
// from it, whose evidence says why.
func (t *Tally) Monitor(ctx context.Context, d *endpoint.Deployment, o MonitorConfig) error {
	if o.Total <= 0 || o.Window <= 0 {
		return errors.New("monitor: the time and the window must be more than 0")
	}
	var mu sync.Mutex
	g, ctx := errgroup.WithContext(ctx)
	for _, shard := range d.Shards() {
		for _, node := range append([]endpoint.Node{shard.Primary}, shard.Replicas...) {
			w := &watch{t: t, mu: &mu, d: d, o: o, addr: node.Addr, own: map[string]bool{}, e: t.Evidence(FromMonitor, node.Addr)}
			g.Go(func() error {
				if err := w.run(ctx); err != nil {
					return fmt.Errorf("MONITOR on %s: %w", w.addr, err)
				}
				return nil
			})
		}
	}
	return g.Wait()
}

// watch runs MONITOR on one server.
type watch struct {
	t    *Tally
	mu   *sync.Mutex // guards t
	d    *endpoint.Deployment
	o    MonitorConfig
	addr string
	e    *Evidence

	client rueidis.Client
	own    map[string]bool // our addresses as the server sees them; empty where it does not tell
	cost   MonitorCost
	on     period
	off    period
	halt   atomic.Bool // the server suffers, as cost.Stopped says
	cut    int64
	args   [][]byte
	sent   float64 // number of our own commands, sent by the goroutine that measures; probe has a count of its own
	probed float64 // number of commands of probe, which has ended when this is read
}

// period sums up what was measured with MONITOR on, or off.
type period struct {
	seconds, commands, cpu float64
	pings                  []time.Duration
}

// since returns the commands per second that were run since an earlier state of the period.
func (p period) since(before period) float64 {
	return (p.commands - before.commands) / max(p.seconds-before.seconds, 0.001)
}

// busy is the rate, in commands per second, from which on a lower one means something.
const busy = 1000

// halved says that a busy server runs less than half of the commands that it ran without MONITOR.
func halved(without, with float64) bool { return without >= busy && with < without/2 }

func (w *watch) run(ctx context.Context) error {
	var err error
	if w.client, err = w.d.Client(ctx, w.addr, 0); err != nil {
		return err
	}
	left := w.o.Total
	for left > 0 && w.cost.Stopped == "" {
		length := min(w.o.Window, left)
		off, on := w.off, w.on
		if err := w.measure(ctx, &w.off, func() error { return w.pause(ctx, length) }); err != nil {
			return err
		}
		if err := w.window(ctx, length); err != nil {
			return err
		}
		if without, with := w.off.since(off), w.on.since(on); w.cost.Stopped == "" && halved(without, with) {
			w.cost.Stopped = fmt.Sprintf("the server ran %.0f commands a second with it, and %.0f just before", with, without)
		}
		left -= length
	}
	w.report()
	return nil
}

// findOwn learns our address by the ID of our connection (since 5.0), and those of a migration by surecut by their names, so that
// our own commands do not count as traffic.
func (w *watch) findOwn(ctx context.Context) {
	id, err := w.client.Do(ctx, w.client.B().ClientId().Build()).AsInt64()
	if err != nil {
		id = -1
	}
	text, err := w.client.Do(ctx, w.client.B().ClientList().Build()).ToString()
	if err != nil {
		return
	}
	for line := range strings.Lines(text) {
		if f := clientFields(line); f["id"] == strconv.FormatInt(id, 10) || ownName(f["name"]) {
			w.own[f["addr"]] = true
		}
	}
}

// measure calls run, and adds what the server did meanwhile to the period.
func (w *watch) measure(ctx context.Context, p *period, run func() error) error {
	before, begun, own := w.figures(ctx), time.Now(), w.sent+w.probed
	if err := run(); err != nil {
		return err
	}
	own = w.sent + w.probed - own + 2 // the two INFO commands of the reading before are counted only after it
	after, seconds := w.figures(ctx), time.Since(begun).Seconds()
	p.seconds += seconds
	p.commands += max(0, after.commands-before.commands-own)
	p.cpu += max(0, after.cpu-before.cpu)
	return nil
}

type figures struct{ commands, cpu float64 }

func (w *watch) figures(ctx context.Context) figures {
	info, err := endpoint.Info(ctx, w.client, "stats", "cpu")
	if err != nil {
		return figures{}
	}
	number := func(name string) float64 {
		n, _ := strconv.ParseFloat(info[name], 64)
		return n
	}
	return figures{commands: number("total_commands_processed"), cpu: number("used_cpu_sys") + number("used_cpu_user")}
}

// pause lets time pass, and measures how fast the server replies.
func (w *watch) pause(ctx context.Context, length time.Duration) error {
	for end := time.Now().Add(length); time.Now().Before(end); {
		if err := w.ping(ctx, &w.off); err != nil {
			return err
		}
		w.sent++
		if err := retry.Pause(ctx, min(probeInterval, time.Until(end))); err != nil {
			return err
		}
	}
	return nil
}

func (w *watch) ping(ctx context.Context, p *period) error {
	begun := time.Now()
	err := w.client.Do(ctx, w.client.B().Ping().Build()).Error()
	if err != nil && endpoint.Code(err) == "" {
		return fmt.Errorf("PING: %w", err)
	}
	p.pings = append(p.pings, time.Since(begun))
	return nil
}

// window turns MONITOR on for a while, on a separate connection.
func (w *watch) window(ctx context.Context, length time.Duration) error {
	conn, err := w.d.DialReplica(ctx, w.addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := bound(conn); err != nil {
		return err
	}
	w.findOwn(ctx)
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	id, _ := ask(conn, "CLIENT", "ID") // an error before 5.0
	if reply, err := ask(conn, "MONITOR"); err != nil {
		return err
	} else if reply != "+OK" {
		return fmt.Errorf("the server answers %s; allow the user to run MONITOR, or use a file that redis-cli MONITOR wrote (Tally.Capture)", keyspace.Printable(reply))
	}
	if w.o.Began != nil {
		w.o.Began(w.addr)
	}
	w.cost.Windows++
	ended := make(chan struct{})
	var probing sync.WaitGroup
	return w.measure(ctx, &w.on, func() error {
		probing.Go(func() { w.probe(ctx, strings.TrimPrefix(id, ":"), ended, conn) })
		closed, err := w.read(ctx, conn, time.Now().Add(length))
		close(ended)
		probing.Wait()
		if closed != nil && w.cost.Stopped == "" {
			w.cost.Stopped = "the server closed the connection: " + closed.Error()
		}
		return err
	})
}

// bound has the server bound what it keeps for the connection, so that surecut, if it is suspended, does not take the server's memory; see
// endpoint.NoChannel. Servers before 6.0 do not know how, and others may refuse it: then the probe alone watches over the buffer.
func bound(conn net.Conn) error {
	for _, words := range [][]string{{"HELLO", "3"}, {"SUBSCRIBE", endpoint.NoChannel}} {
		line, err := ask(conn, words...)
		if err != nil || strings.HasPrefix(line, "-") {
			return err
		}
		const end = "the end of the reply"
		for line, err = ask(conn, "ECHO", end); err == nil && line != end && !strings.HasPrefix(line, "-"); {
			line, err = rawLine(conn)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// ask sends a command on the raw connection, and returns the line of its reply.
func ask(conn net.Conn, words ...string) (string, error) {
	var b strings.Builder
	fmt.Fprintf(&b, "*%d\r\n", len(words))
	for _, word := range words {
		fmt.Fprintf(&b, "$%d\r\n%s\r\n", len(word), word)
	}
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		return "", err
	}
	if _, err := conn.Write([]byte(b.String())); err != nil {
		return "", err
	}
	return rawLine(conn)
}

// rawLine reads one line, and nothing after it.
func rawLine(conn net.Conn) (string, error) {
	var line []byte
	one := make([]byte, 1)
	for len(line) < 4096 {
		if _, err := conn.Read(one); err != nil {
			return "", err
		}
		if one[0] == '\n' {
			return strings.TrimRight(string(line), "\r"), nil
		}
		line = append(line, one[0])
	}
	return "", errors.New("the reply has no end")
}

// probe observes the load on the server, and ends the reading when the server suffers.
func (w *watch) probe(ctx context.Context, id string, ended <-chan struct{}, conn net.Conn) {
	slow := 0
	limit := max(slowestPing, slowerPing*median(w.off.pings))
	for {
		select {
		case <-ended:
			return
		case <-time.After(probeInterval):
		}
		if w.ping(ctx, &w.on) != nil {
			return // the reader finds out
		}
		w.probed += 2 // including the command that waiting sends
		if last := w.on.pings[len(w.on.pings)-1]; last > limit {
			slow++
		} else {
			slow = 0
		}
		w.cost.PeakBuffer = max(w.cost.PeakBuffer, w.waiting(ctx, id))
		switch {
		case slow >= slowInARow:
			w.cost.Stopped = fmt.Sprintf("PING took more than %v %d times in a row, and %v in the median without MONITOR", limit, slowInARow, median(w.off.pings).Round(time.Microsecond))
		case w.cost.PeakBuffer > bufferLimit:
			w.cost.Stopped = fmt.Sprintf("%d bytes were waiting in the server's output buffer", w.cost.PeakBuffer)
		default:
			continue
		}
		w.halt.Store(true)
		conn.SetDeadline(time.Unix(1, 0))
		return
	}
}

// waiting returns how many bytes wait in the server for our connection (CLIENT LIST ID, since 6.2).
func (w *watch) waiting(ctx context.Context, id string) int64 {
	if _, err := strconv.ParseInt(id, 10, 64); err != nil {
		return 0
	}
	text, err := w.client.Do(ctx, w.client.B().Arbitrary("CLIENT", "LIST", "ID", id).Build()).ToString()
	if err != nil {
		return 0
	}
	n, _ := strconv.ParseInt(clientFields(text)["omem"], 10, 64)
	return n
}

// read reads lines until the end of the window, and then once more what has arrived by then. The result closed says how the server
// ended the connection.
func (w *watch) read(ctx context.Context, conn net.Conn, end time.Time) (closed, err error) {
	stream := fmt.Sprintf("%s#%d", w.addr, w.cost.Windows)
	defer func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.t.endStream(stream)
	}()
	buf := make([]byte, 0, 256<<10)
	for total := int64(0); total < windowBytes && !w.halt.Load(); {
		last := !time.Now().Before(end)
		until := end
		if last {
			until = time.Now().Add(10 * time.Millisecond)
		}
		conn.SetReadDeadline(until)
		if len(buf) == cap(buf) {
			buf = slices.Grow(buf, cap(buf))
		}
		n, err := conn.Read(buf[len(buf):cap(buf)])
		total, w.cost.Bytes = total+int64(n), w.cost.Bytes+int64(n)
		buf = w.lines(stream, buf[:len(buf)+n])
		switch {
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case err != nil && !errors.Is(err, os.ErrDeadlineExceeded):
			return err, nil
		case last:
			return nil, nil
		}
	}
	return nil, nil
}

// lines adds all complete lines and returns the rest. Of a line over 1 MiB only the first part is read.
func (w *watch) lines(stream string, buf []byte) []byte {
	w.mu.Lock()
	defer w.mu.Unlock()
	rest := buf
	for {
		i := bytes.IndexByte(rest, '\n')
		if i < 0 {
			break
		}
		w.line(stream, rest[:i])
		rest = rest[i+1:]
	}
	return append(buf[:0], rest...)
}

func (w *watch) line(stream string, line []byte) {
	c, err := parseLine(line[:min(len(line), maxLine)], w.args[:0])
	if errors.Is(err, errCut) || len(line) > maxLine {
		w.cut++
	} else if err != nil {
		return
	}
	w.args = c.Args
	if w.own[c.Client] {
		return
	}
	c.Stream = stream
	w.t.Add(w.e, c)
}

// report writes the measured cost into the evidence.
func (w *watch) report() {
	c := &w.cost
	c.OpsOn, c.OpsOff = w.on.commands/max(w.on.seconds, 0.001), w.off.commands/max(w.off.seconds, 0.001)
	c.CPUOn, c.CPUOff = w.on.cpu/max(w.on.seconds, 0.001), w.off.cpu/max(w.off.seconds, 0.001)
	c.LatencyOnUs, c.LatencyOffUs = median(w.on.pings).Microseconds(), median(w.off.pings).Microseconds()
	w.e.Cost = c
	w.e.Seconds = w.on.seconds
	if w.cut > 0 {
		w.e.Note = fmt.Sprintf("%d lines are longer than 1 MiB; keys after that point were not seen.", w.cut)
	}
	if c.Stopped != "" {
		w.e.Note = strings.TrimSpace(w.e.Note + " It was stopped: " + c.Stopped + ".")
	}
}

func median(d []time.Duration) time.Duration {
	if len(d) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(d))
	return sorted[len(sorted)/2]
}
