package verifier

import (
	"context"
	"fmt"
	"strings"
	"time"

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

// clientWrites compares the counters of writing commands on the source's primaries with those read when the run
// began. The answer may differ from Writes.Written, which also counts keys that expired: their deletion matters for
// judging keys but is no write of a client.
func (v *verification) clientWrites(ctx context.Context) (answer Clients, why string) {
	if v.fixed {
		return ClientsNone, ""
	}
	return clientsBetween(v.begun, v.readWriters(ctx))
}

// readWriters asks the primaries of the source which writing commands they have run. It returns nil where they do not
// answer in time.
func (v *verification) readWriters(ctx context.Context) []quiet.Reading {
	ctx, cancel := context.WithTimeout(ctx, min(v.cfg.Silence, mostWriterWait))
	defer cancel()
	readings, err := quiet.Read(ctx, v.cfg.Source)
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
