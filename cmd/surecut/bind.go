package main

import (
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v2"
)

// binding makes the flags of a command. A flag writes into the field that it sets, and what the field holds before is the flag's default:
// a setting has its default, its flag and its place in one line.
type binding struct {
	options reflect.Value // of the command, which hold the fields
	flags   []cli.Flag
	flagOf  map[string]string // the flag of each field, by the type that holds the field: Config.StateDir
	wrong   []error           // values that cannot be read, beside those that urfave/cli refuses
}

// bind begins the flags of a command whose options are a struct, with those that are bound to no field.
func bind[O any](options *O, flags ...[]cli.Flag) *binding {
	b := &binding{options: reflect.ValueOf(options).Elem(), flagOf: map[string]string{}}
	for _, more := range flags {
		b.flags = append(b.flags, more...)
	}
	return b
}

func (b *binding) add(name string, field any, f cli.Flag) {
	b.flags = append(b.flags, f)
	at := reflect.ValueOf(field).Elem()
	path := pathOf(b.options, at)
	if path == "" {
		panic("flag --" + name + " is bound to a field outside of its options")
	}
	b.flagOf[path] = "--" + name
}

// pathOf returns the name of a field that lies in a struct or in one of its structs, with the type that holds it; "" where there is none.
func pathOf(options, field reflect.Value) string {
	for i := range options.NumField() {
		f := options.Field(i)
		switch {
		case f.Kind() == field.Kind() && f.UnsafeAddr() == field.UnsafeAddr():
			return options.Type().Name() + "." + options.Type().Field(i).Name
		case f.Kind() == reflect.Struct:
			if path := pathOf(f, field); path != "" {
				return path
			}
		}
	}
	return ""
}

func (b *binding) text(name string, field *string, usage string) {
	b.add(name, field, &cli.StringFlag{Name: name, Value: *field, Destination: field, Usage: usage})
}

func (b *binding) yes(name string, field *bool, usage string) {
	b.add(name, field, &cli.BoolFlag{Name: name, Destination: field, Usage: usage})
}

func (b *binding) number(name string, field *int, usage string) {
	b.add(name, field, &cli.IntFlag{Name: name, Value: *field, Destination: field, Usage: usage})
}

func (b *binding) duration(name string, field *time.Duration, usage string) {
	b.add(name, field, &cli.DurationFlag{Name: name, Value: *field, Destination: field, Usage: usage})
}

// bytes takes a number of bytes with a unit.
func (b *binding) bytes(name string, field *int64, usage string) {
	b.add(name, field, &cli.GenericFlag{Name: name, Value: &sizeValue{b: b, name: name, field: (*size)(field)}, Usage: usage})
}

// words takes texts that commas separate, and may be given several times.
func (b *binding) words(name string, field *[]string, usage string) {
	b.add(name, field, &cli.GenericFlag{Name: name, Value: (*words)(field), Usage: usage})
}

// size is a number of bytes, as in 1048576, 64KiB, 16MiB or 2GiB.
type size int64

var units = []struct {
	name  string
	bytes int64
}{{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}, {"GB", 1000_000_000}, {"MB", 1000_000}, {"KB", 1000}}

func (s *size) read(text string) error {
	number, unit := text, int64(1)
	for _, u := range units {
		if rest, ok := strings.CutSuffix(text, u.name); ok {
			number, unit = rest, u.bytes
		}
	}
	n, err := strconv.ParseInt(strings.TrimSpace(number), 10, 64)
	if err != nil || n < 0 || n > (1<<62)/unit {
		return fmt.Errorf("%q: want bytes, or a number with KiB, MiB or GiB", text)
	}
	*s = size(n * unit)
	return nil
}

// String is empty for none, as --help then names no default.
func (s *size) String() string {
	for _, u := range units {
		if n := int64(*s); n > 0 && n%u.bytes == 0 {
			return fmt.Sprintf("%d%s", n/u.bytes, u.name)
		}
	}
	if *s == 0 {
		return ""
	}
	return strconv.FormatInt(int64(*s), 10)
}

// sizeValue is the value of a flag that takes a size. What it cannot read is told with all else that is wrong, in the report as well.
type sizeValue struct {
	b     *binding
	name  string
	field *size
}

func (v *sizeValue) Set(text string) error {
	if err := v.field.read(text); err != nil {
		v.b.wrong = append(v.b.wrong, fmt.Errorf("--%s: %w", v.name, err))
	}
	return nil
}

func (v *sizeValue) String() string {
	if v.field == nil { // of a zero value, which the flag package makes
		return ""
	}
	return v.field.String()
}

type words []string

func (w *words) Set(text string) error {
	for word := range strings.SplitSeq(text, ",") {
		*w = append(*w, strings.TrimSpace(word))
	}
	return nil
}

func (w *words) String() string { return strings.Join(*w, ",") }
