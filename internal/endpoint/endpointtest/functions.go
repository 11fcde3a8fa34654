package endpointtest

import (
	"maps"
	"regexp"
	"slices"
	"strings"

	"surecut/internal/rdb"
)

// Libraries returns the code of the server's function libraries, by name.
func (s *Server) Libraries() map[string]string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.libraries)
}

var (
	libraryName = regexp.MustCompile(`^#!lua name=(\w+)`)
	registered  = regexp.MustCompile(`register_function\('(\w+)'`)
)

// function answers FUNCTION. It runs no code, and takes the names of functions from the calls that register them.
func function(c *client, a []string) string {
	switch sub := strings.ToUpper(a[1]); {
	case sub == "LIST":
		var list []string
		for _, name := range slices.Sorted(maps.Keys(c.s.libraries)) {
			list = append(list, Strings("library_name", name, "library_code", c.s.libraries[name]))
		}
		return Array(list...)
	case sub == "LOAD" && len(a) > 2:
		return c.loadLibrary(a[len(a)-1], strings.EqualFold(a[2], "REPLACE"))
	case sub == "DELETE" && len(a) == 3:
		if _, there := c.s.libraries[a[2]]; !there {
			return "-ERR Library not found\r\n"
		}
		delete(c.s.libraries, a[2])
	case sub == "FLUSH":
		clear(c.s.libraries)
	case sub == "RESTORE" && len(a) > 2:
		return c.restoreLibraries(a[2], strings.ToUpper(strings.Join(a[3:], "")))
	default:
		return "-ERR unknown subcommand '" + a[1] + "'. Try FUNCTION HELP.\r\n"
	}
	return "+OK\r\n"
}

func (c *client) restoreLibraries(payload, policy string) string {
	codes, err := rdb.Libraries([]byte(payload))
	if err != nil {
		return "-ERR " + err.Error() + "\r\n"
	}
	if policy == "FLUSH" {
		clear(c.s.libraries)
	}
	for _, code := range codes {
		if reply := c.loadLibrary(code, policy == "REPLACE"); strings.HasPrefix(reply, "-") {
			return reply
		}
	}
	return "+OK\r\n"
}

func (c *client) loadLibrary(code string, replace bool) string {
	found := libraryName.FindStringSubmatch(code)
	if found == nil {
		return "-ERR Missing library metadata\r\n"
	}
	name := found[1]
	if _, there := c.s.libraries[name]; there && !replace {
		return "-ERR Library '" + name + "' already exists\r\n"
	}
	for other, theirs := range c.s.libraries {
		for _, f := range registered.FindAllStringSubmatch(code, -1) {
			if other != name && strings.Contains(theirs, f[0]) {
				return "-ERR Function " + f[1] + " already exists\r\n"
			}
		}
	}
	if c.s.libraries == nil {
		c.s.libraries = map[string]string{}
	}
	c.s.libraries[name] = code
	return Bulk(name)
}
