package endpoint

import (
	"fmt"

	"surecut/internal/files"
)

// openFiles returns a Deployment whose shards are files: the address of each primary is a path. It has no servers and no clients.
func openFiles(s Spec) (*Deployment, error) {
	open := files.OpenRDB
	if s.IsAOF() {
		open = files.OpenAOF
	}
	paths := []string{s.Path}
	if _, err := open(s.Path); err != nil { // it may be a list of files
		if paths, err = files.Expand(s.Path); err != nil {
			return nil, fmt.Errorf("%s: %w", s.Kind, err)
		}
	}
	d, err := newDeployment(s)
	if err != nil {
		return nil, err
	}
	for _, path := range paths {
		if _, err := open(path); err != nil {
			return nil, err
		}
		d.shards = append(d.shards, Shard{Primary: Node{Addr: path}})
	}
	return d, nil
}
