package verifier

import (
	"context"
	"errors"
	"fmt"
	"slices"

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
func (p *repairer) carryOutAll(ctx context.Context, jobs []job) error {
	var standing []job
	for i := range jobs {
		j := &jobs[i]
		switch {
		case p.fixed:
			j.fails(p.carryOut(ctx, j, &held{present: j.seen.present(), expireAt: j.seen.ExpireAt}))
		case j.db < 0:
			j.fails(p.carryOut(ctx, j, &held{}))
		case p.cfg.Applier != nil:
			standing = append(standing, *j)
		default:
			j.fails(p.carryOutNow(ctx, j))
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
	if len(standing) == 0 {
		return nil
	}
	return p.carryOutStanding(ctx, standing)
}

// carryOutNow carries out a remedy according to what the source holds at this moment.
func (p *repairer) carryOutNow(ctx context.Context, j *job) error {
	node, err := p.source.nodeOf(p.source.named(j.keyID))
	if err != nil {
		return err
	}
	got, _, err := p.hold(ctx, node, []job{*j}, false)
	if err != nil {
		return err
	}
	return p.carryOut(ctx, j, &got[0])
}

// standingKeys is how many keys are repaired at most while a link is stopped; fewer where they are large.
const standingKeys = 16

func (p *repairer) carryOutStanding(ctx context.Context, jobs []job) error {
	links := p.cfg.Applier.Links()
	byLink := make([][]job, len(links))
	for i := range jobs {
		link := linkOf(links, p.source.dep.Slot(p.source.named(jobs[i].keyID)))
		if link < 0 {
			jobs[i].fails(errors.New("no shard of the running migration contains its slot"))
			continue
		}
		byLink[link] = append(byLink[link], jobs[i])
	}
	for link, jobs := range byLink {
		carry := func(some []job) ([]job, error) { return p.carryOutFrozen(ctx, link, links[link], some) }
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
func (p *repairer) carryOutFrozen(ctx context.Context, index int, link AppliedLink, jobs []job) (left []job, err error) {
	node, err := p.source.linkNode(link)
	if err != nil {
		return jobs, err
	}
	frozen, err := p.links.freeze(ctx, index, link)
	if err != nil {
		return jobs, err
	}
	defer frozen.Release()
	ctx, cancel := context.WithTimeout(ctx, frameTimeout)
	defer cancel()
	var read []standing
	for _, group := range p.source.sameTransaction(jobs) {
		got, offset, herr := p.hold(ctx, node, group, true)
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
			werr := p.carryOut(ctx, &at.jobs[i], &at.held[i])
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
func (p *repairer) hold(ctx context.Context, node *node, jobs []job, offset bool) (out []held, at int64, err error) {
	r := p.source.borrow(node, jobs[0].db)
	defer p.source.giveBack(r)
	h := holder{r, p.source, jobs, offset}
	err = node.retry(ctx, p.cfg.Patience, func() (err error) {
		out, at, err = h.read(ctx)
		return err
	})
	return out, at, err
}

// holder reads keys of one database of the source at one instant.
type holder struct {
	*reader
	source *side
	jobs   []job
	offset bool // the offset of the instant is asked for
}

func (h *holder) read(ctx context.Context) ([]held, int64, error) {
	atomic := h.source.dep.Spec().Proxy == "" // such a proxy refuses MULTI, or requires WATCH before it
	results, err := h.do(ctx, func(b rueidis.Builder) rueidis.Commands {
		cmds := rueidis.Commands{command(b, "TIME")}
		for i := range h.jobs { // expiries are read first: DUMP of large values takes a while, in which the clock goes on
			cmds = append(cmds, command(b, h.heads.command(), h.source.named(h.jobs[i].keyID)))
		}
		for i := range h.jobs {
			if h.jobs[i].result.Remedy == RemedyCopy {
				cmds = append(cmds, command(b, "DUMP", h.source.named(h.jobs[i].keyID)))
			}
		}
		if h.offset {
			cmds = append(cmds, command(b, h.node.facts.OffsetCommand()...))
		}
		if atomic {
			cmds = append(append(rueidis.Commands{command(b, "MULTI")}, cmds...), command(b, "EXEC"))
		}
		return cmds
	})
	if err != nil {
		return nil, 0, err
	}
	replies, err := heldReplies(results, atomic)
	if err != nil {
		return nil, 0, err
	}
	at := int64(0)
	if h.offset {
		if at, err = endpoint.ParseOffset(replies[len(replies)-1]); err != nil {
			return nil, 0, fmt.Errorf("ask %s for its offset: %w", h.node.addr(), err)
		}
	}
	out, err := h.parse(replies)
	return out, at, err
}

func heldReplies(results []rueidis.RedisResult, atomic bool) ([]rueidis.RedisMessage, error) {
	if atomic {
		return execReplies(results)
	}
	replies := make([]rueidis.RedisMessage, len(results))
	for i := range results {
		replies[i], _ = results[i].ToMessage() // the error is in the message
	}
	return replies, nil
}

func (h *holder) parse(replies []rueidis.RedisMessage) ([]held, error) {
	now, err := timeOf(&replies[0])
	if err != nil {
		return nil, err
	}
	if h.heads.expireTimes {
		now = 0
	}
	out := make([]held, len(h.jobs))
	expiries := replies[1:]
	dumps := replies[1+len(h.jobs):]
	for i := range h.jobs {
		got := &out[i]
		got.from = h.node
		expiry, err := expiries[i].ToInt64()
		if err != nil {
			got.err = replyError(h.heads.command(), err)
		}
		if got.present = expiry != -2; expiry >= 0 {
			got.expireAt = max(now+expiry, 1)
		}
		if h.jobs[i].result.Remedy != RemedyCopy {
			continue
		}
		payload, err := dumps[0].ToString()
		dumps = dumps[1:]
		switch {
		case endpoint.IsNil(err):
			got.present = false
		case err != nil:
			got.err = replyError("DUMP", err)
		}
		got.payload = payload
	}
	return out, nil
}

// carryOut makes the target's key equal to what the source holds.
func (p *repairer) carryOut(ctx context.Context, j *job, h *held) error {
	if h.err != nil {
		return h.err
	}
	node, err := p.target.nodeOf(j.name)
	if err != nil {
		return err
	}
	to := p.target.borrow(node, j.pairDB)
	defer p.target.giveBack(to)
	write := keyWriter{to.conn}
	switch {
	case j.result.Remedy == RemedyDelete && h.present:
		j.result.Remedy, j.result.Why = RemedyNone, whyBack
	case j.result.Remedy == RemedyDelete:
		err = write.delete(ctx, j.name)
	case !h.present:
		err = errors.New("the source no longer has it")
	case j.result.Remedy == RemedyExpire:
		err = write.expire(ctx, j.name, h.expireAt)
	default:
		var payload string
		if payload, err = p.forTarget(ctx, h.payload, h.from, to.node); err == nil {
			err = write.restore(ctx, j.name, payload, h.expireAt)
		}
	}
	return err
}
