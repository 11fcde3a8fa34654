package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/redis/rueidis"
	"github.com/urfave/cli/v2"

	"surecut"
	"surecut/internal/endpoint"
	"surecut/migrator"
	"surecut/reports/outdir"
)

func newDemoCommand() *cli.Command {
	return &cli.Command{
		Name:  "demo",
		Usage: "start two local servers with live traffic, then migrate, verify and gate them in a minute",
		Description: "Starts two servers on free ports of 127.0.0.1 (redis-server or valkey-server must be installed), fills one with data of\n" +
			"every type, keeps writing to it, and runs check, migrate, verify and gate as you would. The verdict is NO-GO while the writers\n" +
			"go on, and GO when they have stopped. Afterwards everything but the reports is removed.",
		Flags: []cli.Flag{
			&cli.IntFlag{Name: "keys", Value: 50_000, Usage: "number of keys on the source at the beginning"},
			&cli.IntFlag{Name: "writes", Value: 2000, Usage: "writes per second to the source while the demo runs"},
			&cli.StringFlag{Name: "server", Usage: "`PROGRAM` that is started as the servers (default: redis-server or valkey-server)"},
			&cli.StringFlag{Name: "out", Value: "demo-out", Usage: "`DIR` for the reports; if demo-out already holds a GO of an earlier demo, demo-out-2 and so on is used"},
		},
		Action: func(c *cli.Context) error {
			o := DemoOptions{Keys: c.Int("keys"), Writes: c.Int("writes"), Server: c.String("server"), Out: c.String("out")}
			if err := o.Validate(); err != nil {
				return usageError("%w", err)
			}
			if !c.IsSet("out") { // The reports of an earlier demo that ended with GO are kept.
				o.Out = freshDir(o.Out)
			}
			return runDemo(c.Context, o, c.App.Writer, c.App.ErrWriter)
		},
	}
}

// DemoOptions are the flags of surecut demo.
type DemoOptions struct {
	Keys, Writes int
	Server, Out  string
}

// Validate returns all problems of the options in one error.
func (o DemoOptions) Validate() error {
	var errs []error
	if o.Out == "" {
		errs = append(errs, errors.New("--out: name a directory for the reports"))
	}
	if o.Keys < 100 || o.Keys > 5_000_000 {
		errs = append(errs, fmt.Errorf("--keys %d: must be 100 to 5000000", o.Keys))
	}
	if o.Writes < 0 || o.Writes > 100_000 {
		errs = append(errs, fmt.Errorf("--writes %d: must be 0 to 100000", o.Writes))
	}
	return errors.Join(errs...)
}

func runDemo(ctx context.Context, o DemoOptions, stdout, stderr io.Writer) error {
	if !signal.Ignored(syscall.SIGHUP) { // When the terminal is closed, the servers must not keep running.
		var stop context.CancelFunc
		ctx, stop = signal.NotifyContext(ctx, syscall.SIGHUP)
		defer stop()
	}
	dir, err := os.MkdirTemp("", "surecut-demo-")
	if err != nil {
		return fmt.Errorf("demo: %w", err)
	}
	defer os.RemoveAll(dir)
	say := func(format string, args ...any) { fmt.Fprintf(stderr, "\ndemo: "+format+"\n", args...) }

	var urls [2]string
	for i, name := range []string{"source", "target"} {
		s, err := startDemoServer(ctx, o.Server, filepath.Join(dir, name))
		if err != nil {
			return err
		}
		defer s.stop()
		urls[i] = "redis://" + s.addr
		say("%s is %s at %s", name, s.program, urls[i])
	}
	load, err := newDemoLoad(urls[0])
	if err != nil {
		return err
	}
	defer load.client.Close()
	if err := load.fill(ctx, o.Keys); err != nil {
		return fmt.Errorf("demo: fill the source: %w", err)
	}
	say("the source holds %d keys of all types; from now on it is written %d times a second", o.Keys, o.Writes)
	if err := demoNight(ctx, o, urls, filepath.Join(dir, "state"), load, say, stdout, stderr); err != nil {
		return err
	}
	say("surecut gate %s", o.Out)
	if err := runGate(ctx, GateOptions{Format: "table", Reports: []string{o.Out}}, stdout, stderr); err != nil {
		return err
	}
	say("the reports: open %s in a browser; check.html, migrate.html and gate.html are in the same directory, and the reports of the NO-GO are below %s",
		filepath.Join(o.Out, "verify.html"), filepath.Join(o.Out, outdir.Earlier))
	return nil
}

// demoNight migrates twice with the same state: first while the writers go on, which ends with NO-GO, and again after they have
// stopped.
func demoNight(ctx context.Context, o DemoOptions, urls [2]string, state string, load *demoLoad, say func(string, ...any), stdout, stderr io.Writer) error {
	writing, stop := context.WithCancel(ctx)
	written := make(chan error, 1)
	go func() { written <- load.keepWriting(writing, o.Writes) }()
	say("surecut migrate --source %s --target %s --accept-alarms --until same --out %s", urls[0], urls[1], o.Out)
	err := demoMigrate(ctx, o, urls, state, stdout, stderr)
	stop()
	if unwritten := <-written; unwritten != nil {
		return errors.Join(err, unwritten)
	}
	switch {
	case err == nil && o.Writes > 0:
		return errors.New("demo: the verdict is GO although the source is still being written. This is a bug in surecut; please report it")
	case err == nil:
		return nil // There were no writers, so nothing stood against a GO.
	case err.Error() != "": // The migration did not come to a verdict.
		return err
	}
	say("NO-GO, as it should be: the source was still being written (%d writes in all). The writers have stopped now, so the same command runs again", load.writes)
	return demoMigrate(ctx, o, urls, state, stdout, stderr)
}

func demoMigrate(ctx context.Context, o DemoOptions, urls [2]string, state string, stdout, stderr io.Writer) error {
	m := MigrateOptions{Config: migrator.DefaultConfig(), Until: "same", QuietFor: surecut.DefaultQuiet, AcceptAlarms: true, Out: o.Out, Format: "table"}
	m.Config.StateDir = state
	var err1, err2 error
	m.Endpoints.Source, err1 = endpoint.Parse(urls[0])
	m.Endpoints.Target, err2 = endpoint.Parse(urls[1])
	if err := errors.Join(err1, err2); err != nil {
		return err
	}
	r := outRun{out: o.Out, kind: migrationKinds[0], clears: migrationKinds, source: urls[0], target: urls[1]}
	return r.hold(stderr, func(*outdir.Dir) error { return runMigrate(ctx, m, stdout, stderr) })
}

// demoServer is a server process that the demo has started.
type demoServer struct {
	program, addr string
	cmd           *exec.Cmd
}

func startDemoServer(ctx context.Context, program, dir string) (*demoServer, error) {
	if program == "" {
		for _, name := range []string{"redis-server", "valkey-server"} {
			if path, err := exec.LookPath(name); err == nil {
				program = path
				break
			}
		}
	}
	if program == "" {
		return nil, errors.New("demo: neither redis-server nor valkey-server is installed; install one (apt-get install redis-server), or name one with --server")
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("demo: %w", err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("demo: find a free port: %w", err)
	}
	addr := l.Addr().String()
	_, port, err := net.SplitHostPort(addr)
	if err := errors.Join(err, l.Close()); err != nil {
		return nil, fmt.Errorf("demo: find a free port: %w", err)
	}
	s := &demoServer{program: program, addr: addr, cmd: exec.Command(program, "--port", port, "--bind", "127.0.0.1",
		"--save", "", "--appendonly", "no", "--dir", dir, "--repl-diskless-sync", "yes", "--repl-diskless-sync-delay", "0")}
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} // The kernel kills the server when the demo is killed.
	if err := s.cmd.Start(); err != nil {
		return nil, fmt.Errorf("demo: start %s: %w", program, err)
	}
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		c, err := net.Dial("tcp", addr)
		if err == nil {
			return s, c.Close()
		}
		if ctx.Err() != nil || time.Now().After(deadline) {
			s.stop()
			return nil, fmt.Errorf("demo: %s does not answer at %s: %w", program, addr, err)
		}
	}
}

func (s *demoServer) stop() {
	// The process belongs to the demo, and has no data that would need an orderly shutdown.
	_ = s.cmd.Process.Kill()
	_ = s.cmd.Wait()
}

// demoLoad writes data of every type.
type demoLoad struct {
	client rueidis.Client
	rng    *rand.Rand
	keys   int
	writes int
}

func newDemoLoad(url string) (*demoLoad, error) {
	spec, err := endpoint.Parse(url)
	if err != nil {
		return nil, err
	}
	c, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: spec.Addrs, DisableCache: true, ForceSingleClient: true, AlwaysRESP2: true})
	if err != nil {
		return nil, fmt.Errorf("demo: %w", err)
	}
	return &demoLoad{client: c, rng: rand.New(rand.NewPCG(1, 2))}, nil
}

func (l *demoLoad) fill(ctx context.Context, keys int) error {
	l.keys = keys
	var cmds []rueidis.Completed
	for i := range keys {
		cmds = append(cmds, l.build(i)...)
		if len(cmds) > 1000 || i == keys-1 {
			if err := l.send(ctx, cmds); err != nil {
				return err
			}
			cmds = cmds[:0]
		}
	}
	return nil
}

// build returns the commands that write key number i for the first time.
func (l *demoLoad) build(i int) []rueidis.Completed {
	n := strconv.Itoa(i)
	cmd := func(args ...string) rueidis.Completed { return l.client.B().Arbitrary(args...).Build() }
	switch i % 8 {
	case 0:
		return []rueidis.Completed{cmd("HSET", "user:"+n, "name", "user "+n, "visits", strconv.Itoa(i%97), "city", "c"+strconv.Itoa(i%50))}
	case 1:
		return []rueidis.Completed{cmd("RPUSH", "queue:"+n, "a", "b", n)}
	case 2:
		return []rueidis.Completed{cmd("SADD", "tags:"+n, "red", "green", n)}
	case 3:
		return []rueidis.Completed{cmd("ZADD", "board:"+n, "0.1", "x", strconv.FormatFloat(float64(i)/3, 'g', 17, 64), "y")}
	case 4:
		return []rueidis.Completed{cmd("SET", "session:"+n, "token-"+n, "EX", strconv.Itoa(600+i%3600))}
	case 5:
		key := "events:" + n
		return []rueidis.Completed{cmd("XADD", key, "1-"+strconv.Itoa(i+1), "kind", "login"), cmd("XGROUP", "CREATE", key, "workers", "0"), cmd("XREADGROUP", "GROUP", "workers", "w1", "COUNT", "1", "STREAMS", key, ">")}
	case 6:
		return []rueidis.Completed{cmd("PFADD", "unique:"+n, n, "a", "b")}
	}
	return []rueidis.Completed{cmd("SET", "counter:"+n, n)}
}

// change returns the commands of one random change to existing data.
func (l *demoLoad) change() []rueidis.Completed {
	i := l.rng.IntN(l.keys)
	n := strconv.Itoa(i)
	cmd := func(args ...string) rueidis.Completed { return l.client.B().Arbitrary(args...).Build() }
	switch i % 8 {
	case 0:
		return []rueidis.Completed{cmd("HINCRBY", "user:"+n, "visits", "1")}
	case 1:
		return []rueidis.Completed{cmd("LPUSH", "queue:"+n, "job"), cmd("RPOP", "queue:"+n)}
	case 2:
		return []rueidis.Completed{cmd("SADD", "tags:"+n, strconv.Itoa(l.rng.IntN(100)))}
	case 3:
		return []rueidis.Completed{cmd("ZINCRBY", "board:"+n, "0.3", "x")}
	case 4:
		return []rueidis.Completed{cmd("EXPIRE", "session:"+n, strconv.Itoa(900+l.rng.IntN(900)))}
	case 5:
		return []rueidis.Completed{cmd("XADD", "events:"+n, "MAXLEN", "20", "*", "kind", "click")}
	case 6:
		return []rueidis.Completed{cmd("PFADD", "unique:"+n, strconv.Itoa(l.rng.Int()))}
	}
	return []rueidis.Completed{cmd("INCR", "counter:"+n), cmd("INCR", "counter:hot")}
}

// keepWriting writes at a steady rate until ctx ends, but for at most ten minutes.
func (l *demoLoad) keepWriting(ctx context.Context, perSecond int) error {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for begun := time.Now(); time.Since(begun) < 10*time.Minute; {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		var cmds []rueidis.Completed
		for due := int(time.Since(begun).Seconds() * float64(perSecond)); l.writes+len(cmds) < due && len(cmds) < perSecond; {
			cmds = append(cmds, l.change()...)
		}
		l.writes += len(cmds)
		if err := l.send(context.WithoutCancel(ctx), cmds); err != nil {
			return fmt.Errorf("demo: write to the source: %w", err)
		}
	}
	return nil
}

func (l *demoLoad) send(ctx context.Context, cmds []rueidis.Completed) error {
	for _, r := range l.client.DoMulti(ctx, cmds...) {
		if err := r.Error(); err != nil && !rueidis.IsRedisNil(err) {
			return err
		}
	}
	return nil
}
