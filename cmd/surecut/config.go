package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
	"go.yaml.in/yaml/v3"
)

// applyConfig sets flags that were not on the command line from the file named by --config. A key at the top level applies to every
// command that has such a flag. A key in a section with the name of a command ("migrate", "scan bigkeys") applies to that command
// only, and takes precedence. A key that matches no flag is an error.
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
	document := yaml.NewDecoder(bytes.NewReader(data))
	if err := document.Decode(&root); err != nil && !errors.Is(err, io.EOF) {
		return usageError("--config %s: %v", file, err)
	}
	if err := document.Decode(new(any)); !errors.Is(err, io.EOF) {
		return usageError("--config %s: the file holds more than one YAML document; only one is allowed", file)
	}
	known := flagNames(c.App)
	for _, section := range append([]any{root}, slices.Collect(maps.Values(root))...) {
		if m, ok := section.(map[string]any); ok {
			if err := flattenEndpoints(m, known[""]); err != nil {
				return usageError("--config %s: %v", file, err)
			}
		}
	}
	settings, err := settingsOf(root, strings.Join(path, " "), known)
	if err != nil {
		return usageError("--config %s: %v", file, err)
	}
	for _, name := range slices.Sorted(maps.Keys(settings)) {
		if err := setFromConfig(c, name, settings[name]); err != nil {
			return usageError("--config %s: %s: %v", file, name, err)
		}
	}
	return setUpLog(c.App.ErrWriter, c.String("log-level"), c.String("log-format"))
}

// settingsOf returns the settings in the file for one command. A key that matches no flag is an error, also in the sections of
// other commands.
func settingsOf(root map[string]any, command string, known map[string]map[string]bool) (map[string]any, error) {
	settings := map[string]any{}
	for _, key := range slices.Sorted(maps.Keys(root)) {
		section, isSection := root[key].(map[string]any)
		switch {
		case isSection && key != "" && known[key] != nil:
			for _, name := range slices.Sorted(maps.Keys(section)) {
				if !known[key][name] {
					return nil, fmt.Errorf("%s has no setting %q%s", key, name, nearest(name, slices.Sorted(maps.Keys(known[key]))))
				}
			}
		case !known[""][key]:
			likely := append(slices.Sorted(maps.Keys(known[""])), slices.Sorted(maps.Keys(known))...)
			return nil, fmt.Errorf("unknown key %q%s; a key must be the long name of a flag, or the name of a command that begins a section", key, nearest(key, likely))
		default:
			settings[key] = root[key]
		}
	}
	section, _ := root[command].(map[string]any)
	maps.Copy(settings, section)
	return settings, nil
}

// setFromConfig sets one flag to its value in the file, unless it was on the command line or the command does not have it.
func setFromConfig(c *cli.Context, name string, value any) error {
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
			texts, err := configTexts(f, value)
			if err != nil {
				return err
			}
			for _, text := range texts {
				if err := ctx.Set(name, text); err != nil && err.Error() == "parse error" {
					return fmt.Errorf("%q: must be %s", text, wantedBy(f))
				} else if err != nil {
					return err
				}
			}
			return nil
		}
	}
	return nil
}

// onCommandLine returns the names of the flags that the user gave. The first call, before any flag is set from the config file,
// records them.
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

// configTexts converts a value in the file to texts as on the command line. Only flags that may be given several times accept a
// list.
func configTexts(f cli.Flag, value any) ([]string, error) {
	several := false
	switch f := f.(type) {
	case *cli.StringSliceFlag, *cli.IntSliceFlag:
		several = true
	case *cli.GenericFlag:
		_, one := f.Value.(*sizeValue)
		several = !one
	}
	switch value := value.(type) {
	case nil:
		return nil, errors.New("the setting has no value; add a value, or remove the line")
	case []any:
		if !several {
			return nil, errors.New("the setting takes a single value, not a list")
		}
		return textsOf(value)
	case map[string]any:
		if !strings.HasSuffix(f.Names()[0], "-nat") {
			return nil, errors.New("the setting takes a value, not a block of settings")
		}
		var texts []string
		for _, k := range slices.Sorted(maps.Keys(value)) {
			texts = append(texts, fmt.Sprintf("%s=%v", k, value[k]))
		}
		return texts, nil
	}
	return textsOf([]any{value})
}

func textsOf(values []any) ([]string, error) {
	texts := make([]string, len(values))
	for i, v := range values {
		switch v.(type) {
		case string, int, int64, uint64, float64, bool:
			texts[i] = fmt.Sprint(v)
		default:
			return nil, fmt.Errorf("%v is not a text, a number, true or false", v)
		}
	}
	return texts, nil
}

// notInConfig lists the flags that have no meaning in a config file.
var notInConfig = map[string]bool{"config": true, "help": true, "h": true, "version": true, "v": true}

// flagNames returns the names of the flags of each command, by the command's path. The key "" has the flags of all commands.
func flagNames(app *cli.App) map[string]map[string]bool {
	known := map[string]map[string]bool{"": {}}
	add := func(path string, flags []cli.Flag) {
		if known[path] == nil {
			known[path] = map[string]bool{}
		}
		for _, f := range flags {
			for _, n := range f.Names() {
				if !notInConfig[n] {
					known[path][n], known[""][n] = true, true
				}
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
