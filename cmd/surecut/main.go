// Command surecut migrates a live Redis, and proves that everything arrived before the clients are moved to the target.
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

// Version is the version of surecut, which the linker sets.
var Version = "dev"

func main() {
	tuneMemory()
	os.Exit(run(hidePasswords(os.Args), os.Stdout, os.Stderr))
}

// tuneMemory makes garbage collections less frequent as long as the process has less than 104 MiB of memory, which together with its code
// are some 120 MiB that are resident. It does nothing if GOGC or GOMEMLIMIT is set.
func tuneMemory() {
	if os.Getenv("GOGC") == "" && os.Getenv("GOMEMLIMIT") == "" {
		debug.SetGCPercent(200)
		debug.SetMemoryLimit(104 << 20)
	}
}

// run is main without access to the process. It returns the exit status.
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
		Description: "Exit status: 0 success (same, pass, GO); 1 the run failed; 3 differences, failed checks or NO-GO;\n" +
			"4 something could not be checked, or an alarm was not accepted; 5 wrong usage; 130 interrupted.",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "config", Usage: "YAML `FILE` with values for any flags; flags on the command line take precedence"},
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

// prepare makes a command and its subcommands read the config file, and gives usage errors their exit status.
func prepare(cmd *cli.Command, path string) {
	cmd.OnUsageError = func(_ *cli.Context, err error, _ bool) error {
		return usageError("%s; see surecut %s --help", flagTrouble(err, cmd.Flags), path)
	}
	cmd.HideHelpCommand = true
	if action := cmd.Action; action != nil {
		cmd.Action = func(c *cli.Context) error {
			wrong := applyConfig(c, strings.Fields(path))
			if len(cmd.Subcommands) == 0 && cmd.ArgsUsage == "" && c.Args().Present() { // Flags after an argument would not be read.
				wrong = usageError("%s takes only flags, but was given the argument %s; see surecut %s --help", path, endpoint.Shown(c.Args().First()), path)
			}
			return owned(path, c, func() error {
				if wrong != nil { // owned also writes the error into --out, so that no earlier verdict there is taken for one of this run.
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

// unknownCommand names the word that was given, without the password if it is a URL, and the command that was probably meant.
func unknownCommand(what, name string, commands []*cli.Command, path string) error {
	var known []string
	for _, cmd := range commands {
		known = append(known, cmd.Name)
	}
	return usageError("unknown %s %s%s; see %s --help", what, endpoint.Shown(name), nearest(name, known), path)
}

// flagTrouble rewrites an error of the flag package on the command line, with the flag that was probably meant or with the kind of
// value that is wanted.
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
				return before + ": must be " + wantedBy(f)
			}
		}
	}
	return text
}

// wantedBy describes the values that a flag takes if they are not text.
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
		return usageError("--log-level %q: must be debug, info, warn or error", level)
	}
	opts := &slog.HandlerOptions{Level: l, ReplaceAttr: logInFlags}
	switch format {
	case "text":
		slog.SetDefault(slog.New(slog.NewTextHandler(w, opts)))
	case "json":
		slog.SetDefault(slog.New(slog.NewJSONHandler(w, opts)))
	default:
		return usageError("--log-format %q: must be text or json", format)
	}
	return nil
}

// These are the exit statuses. Status 2 is left to Go's own runtime errors.
const (
	exitOK          = 0
	exitFailed      = 1
	exitDifferent   = 3 // differences, failed checks or NO-GO
	exitUnchecked   = 4 // something stayed unchecked, or there were alarms that nobody accepted
	exitUsage       = 5
	exitInterrupted = 130
)

// statusError carries an exit status. With an empty message nothing is printed, since the verdict is already on stdout.
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

// usageError returns an error for wrong usage, with exit status 5.
func usageError(format string, args ...any) error {
	return &statusError{exitUsage, fmt.Errorf(format, args...)}
}

// verdictStatus returns an error that ends a command with a status and without a message, since the verdict is on stdout. It
// returns nil for status 0.
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
