package outdir

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// lockName is the name of the file that a run keeps locked. It is hidden, so that no gate takes it for a report.
const lockName = ".surecut.lock"

// lock is held through an open file, so it ends when the process ends in any way. A file that a killed run has left is not locked.
type lock struct {
	file *os.File
	path string
}

// acquire locks the directory, or fails at once if another process holds the lock.
func acquire(dir string) (*lock, error) {
	path := filepath.Join(dir, lockName)
	for {
		f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
		if err != nil {
			return nil, err
		}
		if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
			f.Close()
			if errors.Is(err, syscall.EWOULDBLOCK) {
				return nil, ErrBusy
			}
			return nil, fmt.Errorf("lock %s: %w", lockName, err)
		}
		// The previous run may have removed the file after it was opened here and before it was locked. Then the lock is on a deleted
		// file.
		if opened, err := f.Stat(); err == nil {
			if named, err := os.Stat(path); err == nil && os.SameFile(opened, named) {
				return &lock{file: f, path: path}, nil
			}
		}
		f.Close()
	}
}

// release removes the file while it is still locked, so that it cannot remove the file of another run's lock.
func (l *lock) release() {
	os.Remove(l.path)
	l.file.Close()
}
