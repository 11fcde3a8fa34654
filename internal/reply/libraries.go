package reply

import "github.com/redis/rueidis"

// Libraries reads a reply of FUNCTION LIST: the code of each library by name, which is "" unless the command was sent WITHCODE.
func Libraries(m *rueidis.RedisMessage) (map[string]string, error) {
	list, err := m.ToArray()
	if err != nil {
		return nil, err
	}
	codes := map[string]string{}
	for i := range list {
		f, err := FieldsOf(&list[i])
		if err != nil {
			return nil, err
		}
		name, err := field(f, "library_name", (*rueidis.RedisMessage).ToString)
		if err != nil {
			return nil, err
		}
		codes[name] = ""
		if code := f.Find("library_code"); code != nil {
			if codes[name], err = code.ToString(); err != nil {
				return nil, err
			}
		}
	}
	return codes, nil
}
