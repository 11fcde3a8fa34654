package verifier

import (
	"context"
	"fmt"
	"strings"
	"time"

	"surecut/internal/endpoint"
	"surecut/internal/quiet"
)

// Clients says whether clients wrote to the source while it was compared. A key that expired was not written by a
// client.
type Clients string

// The values say what the command counters of the source's primaries show.
const (
	ClientsNone    Clients = "none"
	ClientsSome    Clients = "some"
	ClientsUnknown Clients = "unknown"
)

// mostWriterWait bounds how long the primaries of the source may take to say what they have run.
const mostWriterWait = 5 * time.Second

// writerCounters are the counters of writing commands on the primaries of the source.
type writerCounters struct {
	cfg   *Config
	begun []quiet.Reading // when the run began
}

func (w *writerCounters) begin(ctx context.Context) { w.begun = w.read(ctx) }

// since compares the counters with those of the beginning. The answer may differ from Writes.Written, which also counts keys that
// expired: their deletion matters for judging keys but is no write of a client.
func (w *writerCounters) since(ctx context.Context) (answer Clients, why string) {
	if w.cfg.Source.Kind() == endpoint.RDB {
		return ClientsNone, ""
	}
	return clientsBetween(w.begun, w.read(ctx))
}

// read asks the primaries of the source which writing commands they have run. It returns nil where they do not answer
// in time.
func (w *writerCounters) read(ctx context.Context) []quiet.Reading {
	ctx, cancel := context.WithTimeout(ctx, min(w.cfg.Silence, mostWriterWait))
	defer cancel()
	readings, err := quiet.Read(ctx, w.cfg.Source)
	if err != nil {
		return nil
	}
	return readings
}

func clientsBetween(before, after []quiet.Reading) (answer Clients, why string) {
	if len(before) == 0 || len(after) == 0 {
		return ClientsUnknown, "not every primary of the source reported which commands it has run"
	}
	found := quiet.Compare(before, after)
	if found.Quiet {
		return ClientsNone, ""
	}
	var written []string
	for _, n := range found.Nodes {
		if n.Writes > 0 {
			written = append(written, fmt.Sprintf("%s ran %d commands that write", n.Addr, n.Writes))
		}
	}
	if len(written) > 0 {
		return ClientsSome, strings.Join(written, ", ")
	}
	return ClientsUnknown, strings.TrimSuffix(strings.Join(found.Reasons(), " "), ".")
}
