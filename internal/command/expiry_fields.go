package command

// rewriteFieldExpire rewrites HEXPIRE and HPEXPIRE key n [NX|XX|GT|LT] FIELDS numfields field ...
func rewriteFieldExpire(dst [][][]byte, args [][]byte, nowMs int64, _ *Dialect) ([][][]byte, bool) {
	if len(args) < 6 {
		return dst, false
	}
	unit := relativeSeconds
	if isWord(args[0], "HPEXPIRE") {
		unit = relativeMillis
	}
	at, ok := absolute(unit, args[2], nowMs)
	if !ok {
		return dst, false
	}
	cmd := append([][]byte{word("HPEXPIREAT"), args[1], decimal(at)}, args[3:]...)
	return append(dst, cmd), true
}

// rewriteFieldGetEx rewrites HGETEX key [EX s|PX ms|EXAT s|PXAT ms|PERSIST] FIELDS numfields field ...
func rewriteFieldGetEx(dst [][][]byte, args [][]byte, nowMs int64, _ *Dialect) ([][][]byte, bool) {
	if len(args) < 6 {
		return dst, false
	}
	if isWord(args[2], "PERSIST") {
		return append(dst, append([][]byte{word("HPERSIST"), args[1]}, args[3:]...)), true
	}
	unit := expiryUnit(args[2])
	if unit == "" {
		return dst, false
	}
	at, ok := absolute(unit, args[3], nowMs)
	if !ok {
		return dst, false
	}
	return append(dst, append([][]byte{word("HPEXPIREAT"), args[1], decimal(at)}, args[4:]...)), true
}

// rewriteFieldSetEx rewrites HSETEX key [FNX|FXX] [EX s|PX ms|EXAT s|PXAT ms|KEEPTTL] FIELDS numfields field value ... The
// conditions apply to all fields together, so a propagated command met them.
func rewriteFieldSetEx(dst [][][]byte, args [][]byte, nowMs int64, d *Dialect) ([][][]byte, bool) {
	if len(args) < 6 {
		return dst, false
	}
	at, unit, condition, keepTTL := noExpiry, "", false, false
	i := 2
	for ; i < len(args) && !isWord(args[i], "FIELDS"); i++ {
		switch {
		case isWord(args[i], "FNX"), isWord(args[i], "FXX"):
			condition = true
		case isWord(args[i], "KEEPTTL"):
			keepTTL = true
		default:
			if unit = expiryUnit(args[i]); unit == "" || i+1 >= len(args) {
				return dst, false
			}
			i++
			var ok bool
			if at, ok = absolute(unit, args[i], nowMs); !ok {
				return dst, false
			}
		}
	}
	if i+2 > len(args) {
		return dst, false
	}
	pairs := args[i+2:]
	if n, ok := parseInt(args[i+1]); !ok || n < 1 || n != int64(len(pairs)/2) || len(pairs)%2 != 0 {
		return dst, false
	}
	modern := d.Knows("HSETEX") || keepTTL || unit != "" && !d.Knows("HPEXPIREAT")
	switch {
	case modern && !condition && (unit == "" || unit == absoluteMillis):
		return dst, false
	case modern:
		return append(dst, hashSetEx(args[1], at, keepTTL, args[i:])), true
	}
	name := "HSET"
	if !d.Has(HashSetMany) {
		name = "HMSET"
	}
	dst = append(dst, append([][]byte{word(name), args[1]}, pairs...))
	if unit == "" {
		return dst, true
	}
	expire := [][]byte{word("HPEXPIREAT"), args[1], decimal(at), word("FIELDS"), args[i+1]}
	for f := 0; f < len(pairs); f += 2 {
		expire = append(expire, pairs[f])
	}
	return append(dst, expire), true
}

func hashSetEx(key []byte, at int64, keepTTL bool, fields [][]byte) [][]byte {
	cmd := [][]byte{word("HSETEX"), key}
	if keepTTL {
		cmd = append(cmd, word("KEEPTTL"))
	}
	if at != noExpiry {
		cmd = append(cmd, word(absoluteMillis), decimal(at))
	}
	return append(cmd, fields...)
}
