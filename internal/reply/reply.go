package reply

import (
	"fmt"
	"strconv"
	"time"

	"github.com/redis/rueidis"
)

// parts returns the elements of an array, which must have the given number of elements.
func parts(m *rueidis.RedisMessage, want int) ([]rueidis.RedisMessage, error) {
	list, err := m.ToArray()
	if err == nil && len(list) != want {
		err = fmt.Errorf("the reply has %d parts instead of %d", len(list), want)
	}
	return list, err
}

// Time reads a reply of TIME: seconds and microseconds. If it returns an error, the time is the beginning of Unix time.
func Time(m *rueidis.RedisMessage) (time.Time, error) {
	none := time.Unix(0, 0)
	list, err := parts(m, 2)
	if err != nil {
		return none, err
	}
	var n [2]int64
	for i, most := range []int64{1 << 40, 999_999} {
		text, err := list[i].ToString()
		if err == nil {
			n[i], err = strconv.ParseInt(text, 10, 64)
		}
		if err != nil {
			return none, fmt.Errorf("a time of %q: %w", text, err)
		}
		if n[i] < 0 || n[i] > most {
			return none, fmt.Errorf("a time of %q is out of range", text)
		}
	}
	return time.Unix(n[0], n[1]*1000), nil
}

// Scan reads a page of SCAN, SSCAN, HSCAN or ZSCAN, and the cursor of the next page, which is "0" after the last one.
func Scan(m *rueidis.RedisMessage) (cursor string, page []rueidis.RedisMessage, err error) {
	list, err := parts(m, 2)
	if err != nil {
		return "", nil, err
	}
	if cursor, err = list[0].ToString(); err != nil {
		return "", nil, err
	}
	if _, err := strconv.ParseUint(cursor, 10, 64); err != nil {
		return "", nil, fmt.Errorf("the cursor of a scan: %w", err)
	}
	page, err = list[1].ToArray()
	return cursor, page, err
}

// Texts reads an array of strings.
func Texts(list []rueidis.RedisMessage) ([]string, error) {
	texts := make([]string, len(list))
	for i := range list {
		var err error
		if texts[i], err = list[i].ToString(); err != nil {
			return nil, err
		}
	}
	return texts, nil
}

// Fields holds names and values in turn, as XINFO lists them.
type Fields []rueidis.RedisMessage

// FieldsOf reads a reply of names and values.
func FieldsOf(m *rueidis.RedisMessage) (Fields, error) {
	list, err := m.ToArray()
	if err == nil && len(list)%2 != 0 {
		err = fmt.Errorf("the reply has %d parts, which are not pairs of names and values", len(list))
	}
	return list, err
}

// Find returns the value of a field, or nil if the server does not tell it.
func (f Fields) Find(name string) *rueidis.RedisMessage {
	for i := 0; i+1 < len(f); i += 2 {
		if s, err := f[i].ToString(); err == nil && s == name {
			return &f[i+1]
		}
	}
	return nil
}

// field reads the value of a field that every server version tells.
func field[T any](f Fields, name string, read func(*rueidis.RedisMessage) (T, error)) (value T, err error) {
	m := f.Find(name)
	if m == nil {
		return value, fmt.Errorf("the reply of the server lacks %s", name)
	}
	if value, err = read(m); err != nil {
		err = fmt.Errorf("%s: %w", name, err)
	}
	return value, err
}

// Int returns the value of a field that is a number.
func (f Fields) Int(name string) (int64, error) {
	return field(f, name, (*rueidis.RedisMessage).ToInt64)
}

// Array returns the value of a field that is a list.
func (f Fields) Array(name string) ([]rueidis.RedisMessage, error) {
	return field(f, name, (*rueidis.RedisMessage).ToArray)
}

// Counts says whether one field tells the number of elements that another one holds. XINFO STREAM FULL leaves out elements beyond
// its COUNT.
func (f Fields) Counts(count, list string) bool {
	n, err1 := f.Int(count)
	elements, err2 := f.Array(list)
	return err1 == nil && err2 == nil && n == int64(len(elements))
}
