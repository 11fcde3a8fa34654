package command

// ExpireAt returns the expiry, in Unix ms, that a command sets on its key, and the key's index in args. It reads only absolute
// forms, as AbsoluteExpiry writes them: PEXPIREAT, EXPIREAT, SET PXAT and EXAT, GETEX PXAT and EXAT, RESTORE ABSTTL. Expiries of
// hash fields do not count, because they are not expiries of a key.
func ExpireAt(args [][]byte) (keyIndex int, at int64, ok bool) {
	s, known := Lookup(args)
	if !known {
		return 0, 0, false
	}
	return s.ExpireAt(args)
}

// ExpireAt is what the function of this name returns for a call of s.
func (s *Spec) ExpireAt(args [][]byte) (keyIndex int, at int64, ok bool) {
	if !s.Expires || len(args) < 3 {
		return 0, 0, false
	}
	unit, arg := "", []byte(nil)
	switch s.Name {
	case "PEXPIREAT":
		unit, arg = absoluteMillis, args[2]
	case "EXPIREAT":
		unit, arg = absoluteSeconds, args[2]
	case "SET":
		if o, fits := parseSetOptions(args[3:]); fits {
			unit, arg = o.unit, o.arg
		}
	case "GETEX":
		if len(args) == 4 {
			unit, arg = expiryUnit(args[2]), args[3]
		}
	case "RESTORE", "RESTORE-ASKING":
		if len(args) < 5 {
			break
		}
		if o, fits := parseRestoreOptions(args[4:]); fits && o.absolute && string(args[2]) != "0" {
			unit, arg = absoluteMillis, args[2]
		}
	}
	if unit != absoluteMillis && unit != absoluteSeconds {
		return 0, 0, false
	}
	at, ok = absolute(unit, arg, 0)
	return 1, at, ok
}

// WithoutExpiry returns args, which are absolute as ExpireAt reads them, without the expiry, for a key that must be kept beyond it.
// It returns nil where the command does nothing else, and args themselves where they set no expiry.
func WithoutExpiry(args [][]byte) [][]byte {
	if _, _, ok := ExpireAt(args); !ok {
		return args
	}
	switch s, _ := Lookup(args); s.Name {
	case "SET":
		return args[:3:3]
	case "RESTORE", "RESTORE-ASKING":
		cmd := [][]byte{args[0], args[1], word("0"), args[3]}
		for _, a := range args[4:] {
			if !isWord(a, "ABSTTL") {
				cmd = append(cmd, a)
			}
		}
		return cmd
	}
	return nil
}
