package preflight

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"

	"surecut/internal/command"
	"surecut/internal/endpoint"
)

// renamedCommands says which writing commands the source has under other names than surecut knows, if there are any. They come in its stream
// under these names.
func renamedCommands(ctx context.Context, r *run) []Check {
	checks := perNode(&r.source, r.source.primaries(), func(n *node) Check {
		const wanted = "every writing command has the name that surecut knows"
		own, err := commandList(ctx, n, "COMMAND")
		if err != nil {
			return skip("", "COMMAND: "+oneLine(err), wanted)
		}
		var names []string
		for name := range own {
			if writers()[name] {
				names = append(names, name)
			}
		}
		found, err := commandList(ctx, n, append([]string{"COMMAND", "INFO"}, names...)...)
		if err != nil {
			return skip("", "COMMAND INFO: "+oneLine(err), wanted)
		}
		return judgeNames(own, found, len(r.cfg.Filter.DBPrefix) > 0, r.target.sharded() || len(r.cfg.Filter.Include)+len(r.cfg.Filter.Exclude) > 0, wanted)
	})
	return slices.DeleteFunc(checks, func(c Check) bool { return c.Result == Pass })
}

// writers returns the names, in lower case, of all commands that may be in a stream since they or one of their subcommands write.
var writers = sync.OnceValue(func() map[string]bool {
	names := map[string]bool{}
	for _, spec := range command.All() {
		name, _, _ := strings.Cut(spec.Name, " ")
		if spec.Write && !slices.Contains(neverStreamed, name) {
			names[strings.ToLower(name)] = true
		}
	}
	return names
})

// commandList returns the commands in a reply of COMMAND or COMMAND INFO, by the names in lower case that servers give them at first, and
// whether each writes. A command that was renamed is in the reply to COMMAND, and not in that to COMMAND INFO with its first name.
func commandList(ctx context.Context, n *node, args ...string) (map[string]bool, error) {
	list, err := n.client.Do(ctx, endpoint.Arbitrary(n.client, args...)).ToArray()
	if err != nil {
		return nil, err
	}
	writes := map[string]bool{}
	for _, m := range list {
		if m.IsNil() {
			continue
		}
		facts, err := m.ToArray()
		if err != nil || len(facts) < 3 {
			continue
		}
		name, _ := facts[0].ToString()
		flags, _ := facts[2].AsStrSlice()
		writes[strings.ToLower(name)] = slices.Contains(flags, "write")
	}
	return writes, nil
}

// judgeNames compares the commands that a source has with those that it has under their first names.
func judgeNames(own, found map[string]bool, prefixed, routed bool, wanted string) Check {
	var renamed, unknown []string
	for name, writes := range own {
		_, known := command.LookupName(name)
		_, there := found[name]
		switch {
		case writers()[name] && !there:
			renamed = append(renamed, strings.ToUpper(name))
		case !known && writes:
			unknown = append(unknown, strings.ToUpper(name))
		}
	}
	slices.Sort(renamed)
	slices.Sort(unknown)
	text := ""
	if len(renamed) > 0 {
		text = fmt.Sprintf("rename-command has changed the names of %s", some(renamed))
	}
	if len(unknown) > 0 {
		text = strings.TrimPrefix(text+fmt.Sprintf("; surecut does not know %s, which write", some(unknown)), "; ")
	}
	switch {
	case text == "":
		return pass("", "no writing command that surecut does not know", wanted)
	case len(renamed) > 0 && prefixed, len(unknown) > 0 && prefixed:
		return alarm("", text+"; their keys get no prefix (Filter.DBPrefix), so that each use is a problem", wanted,
			"remove the rename-command lines from the source's configuration, or do not use Filter.DBPrefix")
	case len(unknown) > 0 && routed:
		return alarm("", text+"; the keys that they name are copied each time, and those that they do not name may differ", wanted, "see that the target has the module of these commands, and verify their keys")
	case len(unknown) > 0:
		return note("", text+"; they are passed on as they are", wanted, "see that the target has the module of these commands")
	}
	return note("", text+"; surecut asks the source for their first names, under which they arrive", wanted, "")
}

// some lists names, the first few of many.
func some(names []string) string {
	const shown = 8
	if len(names) > shown {
		return strings.Join(names[:shown], ", ") + more(len(names)-shown)
	}
	return strings.Join(names, ", ")
}
