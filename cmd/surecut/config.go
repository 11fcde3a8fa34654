package main

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
	"go.yaml.in/yaml/v3"
)

// applyConfig sets the flags that the command line left alone from the file named by --config.
// A key at the top holds for every command that has such a flag; one in a section named as the command
// ("migrate", "scan bigkeys") holds for that command alone, and wins. A key that no flag answers to is an error.
func applyConfig(c *cli.Context, path []string) error {
	file := c.String("config")
	if file == "" {
		return nil
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return usageError("read --config: %v", err)
	}
	var root map[string]any
	if err := yaml.Unmarshal(data, &root); err != nil {
		return usageError("--config %s: %v", file, err)
	}
	known := flagNames(c.App)
	for _, section := range append([]any{root}, slices.Collect(maps.Values(root))...) {
		if m, ok := section.(map[string]any); ok {
			if err := flattenEndpoints(m, known[""]); err != nil {
				return usageError("--config %s: %v", file, err)
			}
		}
	}
	command := strings.Join(path, " ")
	for _, key := range slices.Sorted(maps.Keys(root)) {
		section, isSection := root[key].(map[string]any)
		switch {
		case isSection && known[key] != nil && !known[""][key]:
			for name := range section {
				if !known[key][name] {
					return usageError("--config %s: %s has no setting %q", file, key, name)
				}
			}
		case !known[""][key]:
			return usageError("--config %s: unknown key %q; keys are the long names of flags, or sections named as commands", file, key)
		case key != "config":
			if err := setFromConfig(c, file, key, root[key]); err != nil {
				return err
			}
		}
	}
	if section, ok := root[command].(map[string]any); ok {
		for _, name := range slices.Sorted(maps.Keys(section)) {
			if err := setFromConfig(c, file, name, section[name]); err != nil {
				return err
			}
		}
	}
	return setUpLog(c.App.ErrWriter, c.String("log-level"), c.String("log-format"))
}

// setFromConfig gives one flag its value from the file, unless the command line has set it or the command lacks it.
func setFromConfig(c *cli.Context, file, name string, value any) error {
	for _, ctx := range c.Lineage() {
		if ctx.Command == nil {
			continue
		}
		for _, f := range ctx.Command.Flags {
			if !slices.Contains(f.Names(), name) {
				continue
			}
			if onCommandLine(c)[name] {
				return nil
			}
			if side, isNodes := strings.CutSuffix(name, "-nodes"); isNodes && keepNodes(c, side, value) {
				return nil
			}
			for _, text := range configTexts(value) {
				if err := ctx.Set(name, text); err != nil {
					return usageError("--config %s: %s: %v", file, name, err)
				}
			}
			return nil
		}
	}
	return nil
}

// onCommandLine names the flags that the user gave before the config file was applied; it is taken once.
func onCommandLine(c *cli.Context) map[string]bool {
	if given, ok := c.App.Metadata["given"].(map[string]bool); ok {
		return given
	}
	given := map[string]bool{}
	if c.App.Metadata == nil {
		c.App.Metadata = map[string]any{}
	}
	for _, ctx := range c.Lineage() {
		for _, name := range ctx.LocalFlagNames() {
			given[name] = true
		}
	}
	c.App.Metadata["given"] = given
	return given
}

func configTexts(value any) []string {
	if m, ok := value.(map[string]any); ok { // a NAT map
		var texts []string
		for _, k := range slices.Sorted(maps.Keys(m)) {
			texts = append(texts, fmt.Sprintf("%s=%v", k, m[k]))
		}
		return texts
	}
	list, ok := value.([]any)
	if !ok {
		return []string{fmt.Sprint(value)}
	}
	texts := make([]string, len(list))
	for i, v := range list {
		texts[i] = fmt.Sprint(v)
	}
	return texts
}

// flagNames gives the flags of each command path; "" holds those of all.
func flagNames(app *cli.App) map[string]map[string]bool {
	known := map[string]map[string]bool{"": {}}
	add := func(path string, flags []cli.Flag) {
		if known[path] == nil {
			known[path] = map[string]bool{}
		}
		for _, f := range flags {
			for _, n := range f.Names() {
				known[path][n], known[""][n] = true, true
			}
		}
	}
	add("", app.Flags)
	var walk func(prefix string, cmds []*cli.Command)
	walk = func(prefix string, cmds []*cli.Command) {
		for _, cmd := range cmds {
			path := strings.TrimSpace(prefix + " " + cmd.Name)
			add(path, cmd.Flags)
			walk(path, cmd.Subcommands)
		}
	}
	walk("", app.Commands)
	return known
}
