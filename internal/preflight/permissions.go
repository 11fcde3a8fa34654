package preflight

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/redis/rueidis"

	"surecut/internal/endpoint"
)

const wantedPermissions = "the user may run every command that surecut sends"

func permissions(ctx context.Context, r *run) []Check {
	var checks []Check
	for _, s := range []*side{&r.source, &r.target} {
		if !s.open() {
			checks = append(checks, skip(s.name.String(), "the "+s.name.String()+" could not be opened, see connectivity", wantedPermissions))
			continue
		}
		if s.fronted() != nil {
			checks = append(checks, skip(s.name.String(), "the proxy does not report what a user may run", wantedPermissions))
			continue
		}
		nodes := s.nodes
		if s.name == endpoint.Target {
			nodes = s.primaries()
		}
		checks = append(checks, perNode(s, nodes, func(n *node) Check { return nodePermissions(ctx, s, n, r.cfg.Scans) })...)
	}
	return checks
}

func nodePermissions(ctx context.Context, s *side, n *node, scans bool) Check {
	server := n.server
	if n.infoErr != nil { // INFO itself is refused, so the version is not known
		server = endpoint.Server{Addr: n.addr, Number: 60000, Cluster: s.cluster(), Flavor: "redis"}
	}
	own, stream := SourceCommands(), []Command(nil)
	if s.name == endpoint.Target {
		own, stream = TargetCommands(), streamCommands(server)
	}
	own = slices.DeleteFunc(own, func(c Command) bool {
		return c.Proven || !c.sentTo(server) || scans && (c.Args[0] == "PSYNC" || c.Args[0] == "REPLCONF")
	})
	p := &prober{client: n.client, addr: n.addr, server: server, user: userName(s.spec), typed: scans && s.name == endpoint.Source}
	if err := p.probe(ctx, own, stream); err != nil {
		return skip("", oneLine(err), wantedPermissions)
	}
	acl := LeastACL(server, s.name)
	for _, name := range p.denied { // no category includes the commands of modules that write
		if acl != "" && ofModule(name) {
			acl += " " + aclRule(name)
		}
	}
	return p.judge(acl, len(own)+len(stream))
}

func userName(spec endpoint.Spec) string {
	if spec.Username == "" {
		return "default"
	}
	return spec.Username
}

// prober finds out what a user may run without running it: it queues commands in a transaction, which a server refuses at once with
// NOPERM where the user may not call them, and then discards the transaction. For commands that a transaction always refuses, it
// asks ACL DRYRUN (since 7.0).
type prober struct {
	client rueidis.Client
	addr   string
	server endpoint.Server
	user   string

	typed   bool // keys can be read by the commands of their types
	untyped bool // keys must be read in that way, because DUMP is refused

	denied    []string // commands that the ACL refuses
	unknown   []string // commands that the server does not know: renamed or disabled
	unchecked []string // commands for which neither way tells
	optional  []string // commands that are refused or unknown, but not needed
}

func (p *prober) probe(ctx context.Context, own, stream []Command) error {
	dc, _ := p.client.Dedicate()
	defer dc.Close() // closed and not released, because the connection may be inside a transaction
	var queued []Command
	for _, c := range own {
		var err error
		switch {
		case c.DryRun && p.server.Number < 70000: // no way to find out
		case c.DryRun:
			err = p.dryRun(ctx, c)
		case !c.Direct:
			queued = append(queued, c)
		case c.Args[0] != "MULTI" && c.Args[0] != "DISCARD": // both are sent below
			answer := dc.Do(ctx, build(dc, c)).Error()
			err = p.note(c, answer, !refused(answer))
		}
		if err != nil {
			return err
		}
	}
	multi := Command{Args: []string{"MULTI"}}
	if err := dc.Do(ctx, build(dc, multi)).Error(); err != nil {
		if err := p.note(multi, err, false); err != nil { // outside of a transaction, the queued commands would be executed
			return err
		}
		return p.withoutTransaction(ctx, dc, queued)
	}
	return p.queue(ctx, dc, queued, stream)
}

// withoutTransaction sends the harmless commands directly, and asks ACL DRYRUN about the others.
func (p *prober) withoutTransaction(ctx context.Context, dc rueidis.DedicatedClient, own []Command) error {
	for _, c := range own {
		ask := p.dryRun
		if c.Reads {
			ask = func(ctx context.Context, c Command) error {
				err := dc.Do(ctx, build(dc, c)).Error()
				return p.note(c, err, !refused(err))
			}
		}
		if err := ask(ctx, c); err != nil {
			return err
		}
	}
	return nil
}

// queue sends the commands into the open transaction and then discards it.
func (p *prober) queue(ctx context.Context, dc rueidis.DedicatedClient, own, stream []Command) error {
	var cmds []rueidis.Completed
	for _, c := range slices.Concat(own, stream) {
		cmds = append(cmds, build(dc, c))
	}
	discard := Command{Args: []string{"DISCARD"}}
	cmds = append(cmds, build(dc, discard))
	replies := dc.DoMulti(ctx, cmds...)
	for i, c := range own {
		if err := p.queuedReply(ctx, c, replies[i].Error()); err != nil {
			return err
		}
	}
	for i, c := range stream {
		err := replies[len(own)+i].Error()
		if err != nil && endpoint.Code(err) == "" && !endpoint.IsNil(err) {
			return fmt.Errorf("ask %s for permissions: %w", p.addr, err)
		}
		if refused(err) { // a command that the server does not know says nothing about permissions
			p.denied = append(p.denied, c.Name())
		}
	}
	err := replies[len(replies)-1].Error()
	return p.note(discard, err, !refused(err))
}

// refused says that the ACL forbids a command. For EXEC the server uses another code.
func refused(err error) bool {
	return endpoint.Code(err) == "NOPERM" || endpoint.Code(err) == "EXECABORT"
}

func build(dc rueidis.DedicatedClient, c Command) rueidis.Completed {
	return dc.B().Arbitrary(c.Args...).Build()
}

func (p *prober) queuedReply(ctx context.Context, c Command, err error) error {
	if endpoint.Code(err) != "ERR" {
		return p.note(c, err, !refused(err))
	}
	// Either the command is unknown, or a transaction refuses it (since 7.0) before it checks permissions.
	return p.dryRun(ctx, c)
}

// dryRun asks the server by ACL DRYRUN whether the user may run a command.
func (p *prober) dryRun(ctx context.Context, c Command) error {
	if p.server.Number < 70000 {
		p.unknown = p.add(p.unknown, c)
		return nil
	}
	reply, err := p.client.Do(ctx, p.client.B().Arbitrary("ACL", "DRYRUN", p.user).Args(c.Args...).Build()).ToString()
	switch {
	case err == nil && reply == "OK":
	case err == nil:
		p.denied = p.add(p.denied, c)
	case refused(err):
		if !c.Optional {
			p.unchecked = append(p.unchecked, c.Name())
		}
	case endpoint.Code(err) != "":
		p.unknown = p.add(p.unknown, c)
	default:
		return fmt.Errorf("ask %s for permissions: %w", p.addr, err)
	}
	return nil
}

// note records the outcome of one command. An error that is no reply ends the probing.
func (p *prober) note(c Command, err error, allowed bool) error {
	switch {
	case err != nil && endpoint.Code(err) == "" && !endpoint.IsNil(err):
		return fmt.Errorf("ask %s for permissions: %w", p.addr, err)
	case allowed:
	case refused(err):
		p.denied = p.add(p.denied, c)
	default:
		p.unknown = p.add(p.unknown, c)
	}
	return nil
}

func (p *prober) add(list []string, c Command) []string {
	if c.Args[0] == "DUMP" && p.typed {
		p.untyped = true
		return list
	}
	if c.Optional {
		p.optional = append(p.optional, c.Name())
		return list
	}
	return append(list, c.Name())
}

func (p *prober) judge(acl string, asked int) Check {
	var found []string
	say := func(what string, names []string) {
		if slices.Sort(names); len(names) > 0 {
			found = append(found, what+strings.Join(slices.Compact(names), ", "))
		}
	}
	say("refused: ", p.denied)
	say("unknown to the server (renamed or disabled): ", p.unknown)
	say("not checked, because ACL DRYRUN is refused: ", p.unchecked)
	say("refused, so some checks or ways of comparing are not available: ", p.optional)
	if p.untyped {
		found = append(found, "DUMP is refused, so keys are read by the commands of their types, and values of modules cannot be read")
	}
	text := strings.Join(found, "; ")
	switch {
	case len(p.denied)+len(p.unknown) > 0 && acl == "":
		return fail("", text, wantedPermissions, "remove the rename-command lines from the server's configuration")
	case len(p.denied)+len(p.unknown) > 0:
		return fail("", text, wantedPermissions, acl)
	case len(p.unchecked) > 0:
		return alarm("", text, wantedPermissions, acl)
	case len(found) > 0: // the checks that are skipped for this say so themselves
		return note("", text, wantedPermissions, acl)
	}
	return pass("", fmt.Sprintf("the user may run all %d commands", asked), wantedPermissions)
}
