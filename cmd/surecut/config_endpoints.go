package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
)

// flattenEndpoints replaces an endpoint that is written as a block by the flags that it stands for: in the block "source", url
// stands for --source, and ssh-key for --source-ssh-key.
func flattenEndpoints(section map[string]any, known map[string]bool) error {
	for _, side := range []string{"source", "target", "trial"} {
		block, ok := section[side].(map[string]any)
		if !ok {
			continue
		}
		delete(section, side)
		for _, key := range slices.Sorted(maps.Keys(block)) {
			name := side + "-" + key
			switch {
			case key == "url":
				name = side
			case !known[name]:
				var settings []string
				for flag := range known {
					if setting, ok := strings.CutPrefix(flag, side+"-"); ok {
						settings = append(settings, setting)
					}
				}
				slices.Sort(settings)
				return fmt.Errorf("%s has no setting %q%s; its settings are url and the flags that begin with --%s-", side, key, nearest(key, append(settings, "url")), side)
			}
			if _, twice := section[name]; twice {
				return fmt.Errorf("%s in the block %s is also set outside of it as %s; remove one of the two", key, side, name)
			}
			section[name] = block[key]
		}
	}
	return nil
}

// keepNodes keeps a node list that is part of the config itself, as a list or as a text of several lines. It returns false for a
// text of one line, which is the name of a file.
func keepNodes(c *cli.Context, side string, value any) bool {
	list, isList := value.([]any)
	if !isList {
		list = []any{value}
	}
	lines, err := textsOf(list)
	text := strings.Join(lines, "\n")
	if err != nil || !isList && !strings.Contains(text, "\n") {
		return false
	}
	c.App.Metadata["nodes of "+side] = text
	return true
}

// configNodes returns the node list for a side in the config, or "" if there is none.
func configNodes(c *cli.Context, side string) string {
	text, _ := c.App.Metadata["nodes of "+side].(string)
	return text
}
