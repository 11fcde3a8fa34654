package main

import (
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v2"
)

// binding builds the flags of a command. Each flag writes into the field that it is bound to, and the value that the field has
// before is the flag's default. So one line holds a setting's flag, its field and its usage.
type binding struct {
	options reflect.Value // the options struct of the command, which contains the fields
	flags   []cli.Flag
	flagOf  map[string]string // the flag of each field, by the field's name with its struct, such as Config.StateDir
	wrong   []error           // errors for values that cannot be read, in addition to those that urfave/cli refuses
}

// bind begins the flags of a command with an options struct. The given flags are bound to no field.
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

// pathOf returns the name of a field of a struct or of one of its nested structs, preceded by the type that contains the field. It
// returns "" if there is no such field.
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

// bytes adds a flag that takes a number of bytes with a unit.
func (b *binding) bytes(name string, field *int64, usage string) {
	b.add(name, field, &cli.GenericFlag{Name: name, Value: &sizeValue{b: b, name: name, field: (*size)(field)}, Usage: usage})
}

// words adds a flag that takes texts separated by commas, and may be given several times.
func (b *binding) words(name string, field *[]string, usage string) {
	b.add(name, field, &cli.GenericFlag{Name: name, Value: (*words)(field), Usage: usage})
}

// size is a number of bytes, written like 1048576, 64KiB, 16MiB or 2GiB.
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
		return fmt.Errorf("%q: must be a number of bytes, or a number with KiB, MiB or GiB", text)
	}
	*s = size(n * unit)
	return nil
}

// String returns "" for 0, since --help then shows no default.
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

// sizeValue is the value of a flag that takes a size. A size that it cannot read is collected in the binding, so that it is
// reported together with all other errors in the options.
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
	if v.field == nil { // The flag package calls String on a zero value.
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
