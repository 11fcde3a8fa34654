package migrator

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"syscall"

	"surecut/internal/durable"
	"surecut/internal/endpoint"
	"surecut/migrator/internal/ledger"
	"surecut/migrator/internal/slots"
	"surecut/migrator/internal/target"
)

// stateFormat is the version of the state directory: migration.json, and the lists of keys beside it. It is raised by a change that an
// older surecut cannot read. Formats 2 and 3 are read as well, and upgraded.
const stateFormat = 4

// state is what a migration remembers in its directory (migration.json). The target holds the checkpoints.
type state struct {
	Format         int          `json:"format"`
	ID             string       `json:"id"`
	Source         string       `json:"source"`
	Target         string       `json:"target"`
	Lanes          int          `json:"lanes"`
	TargetWasEmpty bool         `json:"target_was_empty"`
	Tuned          []tuned      `json:"tuned,omitempty"`
	Links          []*linkState `json:"links"`

	// Begins says that the first run has not looked at the target yet, which it claims before. If it is killed there, the next run begins
	// anew, under the same ID, so that the claim is its own.
	Begins bool `json:"begins,omitempty"`

	Witnesses []target.Witness `json:"witnesses,omitempty"`

	Evictions map[string]evictions `json:"evictions,omitempty"` // by address of a node of the target

	// The servers of both sides when the migration was last started, by which other processes recognize it.
	SourceServers endpoint.Identity `json:"source_servers,omitempty"`
	TargetServers endpoint.Identity `json:"target_servers,omitempty"`

	DBPrefix map[int]string `json:"db_prefix,omitempty"`
	Slots    *slots.State   `json:"slots,omitempty"` // which link has which slots of a source cluster, whose slots are followed

	Libraries json.RawMessage `json:"libraries,omitempty"` // function libraries, see package libraries; absent: a surecut wrote it that did not remember them

	Runs runs `json:"runs"`

	dir  string
	lock *os.File
	held os.FileInfo // of lock; nil: the state was only read
}

// stage is how far a link has come with snapshot and stream. It is written to the state, so that the next run goes on from there.
type stage string

const (
	fresh     stage = ""          // a snapshot is needed
	receiving stage = "receiving" // a snapshot is being received; a part of it may be in the target
	received  stage = "received"  // the snapshot is whole on disk, or can be read again (file, scan); a part of it may be in the target
	loaded    stage = "loaded"    // the snapshot is in the target, and was deleted from the disk
	following stage = "following" // the stream is being applied
)

// nextStages lists the stages that may follow each stage. A link goes back to fresh when only a new snapshot can replace a lost stream.
var nextStages = map[stage][]stage{
	fresh:     {receiving, received, fresh},
	receiving: {receiving, received, loaded, fresh}, // loaded, because a snapshot may be loaded before it is marked as received
	received:  {loaded, fresh},
	loaded:    {following, fresh},
	following: {following, fresh},
}

// inTarget says whether the target holds the whole snapshot.
func (s stage) inTarget() bool { return s == loaded || s == following }

// enter takes the link to a stage. It panics if that may not follow the present one, which would be a bug.
func (st *linkState) enter(next stage) {
	if !slices.Contains(nextStages[st.Stage], next) {
		panic(fmt.Sprintf("migrator: link %s cannot go from stage %q to %q", st.Name, st.Stage, next))
	}
	st.Stage = next
}

type linkState struct {
	Name      string           `json:"name"`
	Shard     string           `json:"shard"`
	ReplID    string           `json:"replication_id"`
	Start     int64            `json:"start"`          // offset before the first byte of the stream
	StartedMs int64            `json:"started_ms"`     // when the snapshot was asked for, Unix ms by the source's clock
	Sync      bool             `json:"sync,omitempty"` // the source has no PSYNC, so that the link counts offsets itself, from 0
	StreamDB  int              `json:"stream_db"`      // database that is selected in the stream at Start
	Stage     stage            `json:"stage"`
	Expiries  ledger.HeldState `json:"expiries,omitempty"`
	Primary   string           `json:"primary,omitempty"` // address of the shard's primary when the link was last connected
	Again     bool             `json:"again,omitempty"`   // the next snapshot replaces an earlier one
	Counted   ledger.Counters  `json:"counted"`           // counters of all runs, when the state was last saved
	Reach     int64            `json:"reach,omitempty"`   // through a proxy: offset up to which commands may have been applied; see reach.go

	// Set for a source cluster.
	Slots string   `json:"slots,omitempty"` // slots that the shard held when the migration began, "0-5460,7000-7000"
	Nodes []string `json:"nodes,omitempty"` // IDs of the nodes that were seen in the shard, sorted
	Gone  bool     `json:"gone,omitempty"`  // no node of the shard belongs to the cluster any more

	Recorded []uint16 `json:"recorded,omitempty"` // slots of a cluster that hold a record of the link, one on each node

	Lost bool `json:"lost,omitempty"` // the target has lost keys that the link had written, so that a new snapshot is needed
}

// openState locks the directory and reads the state that an earlier run has left there. resumed is false if there is none, or if that run
// was killed before it had done anything.
func openState(dir string) (s *state, resumed bool, err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, false, fmt.Errorf("Config.StateDir: %w", err)
	}
	s = &state{Format: stateFormat, dir: dir}
	if s.lock, err = os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR|os.O_CREATE, 0o600); err != nil {
		return nil, false, fmt.Errorf("Config.StateDir: %w", err)
	}
	lock := s.lock
	defer func() {
		if err != nil {
			err = errors.Join(err, lock.Close())
		}
	}()
	held, err := lock.Stat()
	if err != nil {
		return nil, false, fmt.Errorf("Config.StateDir: %w", err)
	}
	s.held = held
	if err := syscall.Flock(int(s.lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return nil, false, fmt.Errorf("Config.StateDir %s: another surecut is using it", dir)
	}
	there, err := s.read()
	switch {
	case err != nil:
		return nil, false, err
	case !there:
		var id [6]byte
		if _, err := rand.Read(id[:]); err != nil {
			return nil, false, err
		}
		s.ID = hex.EncodeToString(id[:])
		return s, false, nil
	case s.Begins:
		return &state{Format: stateFormat, ID: s.ID, dir: dir, lock: lock, held: held}, false, nil
	}
	return s, true, nil
}

// read reads the state from its directory. there is false if that holds nothing of a migration.
func (s *state) read() (there bool, err error) {
	const instead = "start again with a new Config.StateDir and an empty target (or Config.OnExisting replace)"
	data, err := os.ReadFile(s.path())
	if errors.Is(err, os.ErrNotExist) {
		if left, _ := filepath.Glob(filepath.Join(s.dir, "link-*")); len(left) > 0 {
			return false, fmt.Errorf("Config.StateDir %s holds %s of a migration, but its migration.json is missing: put that back, or name another directory: %s", s.dir, filepath.Base(left[0]), instead)
		}
		return false, nil
	}
	if err == nil {
		err = json.Unmarshal(data, s)
	}
	if err == nil && s.Format == 2 {
		err = s.upgrade(data)
	}
	if s.Format == 3 { // it has no table of slots
		s.Format = stateFormat
	}
	if err != nil {
		return false, fmt.Errorf("Config.StateDir: read %s: %w; put back a copy of the file if there is one, or %s", s.path(), err, instead)
	}
	if s.Format != stateFormat {
		return false, fmt.Errorf("Config.StateDir: %s has format %d, and this surecut reads %d: resume it with the surecut that began it, or start again with a new Config.StateDir", s.path(), s.Format, stateFormat)
	}
	if err := s.validate(); err != nil {
		return false, fmt.Errorf("Config.StateDir: %s is damaged: %w; put back a copy of the file if there is one, or %s", s.path(), err, instead)
	}
	return true, nil
}

// upgrade reads what format 2 keeps in other fields than format 3.
func (s *state) upgrade(data []byte) error {
	var old struct {
		Links []struct {
			Snapshot          stage // its values are those of Stage
			Holding, Released bool
		}
	}
	if err := json.Unmarshal(data, &old); err != nil {
		return err
	}
	for i, l := range old.Links {
		st := s.Links[i]
		st.Stage = l.Snapshot
		st.Expiries = map[[2]bool]ledger.HeldState{{true, false}: ledger.HeldFirst, {true, true}: ledger.HeldAgain, {false, true}: ledger.AllReleased}[[2]bool{l.Holding, l.Released}]
	}
	s.Format = stateFormat
	return nil
}

// validate returns an error for a state that no run can have written.
func (s *state) validate() error {
	if s.ID == "" || s.Source == "" || s.Target == "" || s.Lanes < 1 || len(s.Links) == 0 {
		return errors.New("its id, source, target, lanes or links are missing")
	}
	if s.Slots != nil && len(s.Slots.Owned) > len(s.Links) {
		return fmt.Errorf("it has slots for %d links, but %d links", len(s.Slots.Owned), len(s.Links))
	}
	for i, l := range s.Links {
		if l == nil {
			return fmt.Errorf("link %d is missing", i)
		}
		if _, known := nextStages[l.Stage]; !known {
			return fmt.Errorf("link %d: unknown stage %q", i, l.Stage)
		}
		if !l.Expiries.Valid() {
			return fmt.Errorf("link %d: its expiries have the unknown state %q", i, l.Expiries)
		}
		if l.Name == "" || filepath.Base(l.Name) != l.Name || l.Start < 0 || l.StreamDB < 0 {
			return fmt.Errorf("link %d: its name %q, start %d or database %d is impossible", i, l.Name, l.Start, l.StreamDB)
		}
	}
	return nil
}

// StateID returns the ID of the migration whose state is in a directory; "": there is none.
func StateID(dir string) string { return peek(dir).ID }

// peek reads a state without locking its directory. If there is none, or it cannot be parsed, peek returns an empty state. Of a run that was
// killed before it had done anything, there is only the ID.
func peek(dir string) *state {
	var s state
	data, err := os.ReadFile(filepath.Join(dir, "migration.json"))
	if err != nil || json.Unmarshal(data, &s) != nil {
		return &state{}
	}
	if s.Begins {
		return &state{ID: s.ID}
	}
	return &s
}

func (s *state) path() string { return filepath.Join(s.dir, "migration.json") }

// errStateGone says that the state directory of a migration that runs is not there any more.
var errStateGone = errors.New("it was removed or replaced while the migration ran, and with it the progress and what was received and not applied yet: put the same directory back and run the same command again if it was only moved away or unmounted, else start again with a new Config.StateDir and an empty target (or Config.OnExisting replace)")

// intact returns an error if the directory that was opened is not at its place any more. Files that are open do not show that.
func (s *state) intact() error {
	if s.held == nil {
		return nil
	}
	there, err := os.Stat(filepath.Join(s.dir, "lock"))
	switch {
	case err == nil && os.SameFile(there, s.held):
		return nil
	case err == nil:
		err = errors.New("its file lock is another one")
	}
	return fmt.Errorf("Config.StateDir %s: %w (%w)", s.dir, errStateGone, err)
}

// save writes the state to disk, whole or not at all. It writes nothing into a directory that has taken the place of its own.
func (s *state) save() error {
	if err := s.intact(); err != nil {
		return err
	}
	data, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return err
	}
	if err := writeWhole(s.path(), data); err != nil {
		return fmt.Errorf("save the state of the migration: %w", err)
	}
	return nil
}

func writeWhole(path string, data []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	_, err = f.Write(append(data, '\n'))
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return durable.SyncDir(filepath.Dir(path))
}

func (s *state) close() error { return s.lock.Close() }
