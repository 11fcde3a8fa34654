package outdir

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// lockName is the file that a run keeps locked. It is hidden, so that no gate takes it for a report.
const lockName = ".surecut.lock"

// lock is held through the open file, so that it ends with the process, however that ends. The file that a killed run leaves locks
// nobody out.
type lock struct {
	file *os.File
	path string
}

// acquire locks the directory, or fails at once.
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
		// The run before may have removed the file between our opening and locking it: then the lock is on a file that is gone.
		if opened, err := f.Stat(); err == nil {
			if named, err := os.Stat(path); err == nil && os.SameFile(opened, named) {
				return &lock{file: f, path: path}, nil
			}
		}
		f.Close()
	}
}

// release removes the file while it is still locked, so that nobody else's lock can be removed.
func (l *lock) release() {
	os.Remove(l.path)
	l.file.Close()
}
