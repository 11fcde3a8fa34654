package verifier

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"github.com/redis/rueidis"

	"surecut/internal/endpoint"
	"surecut/internal/keyspace"
)

// job is one remedy to be carried out.
type job struct {
	keyID
	seen   reading // what the source held when the remedy was found
	result *Repaired
}

// fails records why a job could not be done. An error of nil records nothing.
func (j *job) fails(err error) {
	if err != nil {
		j.result.Error = err.Error()
	}
}

// held is a key as the source holds it.
type held struct {
	present  bool
	expireAt int64
	payload  string // payload of DUMP, where the key is to be copied
	from     *node
	err      error // error that concerns this key alone
}

// carryOutAll carries out the jobs as far as it can. It returns an error only if the run was interrupted. While a migration feeds
// the target, a copied value would be newer than what the migration has applied, and the stream would be applied to it a second
// time. So remedies are then carried out while the link is stopped.
func (v *verification) carryOutAll(ctx context.Context, jobs []job) error {
	var standing []job
	for i := range jobs {
		j := &jobs[i]
		switch {
		case v.fixed:
			j.fails(v.carryOut(ctx, j, &held{present: j.seen.present(), expireAt: j.seen.ExpireAt}))
		case j.db < 0:
			j.fails(v.carryOut(ctx, j, &held{}))
		case v.cfg.Applier != nil:
			standing = append(standing, *j)
		default:
			j.fails(v.carryOutNow(ctx, j))
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
	if len(standing) == 0 {
		return nil
	}
	return v.carryOutStanding(ctx, standing)
}

// carryOutNow carries out a remedy according to what the source holds at this moment.
func (v *verification) carryOutNow(ctx context.Context, j *job) error {
	node, err := v.source.nodeOf(v.source.named(j.keyID))
	if err != nil {
		return err
	}
	got, _, err := v.hold(ctx, node, []job{*j}, false)
	if err != nil {
		return err
	}
	return v.carryOut(ctx, j, &got[0])
}

// standingKeys is how many keys are repaired at most while a link is stopped; fewer where they are large.
const standingKeys = 16

func (v *verification) carryOutStanding(ctx context.Context, jobs []job) error {
	links := v.cfg.Applier.Links()
	byLink := make([][]job, len(links))
	for i := range jobs {
		link := linkOf(links, v.source.dep.Slot(v.source.named(jobs[i].keyID)))
		if link < 0 {
			jobs[i].fails(errors.New("no shard of the running migration contains its slot"))
			continue
		}
		byLink[link] = append(byLink[link], jobs[i])
	}
	for link, jobs := range byLink {
		carry := func(some []job) ([]job, error) { return v.carryOutFrozen(ctx, link, links[link], some) }
		if err := inFrames(ctx, jobs, carry); err != nil {
			return err
		}
	}
	return nil
}

// inFrames hands jobs to carry, at most standingKeys at a time, until each is done or has failed. The function carry returns the
// jobs for which the link was not stopped long enough, and why. These are tried again, half as many at a time, so that a slow
// machine needs more frames but loses no key. A job that fails alone frameAttempts times in a row fails for good.
func inFrames(ctx context.Context, jobs []job, carry func([]job) ([]job, error)) error {
	most, alone := standingKeys, 0
	for len(jobs) > 0 {
		n := frameOf(jobs, most)
		left, err := carry(jobs[:n])
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		rest := jobs[n:]
		if len(left) == 1 && n == 1 {
			alone++
		} else {
			alone = 0
		}
		if alone == frameAttempts {
			left[0].fails(err)
			left, alone = nil, 0
		}
		if len(left) > 0 {
			most = max(1, n/2)
		}
		jobs = append(left[:len(left):len(left)], rest...)
	}
	return nil
}

// frameOf returns how many of the jobs fit into one frame by the size of their values, and no more than most.
func frameOf(jobs []job, most int) int {
	n, bytes := 0, int64(0)
	for n < min(len(jobs), most) && bytes < frameBytes {
		bytes += estimate(&record{t: jobs[n].seen.Type, fp: jobs[n].seen.FP})
		n++
	}
	return n
}

// standing is what the source held at one offset.
type standing struct {
	offset int64
	jobs   []job
	held   []held
}

// carryOutFrozen reads the keys on the source, each as of an offset, brings the target to exactly that offset, and writes the keys.
// It returns the jobs that it did not get to, because the link was not stopped or not long enough, and the reason.
func (v *verification) carryOutFrozen(ctx context.Context, index int, link AppliedLink, jobs []job) (left []job, err error) {
	node, err := v.source.linkNode(link)
	if err != nil {
		return jobs, err
	}
	frozen, err := v.freeze(ctx, index, link)
	if err != nil {
		return jobs, err
	}
	defer frozen.Release()
	ctx, cancel := context.WithTimeout(ctx, frameTimeout)
	defer cancel()
	var read []standing
	for _, group := range v.source.sameTransaction(jobs) {
		got, offset, herr := v.hold(ctx, node, group, true)
		if herr != nil {
			left, err = append(left, group...), herr
			continue
		}
		read = append(read, standing{offset, group, got})
	}
	for _, at := range read {
		if ctx.Err() != nil {
			left, err = append(left, at.jobs...), errors.New("the migration was not stopped for long enough")
			continue
		}
		ahead, aerr := frozen.ApplyTo(ctx, at.offset)
		if aerr != nil {
			left, err = append(left, at.jobs...), fmt.Errorf("apply what %s sent up to offset %d: %w", link.Shard, at.offset, aerr)
			continue
		}
		for i := range at.jobs {
			if slices.Contains(ahead, keyspace.Key{DB: at.jobs[i].db, Name: at.jobs[i].name}) { // the copy would be older than that
				left, err = append(left, at.jobs[i]), errors.New("the migration has copied it at a later offset")
				continue
			}
			werr := v.carryOut(ctx, &at.jobs[i], &at.held[i])
			if werr != nil && ctx.Err() != nil { // the key may or may not have been written: it is copied again
				left, err = append(left, at.jobs[i]), werr
				continue
			}
			at.jobs[i].fails(werr)
		}
	}
	return left, err
}

// sameTransaction groups jobs into those that one transaction of the source may read together.
func (s *side) sameTransaction(jobs []job) [][]job {
	records, of := make([]record, len(jobs)), map[keyID]job{}
	for i := range jobs {
		records[i].keyID, of[jobs[i].keyID] = jobs[i].keyID, jobs[i]
	}
	var out [][]job
	for _, group := range s.transactions(records) {
		var some []job
		for i := range group {
			some = append(some, of[group[i].keyID])
		}
		out = append(out, some)
	}
	return out
}

// hold reads keys of one database at one instant, with the payloads of those that are to be copied, and the offset of that instant
// if it is asked for.
func (v *verification) hold(ctx context.Context, node *node, jobs []job, offset bool) (out []held, at int64, err error) {
	r := v.source.borrow(node, jobs[0].db)
	defer v.source.giveBack(r)
	err = node.retry(ctx, v.cfg.Patience, func() (err error) {
		out, at, err = r.hold(ctx, v.source, jobs, offset)
		return err
	})
	return out, at, err
}

func (r *reader) hold(ctx context.Context, s *side, jobs []job, offset bool) ([]held, int64, error) {
	atomic := s.dep.Spec().Proxy == "" // such a proxy refuses MULTI, or requires WATCH before it
	results, err := r.do(ctx, func(b rueidis.Builder) rueidis.Commands {
		cmds := rueidis.Commands{command(b, "TIME")}
		for i := range jobs { // expiries are read first: DUMP of large values takes a while, in which the clock goes on
			cmds = append(cmds, command(b, r.heads.command(), s.named(jobs[i].keyID)))
		}
		for i := range jobs {
			if jobs[i].result.Remedy == RemedyCopy {
				cmds = append(cmds, command(b, "DUMP", s.named(jobs[i].keyID)))
			}
		}
		if offset {
			cmds = append(cmds, command(b, r.node.facts.OffsetCommand()...))
		}
		if atomic {
			cmds = append(append(rueidis.Commands{command(b, "MULTI")}, cmds...), command(b, "EXEC"))
		}
		return cmds
	})
	if err != nil {
		return nil, 0, err
	}
	replies, err := r.heldReplies(results, atomic)
	if err != nil {
		return nil, 0, err
	}
	at := int64(0)
	if offset {
		if at, err = endpoint.ParseOffset(replies[len(replies)-1]); err != nil {
			return nil, 0, fmt.Errorf("ask %s for its offset: %w", r.node.addr(), err)
		}
	}
	out, err := r.parseHeld(jobs, replies)
	return out, at, err
}

func (r *reader) heldReplies(results []rueidis.RedisResult, atomic bool) ([]rueidis.RedisMessage, error) {
	if atomic {
		return execReplies(results)
	}
	replies := make([]rueidis.RedisMessage, len(results))
	for i := range results {
		replies[i], _ = results[i].ToMessage() // the error is in the message
	}
	return replies, nil
}

func (r *reader) parseHeld(jobs []job, replies []rueidis.RedisMessage) ([]held, error) {
	now, err := timeOf(&replies[0])
	if err != nil {
		return nil, err
	}
	if r.heads.expireTimes {
		now = 0
	}
	out := make([]held, len(jobs))
	expiries := replies[1:]
	dumps := replies[1+len(jobs):]
	for i := range jobs {
		h := &out[i]
		h.from = r.node
		expiry, err := expiries[i].ToInt64()
		if err != nil {
			h.err = replyError(r.heads.command(), err)
		}
		if h.present = expiry != -2; expiry >= 0 {
			h.expireAt = max(now+expiry, 1)
		}
		if jobs[i].result.Remedy != RemedyCopy {
			continue
		}
		payload, err := dumps[0].ToString()
		dumps = dumps[1:]
		switch {
		case endpoint.IsNil(err):
			h.present = false
		case err != nil:
			h.err = replyError("DUMP", err)
		}
		h.payload = payload
	}
	return out, nil
}

// carryOut makes the target's key equal to what the source holds.
func (v *verification) carryOut(ctx context.Context, j *job, h *held) error {
	if h.err != nil {
		return h.err
	}
	node, err := v.target.nodeOf(j.name)
	if err != nil {
		return err
	}
	to := v.target.borrow(node, j.pairDB)
	defer v.target.giveBack(to)
	switch {
	case j.result.Remedy == RemedyDelete && h.present:
		j.result.Remedy, j.result.Why = RemedyNone, whyBack
	case j.result.Remedy == RemedyDelete:
		_, err = to.one(ctx, "DEL", j.name)
	case !h.present:
		err = errors.New("the source no longer has it")
	case j.result.Remedy == RemedyExpire && h.expireAt == 0:
		_, err = to.one(ctx, "PERSIST", j.name)
	case j.result.Remedy == RemedyExpire:
		_, err = to.one(ctx, "PEXPIREAT", j.name, strconv.FormatInt(h.expireAt, 10))
	default:
		var payload string
		if payload, err = v.forTarget(ctx, h.payload, h.from, to); err == nil {
			err = to.restore(ctx, j.name, payload, h.expireAt)
		}
	}
	return err
}
