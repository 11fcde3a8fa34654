package migrator

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"

	"surecut/internal/endpoint"
	"surecut/internal/keyspace"
)

// controlRequest is a request to a running migration. Other processes of the same user on the same machine send requests over a unix
// socket: one JSON object a line in each direction. A connection holds at most one frame, which is released when the connection is closed.
//
//	{"op":"links"}              -> {"links":[{"Shard":...,"Reads":...,"Slots":[...]}]}
//	{"op":"applied","link":0}   -> {"applied":{"ReplID":...,"Offset":...}}
//	{"op":"freeze","link":0}    -> {}
//	{"op":"apply","offset":123} -> {"ahead":[{"db":0,"name":"base64"}]}
//	{"op":"release"}            -> {}
type controlRequest struct {
	Op     string `json:"op"`
	Link   int    `json:"link,omitempty"`
	Offset int64  `json:"offset,omitempty"`
}

type controlReply struct {
	Links   []LinkInfo `json:"links,omitempty"`
	Applied *Applied   `json:"applied,omitempty"`
	Error   string     `json:"error,omitempty"`
	Lags    bool       `json:"lags,omitempty"` // the error is ErrLags
	Ahead   []aheadKey `json:"ahead,omitempty"`
}

// aheadKey is a key that ApplyTo returns. Its name may be any bytes, which JSON can hold only as base64.
type aheadKey struct {
	DB   int    `json:"db"`
	Name []byte `json:"name"`
}

// lagError is ErrLags with the message of the other process.
type lagError string

func (e lagError) Error() string   { return string(e) }
func (e lagError) Is(t error) bool { return t == ErrLags }

// socketPath returns the path of the control socket. It is outside of the state directory, whose path may be too long for a socket.
func socketPath(id string) string { return filepath.Join(os.TempDir(), "surecut-"+id+".sock") }

// Control serves the requests of other processes until it is closed.
type Control struct {
	m      *Migration
	l      net.Listener
	cancel context.CancelFunc
	wg     sync.WaitGroup
}

// Listen begins to serve the requests of other processes of this machine.
func (m *Migration) Listen() (*Control, error) {
	path := socketPath(m.state.ID)
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("open the control socket: %w", err)
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("open the control socket: %w", err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, errors.Join(fmt.Errorf("open the control socket: %w", err), l.Close())
	}
	ctx, cancel := context.WithCancel(context.Background())
	c := &Control{m: m, l: l, cancel: cancel}
	c.wg.Add(1)
	go func() {
		defer c.wg.Done()
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			c.wg.Add(1)
			go func() {
				defer c.wg.Done()
				defer context.AfterFunc(ctx, func() { conn.Close() })()
				c.serve(ctx, conn)
			}()
		}
	}()
	return c, nil
}

// Close ends the service and releases its frames.
func (c *Control) Close() {
	c.cancel()
	c.l.Close()
	c.wg.Wait()
}

func (c *Control) serve(ctx context.Context, conn net.Conn) {
	defer conn.Close()
	in, out := json.NewDecoder(conn), json.NewEncoder(conn)
	var frame *Frame
	defer func() {
		if frame != nil {
			frame.Release()
		}
	}()
	for {
		var q controlRequest
		if err := in.Decode(&q); err != nil {
			return
		}
		var reply controlReply
		var err error
		switch q.Op {
		case "links":
			reply.Links = c.m.LinkInfos()
		case "applied":
			var at Applied
			at, err = c.m.Applied(ctx, q.Link)
			reply.Applied = &at
		case "freeze":
			if frame != nil {
				frame.Release()
			}
			frame, err = c.m.Freeze(ctx, q.Link)
		case "apply":
			if err = fmt.Errorf("apply up to offset %d: no link is frozen", q.Offset); frame != nil {
				var ahead []keyspace.Key
				ahead, err = frame.ApplyTo(ctx, q.Offset)
				for _, k := range ahead {
					reply.Ahead = append(reply.Ahead, aheadKey{k.DB, []byte(k.Name)})
				}
			}
		case "release":
			if frame != nil {
				frame.Release()
				frame = nil
			}
		default:
			err = fmt.Errorf("the request %q is unknown to this version of surecut", q.Op)
		}
		if err != nil {
			reply.Error, reply.Lags = err.Error(), errors.Is(err, ErrLags)
		}
		if err := out.Encode(reply); err != nil {
			return
		}
	}
}

// Attached is a migration that runs in another process of this machine.
type Attached struct {
	path  string
	links []LinkInfo

	source, target endpoint.Identity
}

// ErrNotRunning says that no process runs the migration of a state directory, or that it cannot be reached.
var ErrNotRunning = errors.New("no migration is running with this state directory")

// Attach finds the migration that runs with a state directory.
func Attach(stateDir string) (*Attached, error) {
	state := peek(stateDir)
	if state.ID == "" {
		return nil, fmt.Errorf("Config.StateDir %s: %w", stateDir, ErrNotRunning)
	}
	a := &Attached{path: socketPath(state.ID), source: state.SourceServers, target: state.TargetServers}
	r, err := a.open(context.Background())
	if err != nil {
		return nil, fmt.Errorf("Config.StateDir %s: %w (%w)", stateDir, ErrNotRunning, err)
	}
	defer r.conn.Close()
	reply, err := r.ask(context.Background(), controlRequest{Op: "links"})
	if err != nil {
		return nil, err
	}
	a.links = reply.Links
	return a, nil
}

// Servers returns the servers that the migration reads and writes, as they were when it was last started.
func (a *Attached) Servers() (source, target endpoint.Identity) { return a.source, a.target }

// LinkInfos returns what Migration.LinkInfos returned when Attach was called.
func (a *Attached) LinkInfos() []LinkInfo { return a.links }

// Applied does what Migration.Applied does.
func (a *Attached) Applied(ctx context.Context, link int) (Applied, error) {
	f, err := a.open(ctx)
	if err != nil {
		return Applied{}, fmt.Errorf("ask the running migration: %w", err)
	}
	defer f.conn.Close()
	reply, err := f.ask(ctx, controlRequest{Op: "applied", Link: link})
	if err != nil {
		return Applied{}, err
	}
	if reply.Applied == nil {
		return Applied{}, errors.New("the running migration does not report how far the target has come")
	}
	return *reply.Applied, nil
}

// Freeze does what Migration.Freeze does.
func (a *Attached) Freeze(ctx context.Context, link int) (*RemoteFrame, error) {
	f, err := a.open(ctx)
	if err != nil {
		return nil, err
	}
	if _, err := f.ask(ctx, controlRequest{Op: "freeze", Link: link}); err != nil {
		return nil, errors.Join(err, f.conn.Close())
	}
	return f, nil
}

func (a *Attached) open(ctx context.Context) (*RemoteFrame, error) {
	conn, err := new(net.Dialer).DialContext(ctx, "unix", a.path)
	if err != nil {
		return nil, err
	}
	return &RemoteFrame{conn: conn, in: json.NewDecoder(conn), out: json.NewEncoder(conn)}, nil
}

// RemoteFrame is a Frame of a migration in another process.
type RemoteFrame struct {
	conn net.Conn
	in   *json.Decoder
	out  *json.Encoder
}

func (f *RemoteFrame) ask(ctx context.Context, q controlRequest) (controlReply, error) {
	defer context.AfterFunc(ctx, func() { f.conn.Close() })()
	var reply controlReply
	err := f.out.Encode(q)
	if err == nil {
		err = f.in.Decode(&reply)
	}
	switch {
	case ctx.Err() != nil:
		return reply, context.Cause(ctx)
	case err != nil:
		return reply, fmt.Errorf("ask the running migration: %w", err)
	case reply.Lags:
		return reply, lagError(reply.Error)
	case reply.Error != "":
		return reply, errors.New(reply.Error)
	}
	return reply, nil
}

// ApplyTo does what Frame.ApplyTo does.
func (f *RemoteFrame) ApplyTo(ctx context.Context, offset int64) (ahead []keyspace.Key, err error) {
	reply, err := f.ask(ctx, controlRequest{Op: "apply", Offset: offset})
	for _, k := range reply.Ahead {
		ahead = append(ahead, keyspace.Key{DB: k.DB, Name: string(k.Name)})
	}
	return ahead, err
}

// Release does what Frame.Release does.
func (f *RemoteFrame) Release() { f.conn.Close() }
