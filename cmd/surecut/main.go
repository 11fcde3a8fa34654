// Command surecut migrates a live Redis and proves that everything arrived before anyone cuts over.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"surecut/internal/endpoint"
)

// Version is set by the linker.
var Version = "dev"

func main() {
	tuneMemory()
	os.Exit(run(hidePasswords(os.Args), os.Stdout, os.Stderr))
}

// tuneMemory trades memory, within a bound that all work keeps to, for fewer collections. GOGC and GOMEMLIMIT win.
func tuneMemory() {
	if os.Getenv("GOGC") == "" && os.Getenv("GOMEMLIMIT") == "" {
		debug.SetGCPercent(200)
		debug.SetMemoryLimit(192 << 20)
	}
}

// run is main without the process around it; it gives the exit status.
func run(args []string, stdout, stderr io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), stopSignals()...)
	defer stop()
	defer outliveReaders()()
	err := newApp(stdout, stderr).RunContext(ctx, args)
	if err == nil {
		return exitOK
	}
	code := exitCode(err)
	if msg := err.Error(); msg != "" {
		fmt.Fprintln(stderr, "surecut: "+oneLine(err))
	}
	return code
}

func newApp(stdout, stderr io.Writer) *cli.App {
	app := &cli.App{
		Name:            "surecut",
		Usage:           "migrate a live Redis, and prove that everything arrived before anyone cuts over",
		Version:         Version,
		Writer:          stdout,
		ErrWriter:       stderr,
		HideHelpCommand: true,
		Description: "Exit status: 0 all well (same, pass, GO); 1 the run failed; 3 differences, failed checks or NO-GO;\n" +
			"4 something stayed unchecked, or alarms that nobody accepted; 5 wrong usage; 130 interrupted.",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "config", Usage: "YAML `FILE`; every flag can stand in it, flags win"},
			&cli.StringFlag{Name: "log-level", Value: "info", Usage: "debug, info, warn or error"},
			&cli.StringFlag{Name: "log-format", Value: "text", Usage: "text or json"},
		},
		Commands:       commands(),
		ExitErrHandler: func(*cli.Context, error) {}, // run maps errors to exit statuses
		OnUsageError: func(c *cli.Context, err error, _ bool) error {
			return usageError("%s; see surecut --help", flagTrouble(err, c.App.Flags))
		},
		Action: func(c *cli.Context) error {
			if c.Args().Present() {
				return unknownCommand("command", c.Args().First(), c.App.Commands, "surecut")
			}
			return cli.ShowAppHelp(c)
		},
		Before: func(c *cli.Context) error {
			return setUpLog(stderr, c.String("log-level"), c.String("log-format"))
		},
	}
	for _, cmd := range app.Commands {
		prepare(cmd, cmd.Name)
	}
	return app
}

// prepare lets a command and its subcommands read the config file, and gives usage errors their exit status.
func prepare(cmd *cli.Command, path string) {
	cmd.OnUsageError = func(_ *cli.Context, err error, _ bool) error {
		return usageError("%s; see surecut %s --help", flagTrouble(err, cmd.Flags), path)
	}
	cmd.HideHelpCommand = true
	if action := cmd.Action; action != nil {
		cmd.Action = func(c *cli.Context) error {
			wrong := applyConfig(c, strings.Fields(path))
			if len(cmd.Subcommands) == 0 && cmd.ArgsUsage == "" && c.Args().Present() { // flags behind it would not be read
				wrong = usageError("%s takes no argument, only flags; found %s; see surecut %s --help", path, endpoint.Shown(c.Args().First()), path)
			}
			return owned(path, c, func() error {
				if wrong != nil { // also said in --out, where an earlier verdict must not stand for this run
					return wrong
				}
				return action(c)
			})
		}
	}
	for _, sub := range cmd.Subcommands {
		prepare(sub, path+" "+sub.Name)
	}
}

// unknownCommand names what was asked for, which may be a URL that holds a password, and what was likely meant.
func unknownCommand(what, name string, commands []*cli.Command, path string) error {
	var known []string
	for _, cmd := range commands {
		known = append(known, cmd.Name)
	}
	return usageError("unknown %s %s%s; see %s --help", what, endpoint.Shown(name), nearest(name, known), path)
}

// flagTrouble words what the flag package says of the command line: with the flag that was likely meant, or with the value that is wanted.
func flagTrouble(err error, flags []cli.Flag) string {
	text := err.Error()
	if name, ok := strings.CutPrefix(text, "flag provided but not defined: -"); ok {
		var known []string
		for _, f := range flags {
			known = append(known, f.Names()...)
		}
		return text + nearest(strings.TrimPrefix(name, "-"), known)
	}
	if before, ok := strings.CutSuffix(text, ": parse error"); ok {
		for _, f := range flags {
			if slices.ContainsFunc(f.Names(), func(n string) bool { return strings.HasSuffix(before, " for flag -"+n) }) {
				return before + ": want " + wantedBy(f)
			}
		}
	}
	return text
}

// wantedBy says what a flag takes, where that is no text.
func wantedBy(f cli.Flag) string {
	switch f.(type) {
	case *cli.BoolFlag:
		return "true or false"
	case *cli.DurationFlag:
		return "a time, as in 30s, 5m or 1h"
	case *cli.IntFlag, *cli.Int64Flag, *cli.IntSliceFlag:
		return "a whole number"
	case *cli.Float64Flag:
		return "a number"
	}
	return "another value"
}

func setUpLog(w io.Writer, level, format string) error {
	var l slog.Level
	if err := l.UnmarshalText([]byte(level)); err != nil {
		return usageError("--log-level %q: want debug, info, warn or error", level)
	}
	opts := &slog.HandlerOptions{Level: l, ReplaceAttr: logInFlags}
	switch format {
	case "text":
		slog.SetDefault(slog.New(slog.NewTextHandler(w, opts)))
	case "json":
		slog.SetDefault(slog.New(slog.NewJSONHandler(w, opts)))
	default:
		return usageError("--log-format %q: want text or json", format)
	}
	return nil
}

// Exit statuses; 2 stays Go's own.
const (
	exitOK          = 0
	exitFailed      = 1
	exitDifferent   = 3 // differences, failed checks or NO-GO
	exitUnchecked   = 4 // something stayed unchecked, or alarms that nobody accepted
	exitUsage       = 5
	exitInterrupted = 130
)

// statusError carries an exit status. An empty message prints nothing: the verdict is on stdout already.
type statusError struct {
	status int
	err    error
}

func (e *statusError) Error() string {
	if e.err == nil {
		return ""
	}
	return e.err.Error()
}

func (e *statusError) Unwrap() error { return e.err }

// usageError is wrong usage: status 5.
func usageError(format string, args ...any) error {
	return &statusError{exitUsage, fmt.Errorf(format, args...)}
}

// verdictStatus ends a command whose verdict is on stdout with a status and no further message.
func verdictStatus(status int) error {
	if status == exitOK {
		return nil
	}
	return &statusError{status: status}
}

func exitCode(err error) int {
	var s *statusError
	switch {
	case errors.As(err, &s):
		return s.status
	case errors.Is(err, context.Canceled):
		return exitInterrupted
	}
	return exitFailed
}
