package verifier

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
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
	if err := v.findLong(ctx, o.Findings); err != nil {
		return nil, nil, err
	}
	faults := repairable(o.Findings)
	done := v.unnamed(o.Findings)
	at := 64
	if v.fixed {
		at = max(len(faults), 1) // each batch reads the file from its beginning
	}
	for batch := range slices.Chunk(faults, at) {
		some, err := v.repairBatch(ctx, batch, &o)
		if err != nil {
			return done, nil, err
		}
		done = append(done, some...)
	}
	if !o.Apply {
		return done, nil, nil
	}
	report, err := v.again(ctx, faults)
	return done, report, err
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
func (v *verification) unnamed(findings []Finding) []Repaired {
	done := make([]Repaired, 0, len(findings))
	_ = v.tally.batch(func(t *tally) error {
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

func (v *verification) repairBatch(ctx context.Context, faults []fault, o *RepairConfig) ([]Repaired, error) {
	keys := make([]keyID, len(faults))
	for i := range faults {
		keys[i] = faults[i].keyID
	}
	source, err := v.probers.Source.probe(ctx, keys, 0)
	if err != nil {
		return nil, err
	}
	target, err := v.probers.Target.probe(ctx, keys, 0)
	if err != nil {
		return nil, err
	}
	out := make([]Repaired, len(keys))
	copies := map[pairKey]fileCopy{}
	var jobs []job
	for i, k := range keys {
		faults[i].source = source[i]
		p := pair{source[i], target[i]}
		r := &out[i]
		*r = Repaired{DB: k.db, TargetDB: k.pairDB}
		r.Key, _, _, _ = quoteName(k.name)
		r.Remedy, r.Why = v.remedy(&p)
		var astray []*node
		if faults[i].extra {
			if astray, err = v.straysOf(ctx, k); err != nil {
				return nil, err
			}
		}
		if len(astray) > 0 {
			r.Remedy, r.Why = RemedyDelete, liesAstray(addrsOf(astray)...).String()
		}
		if faults[i].extra && r.Remedy != RemedyDelete && r.Remedy != RemedyNone {
			r.Remedy, r.Why = RemedyNone, whyBack
		}
		if r.Remedy == RemedyDelete && !o.DeleteExtra {
			r.Remedy, r.Why = RemedyNone, "it exists only on the target; it is deleted with RepairConfig.DeleteExtra"
		}
		switch {
		case !o.Apply || r.Remedy == RemedyNone:
		case v.fixed && r.Remedy == RemedyCopy:
			copies[pairKey{k.db, v.source.named(k)}] = fileCopy{k, r}
		case len(astray) > 0: // no migration stream goes to those nodes
			if err := v.deleteStrays(ctx, k, astray); err != nil {
				r.Error = err.Error()
			}
		default:
			jobs = append(jobs, job{k, source[i], r})
		}
	}
	if err := v.carryOutAll(ctx, jobs); err != nil {
		return nil, err
	}
	return out, v.copyFromFile(ctx, copies)
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
func (v *verification) copyFromFile(ctx context.Context, keys map[pairKey]fileCopy) error {
	if len(keys) == 0 {
		return nil
	}
	wanted := func(db int, name string) bool { return keys[pairKey{db, name}].result != nil }
	for _, shard := range v.source.dep.Shards() {
		err := v.source.eachEntry(ctx, shard.Primary.Addr, mostRestored, wanted, func(_ *rdb.Reader, e *rdb.Entry, _ int64) error {
			k := keys[pairKey{e.DB, string(e.Key)}]
			err := v.restoreEntry(ctx, k.to, e)
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

func (v *verification) restoreEntry(ctx context.Context, k keyID, e *rdb.Entry) error {
	node, err := v.target.nodeOf(k.name)
	if err != nil {
		return err
	}
	if e.Big {
		return fmt.Errorf("its value has more than %d bytes", mostRestored)
	}
	if err := refuseModule(e.Type, node); err != nil {
		return err
	}
	version, _, err := v.cfg.Target.AcceptedRDB(ctx, node.addr())
	if err != nil {
		return err
	}
	payload, err := rdb.Encoder{Version: version, Max: mostRestored}.Append(nil, e.Type, e.Raw)
	if err != nil {
		return fmt.Errorf("%s %s cannot store it: %w", node.facts.Flavor, node.facts.Version, err)
	}
	to := v.target.borrow(node, k.pairDB)
	defer v.target.giveBack(to)
	return to.restore(ctx, k.name, string(payload), e.ExpireAt)
}

// remedy decides by what both sides hold now, not by what the report says they held.
func (v *verification) remedy(p *pair) (Remedy, string) {
	verdict, why := v.rules.judge(p)
	reason := why.String()
	switch {
	case verdict == Same:
		return RemedyNone, "it is the same now"
	case p.Source.Err != nil || p.Target.Err != nil:
		return RemedyNone, reason
	case verdict == Extra:
		return RemedyDelete, reason
	case verdict == Missing:
		return RemedyCopy, reason
	case p.Source.Type == p.Target.Type && v.rules.depth == DepthValue && v.rules.sameValue(&p.Source, &p.Target):
		return RemedyExpire, reason
	}
	return RemedyCopy, reason
}

// restore replaces whatever a key holds by the value.
func (r *reader) restore(ctx context.Context, name, payload string, expireAt int64) error {
	if r.node.facts.Number >= 50000 {
		_, err := r.one(ctx, "RESTORE", name, strconv.FormatInt(expireAt, 10), payload, "REPLACE", "ABSTTL")
		return err
	}
	return r.restoreAside(ctx, name, payload, expireAt)
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
func (v *verification) forTarget(ctx context.Context, payload string, from *node, to *reader) (string, error) {
	source, target := from.facts, to.node.facts
	if len(payload) > 0 {
		if err := refuseModule(payload[0], to.node); err != nil {
			return "", err
		}
	}
	if source.RDBVersion <= target.RDBVersion {
		return payload, nil
	}
	version, _, err := v.cfg.Target.AcceptedRDB(ctx, to.node.addr())
	if err != nil {
		return "", err
	}
	out, err := rdb.Encoder{Version: version, Max: 512 << 20}.Payload([]byte(payload))
	if err != nil {
		return "", fmt.Errorf("%s %s cannot store the value that %s %s has dumped: %w", target.Flavor, target.Version, source.Flavor, source.Version, err)
	}
	return string(out), nil
}

// restoreAside restores a key on a server that lacks ABSTTL (since 5.0) or REPLACE (since 3.0). It restores under another name of
// the same slot, which is then renamed to the key's name, so that a payload that is refused destroys nothing.
func (r *reader) restoreAside(ctx context.Context, name, payload string, expireAt int64) error {
	aside := keyspace.Prefix + ":repair:{" + keyspace.SlotTag(keyspace.Slot(name)) + "}:" + name
	steps := [][]string{{"DEL", aside}, {"RESTORE", aside, "0", payload}}
	if expireAt != 0 {
		steps = append(steps, []string{"PEXPIREAT", aside, strconv.FormatInt(expireAt, 10)})
	}
	for _, args := range append(steps, []string{"RENAME", aside, name}) {
		if _, err := r.one(ctx, args...); err != nil {
			return err
		}
	}
	return nil
}

// again compares the repaired keys once more. The report is about them alone.
func (v *verification) again(ctx context.Context, faults []fault) (*Report, error) {
	suspects, err := newSpill(v.cfg.TempDir, 1)
	if err != nil {
		return nil, err
	}
	defer suspects.close()
	for _, f := range faults {
		r := &record{keyID: f.keyID}
		if v.fixed { // the file is not read again
			r.flags = seen
			r.hold(&f.source)
		}
		if err := suspects.add(r); err != nil {
			return nil, err
		}
	}
	if err := v.resolve(ctx, suspects); err != nil {
		return nil, err
	}
	if err := v.locate(ctx); err != nil {
		return nil, err
	}
	for _, f := range faults {
		if !f.extra {
			continue
		}
		astray, err := v.straysOf(ctx, f.keyID)
		if err != nil {
			return nil, err
		}
		for _, n := range astray {
			v.target.addStray(n, f.pairDB, f.name)
		}
	}
	r := v.report(&keyspace.Selection{Repaired: true})
	r.Writes.Clients, r.Writes.ClientsWhy = v.clientWrites(ctx)
	r.URLs, r.Servers, r.LeftOut = v.cfg.URLs(), v.servers(), []string{}
	return r, nil
}
