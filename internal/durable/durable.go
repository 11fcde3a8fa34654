// Package durable makes changes of files survive a crash of the machine.
package durable

import (
	"errors"
	"fmt"
	"os"
)

// SyncDir makes durable which files a directory has, and their names: a file that was made, renamed or removed in it stays so.
func SyncDir(path string) error {
	dir, err := os.Open(path)
	if err == nil {
		err = errors.Join(dir.Sync(), dir.Close())
	}
	if err != nil {
		return fmt.Errorf("sync directory: %w", err)
	}
	return nil
}
