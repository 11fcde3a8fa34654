package verifier

import (
	"context"
	"slices"

	"surecut/internal/keyspace"
	"surecut/internal/rdb"
)

const (
	locateBatch = 16
	locateKeep  = 256 << 10 // bytes per value and side of a batch; larger values are compared piece by piece
)

// locate finds where values differ, for the findings that the report will list. A key that has changed since it was judged keeps
// the reason that it was given then.
func (v *verification) locate(ctx context.Context) error {
	v.tally.trim()
	var wanted []int
	for i := range v.tally.findings {
		f := &v.tally.findings[i]
		if v.cfg.Depth == DepthValue && f.Code.ofValue() && f.Named() && f.Source.Detail == "" && f.Target.Detail == "" {
			wanted = append(wanted, i)
		}
	}
	if v.fixed {
		_, err := v.locateBatch(ctx, wanted[:min(len(wanted), mostLocated)], locateKeep/4)
		return err
	}
	for batch := range slices.Chunk(wanted, locateBatch) {
		large, err := v.locateBatch(ctx, batch, locateKeep)
		if err != nil {
			return err
		}
		for _, i := range large {
			v.locateLarge(ctx, &v.tally.findings[i])
		}
		v.progress.settled.Add(int64(len(batch)))
	}
	return nil
}

// locateBatch locates a batch of findings. It returns those whose values were too large to be held.
func (v *verification) locateBatch(ctx context.Context, batch []int, keep int64) (large []int, err error) {
	if len(batch) == 0 {
		return nil, nil
	}
	keys := make([]keyID, len(batch))
	for j, i := range batch {
		f := &v.tally.findings[i]
		keys[j] = keyID{db: f.DB, pairDB: f.TargetDB, name: f.targetName()}
	}
	source, err := v.probers.Source.probe(ctx, keys, keep)
	if err != nil {
		return nil, err
	}
	target, err := v.probers.Target.probe(ctx, keys, keep)
	if err != nil {
		return nil, err
	}
	for j, i := range batch {
		s, t := &source[j], &target[j]
		if s.Err != nil || t.Err != nil || !s.present() || s.TypeName != t.TypeName || s.Type == keyspace.Module && s.TypeName != rdb.VectorSet {
			continue
		}
		if s.Value == nil || t.Value == nil {
			large = append(large, i)
			continue
		}
		d := compareValues(values{s.Value, t.Value, v.rules.within})
		v.tally.findings[i].locate(&d)
	}
	return large, nil
}
