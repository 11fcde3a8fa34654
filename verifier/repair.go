package verifier

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"surecut/internal/endpoint"
	"surecut/internal/keyspace"
	"surecut/internal/rdb"
)

// Remedy is the action that makes one key of the target equal to the source's.
type Remedy string

// Any remedy but the first three leaves the target as it is.
const (
	RemedyCopy   Remedy = "copy"   // DUMP on the source, or the value from its file, and RESTORE REPLACE on the target
	RemedyExpire Remedy = "expire" // the value is right: only the expiry is set or removed
	RemedyDelete Remedy = "delete" // the source has no such key; needs DeleteExtra
	RemedyNone   Remedy = "none"
)

// RepairConfig says what to repair.
type RepairConfig struct {
	Config                // how the keys are read and verified again
	Findings    []Finding // of a report
	Apply       bool      // false: the remedies are only determined
	DeleteExtra bool
}

// Repaired is what was, or would be, done to one key.
type Repaired struct {
	DB       int    `json:"db"`
	TargetDB int    `json:"target_db"`
	Key      string `json:"key"` // printable, as the target names it
	Remedy   Remedy `json:"remedy"`
	Why      string `json:"why"`             // what differs now, or why nothing is done
	Error    string `json:"error,omitempty"` // why it could not be done
}

// Repair reads the key of every finding again and determines its remedy from what both sides hold now. With Apply it carries the
// remedies out and compares those keys again; without, the report is nil. It never touches surecut's own keys.
func Repair(ctx context.Context, o RepairConfig) ([]Repaired, *Report, error) {
	if err := errors.Join(o.Validate(), o.Sides.Validate()); err != nil {
		return nil, nil, err
	}
	o.Filter.DBPrefix = prefixesOf(o.Findings)
	o.mapping = o.Filter.To(keyspace.Databases{Home: endpoint.AllDBs}) // the findings name the databases of both sides
	v, err := newVerification(ctx, &o.Config)
	if err != nil {
		return nil, nil, err
	}
	defer v.close()
	defer v.source.close()
	defer v.target.close()
	if err := v.target.isPrimary(); err != nil && o.Apply {
		return nil, nil, err
	}
	o.Findings = slices.Clone(o.Findings)
	p := repairer{v, &o}
	if err := p.findLong(ctx, o.Findings); err != nil {
		return nil, nil, err
	}
	faults := repairable(o.Findings)
	done := p.unnamed(o.Findings)
	at := 64
	if v.fixed {
		at = max(len(faults), 1) // each batch reads the file from its beginning
	}
	for batch := range slices.Chunk(faults, at) {
		some, err := p.repairBatch(ctx, batch)
		if err != nil {
			return done, nil, err
		}
		done = append(done, some...)
	}
	if !o.Apply {
		return done, nil, nil
	}
	report, err := p.again(ctx, faults)
	return done, report, err
}

// repairer is one run of Repair.
type repairer struct {
	*verification
	o *RepairConfig
}

// prefixesOf finds the prefixes that the names of source databases get on the target, by comparing the names in the findings.
func prefixesOf(findings []Finding) map[int]string {
	prefixes := map[int]string{}
	for i := range findings {
		f := &findings[i]
		if p := prefixOf(f); p != "" {
			prefixes[f.DB] = p
		}
	}
	return prefixes
}

// unnamed counts the keys whose exact names were not found as unchecked.
func (p *repairer) unnamed(findings []Finding) []Repaired {
	done := make([]Repaired, 0, len(findings))
	_ = p.tally.batch(func(t *tally) error {
		for i := range findings {
			if f := &findings[i]; !f.Named() {
				why := cause{Reason: NameTooLong}
				done = append(done, Repaired{DB: f.Name().DB, TargetDB: f.TargetDB, Key: cmp.Or(f.TargetKey, f.Key), Remedy: RemedyNone, Why: why.String()})
				t.totals.Unchecked++
				t.omitted++
				t.byReason.add(why, 1)
			}
		}
		return nil
	})
	return done
}

// fault is a key that a report found not to be the same.
type fault struct {
	keyID
	extra  bool
	source reading // as the key was when Repair looked at it
}

func repairable(findings []Finding) []fault {
	var faults []fault
	for i := range findings {
		f := &findings[i]
		if !f.Named() {
			continue
		}
		id := keyID{db: f.Name().DB, pairDB: f.TargetDB, name: f.targetName()}
		if strings.HasPrefix(id.name, keyspace.Prefix) {
			continue
		}
		switch f.Verdict {
		case Different, Missing, Extra:
			faults = append(faults, fault{id, f.Verdict == Extra, reading{}})
		}
	}
	return faults
}

func (p *repairer) repairBatch(ctx context.Context, faults []fault) ([]Repaired, error) {
	keys := make([]keyID, len(faults))
	for i := range faults {
		keys[i] = faults[i].keyID
	}
	source, err := p.probers.Source.probe(ctx, keys, 0)
	if err != nil {
		return nil, err
	}
	target, err := p.probers.Target.probe(ctx, keys, 0)
	if err != nil {
		return nil, err
	}
	out := make([]Repaired, len(keys))
	copies := map[pairKey]fileCopy{}
	var jobs []job
	for i, k := range keys {
		faults[i].source = source[i]
		both := pair{source[i], target[i]}
		r := &out[i]
		*r = Repaired{DB: k.db, TargetDB: k.pairDB}
		r.Key, _, _, _ = quoteName(k.name)
		r.Remedy, r.Why = p.remedy(&both)
		var astray []*node
		if faults[i].extra {
			if astray, err = p.straysOf(ctx, k); err != nil {
				return nil, err
			}
		}
		if len(astray) > 0 {
			r.Remedy, r.Why = RemedyDelete, liesAstray(addrsOf(astray)...).String()
		}
		if faults[i].extra && r.Remedy != RemedyDelete && r.Remedy != RemedyNone {
			r.Remedy, r.Why = RemedyNone, whyBack
		}
		if r.Remedy == RemedyDelete && !p.o.DeleteExtra {
			r.Remedy, r.Why = RemedyNone, "it exists only on the target; it is deleted with RepairConfig.DeleteExtra"
		}
		switch {
		case !p.o.Apply || r.Remedy == RemedyNone:
		case p.fixed && r.Remedy == RemedyCopy:
			copies[pairKey{k.db, p.source.named(k)}] = fileCopy{k, r}
		case len(astray) > 0: // no migration stream goes to those nodes
			if err := p.deleteStrays(ctx, k, astray); err != nil {
				r.Error = err.Error()
			}
		default:
			jobs = append(jobs, job{k, source[i], r})
		}
	}
	if err := p.carryOutAll(ctx, jobs); err != nil {
		return nil, err
	}
	return out, p.copyFromFile(ctx, copies)
}

// whyBack is why a key that a report calls extra is left alone.
const whyBack = "the source did not have it before and has it now; verify again"

// mostRestored is the largest value that is copied from a file: by default no server accepts a larger one.
const mostRestored = 512 << 20

// fileCopy is a key that is to be copied from a file.
type fileCopy struct {
	to     keyID
	result *Repaired
}

// copyFromFile restores keys, which are given by their names on the source, while it reads the files once.
func (p *repairer) copyFromFile(ctx context.Context, keys map[pairKey]fileCopy) error {
	if len(keys) == 0 {
		return nil
	}
	wanted := func(db int, name string) bool { return keys[pairKey{db, name}].result != nil }
	for _, shard := range p.source.dep.Shards() {
		err := p.source.eachEntry(ctx, shard.Primary.Addr, mostRestored, wanted, func(_ *rdb.Reader, e *rdb.Entry, _ int64) error {
			k := keys[pairKey{e.DB, string(e.Key)}]
			err := p.restoreEntry(ctx, k.to, e)
			if err != nil && ctx.Err() == nil {
				k.result.Error = err.Error()
				err = nil
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (p *repairer) restoreEntry(ctx context.Context, k keyID, e *rdb.Entry) error {
	node, err := p.target.nodeOf(k.name)
	if err != nil {
		return err
	}
	if e.Big {
		return fmt.Errorf("its value has more than %d bytes", mostRestored)
	}
	if err := refuseModule(e.Type, node); err != nil {
		return err
	}
	version, _, err := p.cfg.Target.AcceptedRDB(ctx, node.addr())
	if err != nil {
		return err
	}
	payload, err := rdb.Encoder{Version: version, Max: mostRestored}.Append(nil, e.Type, e.Raw)
	if err != nil {
		return fmt.Errorf("%s %s cannot store it: %w", node.facts.Flavor, node.facts.Version, err)
	}
	to := p.target.borrow(node, k.pairDB)
	defer p.target.giveBack(to)
	return keyWriter{to.conn}.restore(ctx, k.name, string(payload), e.ExpireAt)
}

// remedy decides by what both sides hold now, not by what the report says they held.
func (p *repairer) remedy(both *pair) (Remedy, string) {
	verdict, why := p.rules.judge(both)
	reason := why.String()
	switch {
	case verdict == Same:
		return RemedyNone, "it is the same now"
	case both.Source.Err != nil || both.Target.Err != nil:
		return RemedyNone, reason
	case verdict == Extra:
		return RemedyDelete, reason
	case verdict == Missing:
		return RemedyCopy, reason
	case both.Source.Type == both.Target.Type && p.rules.depth == DepthValue && p.rules.sameValue(&both.Source, &both.Target):
		return RemedyExpire, reason
	}
	return RemedyCopy, reason
}

// moduleExitsUntil is the first version that refuses a value of a module that is not loaded. Earlier servers exit when they receive
// one.
const moduleExitsUntil = 60200

func refuseModule(rdbType byte, target *node) error {
	if rdbType != rdb.TypeModule || target.facts.Number >= moduleExitsUntil {
		return nil
	}
	return fmt.Errorf("a module value is not restored on %s %s, because a server of this version crashes if it has not loaded the module", target.facts.Flavor, target.facts.Version)
}

// forTarget returns the payload, in an older encoding where the target needs one.
func (p *repairer) forTarget(ctx context.Context, payload string, from, to *node) (string, error) {
	source, target := from.facts, to.facts
	if len(payload) > 0 {
		if err := refuseModule(payload[0], to); err != nil {
			return "", err
		}
	}
	if source.RDBVersion <= target.RDBVersion {
		return payload, nil
	}
	version, _, err := p.cfg.Target.AcceptedRDB(ctx, to.addr())
	if err != nil {
		return "", err
	}
	out, err := rdb.Encoder{Version: version, Max: 512 << 20}.Payload([]byte(payload))
	if err != nil {
		return "", fmt.Errorf("%s %s cannot store the value that %s %s has dumped: %w", target.Flavor, target.Version, source.Flavor, source.Version, err)
	}
	return string(out), nil
}

// again compares the repaired keys once more. The report is about them alone.
func (p *repairer) again(ctx context.Context, faults []fault) (*Report, error) {
	suspects, err := newSpill(p.cfg.TempDir, 1)
	if err != nil {
		return nil, err
	}
	defer suspects.close()
	for _, f := range faults {
		r := &record{keyID: f.keyID}
		if p.fixed { // the file is not read again
			r.flags = seen
			r.hold(&f.source)
		}
		if err := suspects.add(r); err != nil {
			return nil, err
		}
	}
	if err := p.resolve(ctx, suspects); err != nil {
		return nil, err
	}
	if err := p.locate(ctx); err != nil {
		return nil, err
	}
	for _, f := range faults {
		if !f.extra {
			continue
		}
		astray, err := p.straysOf(ctx, f.keyID)
		if err != nil {
			return nil, err
		}
		for _, n := range astray {
			p.target.strays.add(n, f.pairDB, f.name)
		}
	}
	r := p.report(&keyspace.Selection{Repaired: true})
	r.Writes.Clients, r.Writes.ClientsWhy = p.writers.since(ctx)
	r.URLs, r.Servers, r.LeftOut = p.cfg.URLs(), p.servers(), []string{}
	return r, nil
}
