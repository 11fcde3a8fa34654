package migrator

import (
	"errors"
	"net"
	"reflect"
	"strings"
	"testing"
)

// TestControl: another process finds a running migration by its state directory, and asks it to stand still at an offset.
func TestControl(t *testing.T) {
	from, to := serve(t, nil), serve(t, nil)
	cfg := between(t, from.URL(), to.URL())
	cfg.HoldExpiry = 0
	if _, err := Attach(cfg.StateDir); !errors.Is(err, ErrNotRunning) {
		t.Errorf("attached to nothing: %v", err)
	}
	replicates(from, from.ReplID(), rdbOf(t, texts{"a": "1"}, nil), "SELECT 0", "SET b 2")
	m := running(t, cfg)
	end := from.Offset() + int64(len(streamOf("SELECT 0", "SET b 2")))
	awaitApplied(t, m, end)
	if _, err := Attach(cfg.StateDir); !errors.Is(err, ErrNotRunning) {
		t.Errorf("attached to a migration that does not listen: %v", err)
	}
	control, err := m.Listen()
	if err != nil {
		t.Fatal(err)
	}
	defer control.Close()
	a, err := Attach(cfg.StateDir)
	if err != nil {
		t.Fatal(err)
	}
	if got := a.LinkInfos(); !reflect.DeepEqual(got, m.LinkInfos()) || got[0].Shard != from.Addr || got[0].Reads != from.Addr {
		t.Errorf("links %+v", got)
	}
	source, target := a.Servers()
	if same, _ := source.SameAs(target); same || source[0].Addr != from.Addr || target[0].Addr != to.Addr {
		t.Errorf("servers %+v and %+v", source, target)
	}
	if at, err := a.Applied(t.Context(), 0); err != nil || at != (Applied{from.ReplID(), end}) {
		t.Errorf("applied %+v, %v; want %d", at, err, end)
	}
	for _, link := range []int{-1, 1} {
		_, err := a.Applied(t.Context(), link)
		_, frozen := a.Freeze(t.Context(), link)
		if err == nil || frozen == nil || !strings.Contains(err.Error(), "there is no link") || !strings.Contains(frozen.Error(), "there is no link") {
			t.Errorf("link %d: %v, %v", link, err, frozen)
		}
	}
	for range 2 { // a frame that is released gives way to the next one
		frame, err := a.Freeze(t.Context(), 0)
		if err != nil {
			t.Fatal(err)
		}
		if ahead, err := frame.ApplyTo(t.Context(), end); err != nil || len(ahead) > 0 {
			t.Errorf("keys ahead of offset %d: %v, %v", end, ahead, err)
		}
		frame.Release()
	}
	f, err := a.open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer f.Release()
	for _, tt := range []struct {
		q    controlRequest
		says string
	}{
		{controlRequest{Op: "apply", Offset: end}, "no link is frozen"},
		{controlRequest{Op: "freeze"}, ""},
		{controlRequest{Op: "freeze"}, ""}, // takes the place of the first one
		{controlRequest{Op: "apply", Offset: end}, ""},
		{controlRequest{Op: "release"}, ""},
		{controlRequest{Op: "apply", Offset: end}, "no link is frozen"},
		{controlRequest{Op: "flush"}, `"flush" is unknown`},
	} {
		_, err := f.ask(t.Context(), tt.q)
		saysSo(t, err, tt.says, tt.q.Op)
	}
	control.Close()
	if _, err := f.ask(t.Context(), controlRequest{Op: "links"}); err == nil {
		t.Error("a connection outlives the service")
	}
	if _, err := net.Dial("unix", socketPath(m.state.ID)); err == nil {
		t.Error("the socket outlives the service")
	}
}
