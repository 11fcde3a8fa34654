package dataset

import (
	"context"
	"fmt"
	"maps"
	"slices"
)

// libraries are the functions of the data set (7.0 and later), by name.
var libraries = map[string]string{
	"surecut_counter": "#!lua name=surecut_counter\nredis.register_function('counter_add', function(keys, args) return redis.call('INCRBY', keys[1], args[1]) end)",
	"surecut_echo":    "#!lua name=surecut_echo\nredis.register_function{function_name='echo_value', callback=function(keys, args) return redis.call('GET', keys[1]) end, flags={'no-writes'}}",
}

// LoadFunctions loads the function libraries on every primary, where the server has functions, and where the data will go too.
func LoadFunctions(ctx context.Context, s, to *Side) error {
	if !(fits{s, to}).command("FUNCTION") {
		return nil
	}
	for _, addr := range s.primaries {
		c, err := s.node(addr)
		if err != nil {
			return err
		}
		for _, name := range sortedKeys(libraries) {
			if err := c.Do(ctx, c.B().Arbitrary("FUNCTION", "LOAD", "REPLACE", libraries[name]).Build()).Error(); err != nil {
				return fmt.Errorf("load function library %s at %s: %w", name, addr, err)
			}
		}
	}
	return nil
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
