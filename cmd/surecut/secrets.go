package main

import (
	"strings"
	"unsafe"
)

// hidePasswords gives the arguments of the process as they are, and overwrites the passwords in what the process list shows of
// them. It is for os.Args alone, which lies in the memory that the system shows and that belongs to the process.
func hidePasswords(args []string) []string {
	kept := make([]string, len(args))
	for i, arg := range args {
		kept[i] = strings.Clone(arg)
		from, to := passwordIn(arg)
		shown := unsafe.Slice(unsafe.StringData(arg), len(arg))
		for j := from; j < to; j++ {
			shown[j] = '*'
		}
	}
	return kept
}

// passwordIn finds the password of a URL, scheme://user:password@host, or of a proxy, user:password@host; equal numbers are none.
func passwordIn(arg string) (from, to int) {
	at := strings.LastIndexByte(arg, '@')
	if at < 0 {
		return 0, 0
	}
	begin := 0
	if i := strings.Index(arg[:at], "://"); i >= 0 {
		begin = i + len("://")
	}
	colon := strings.IndexByte(arg[begin:at], ':')
	if colon < 0 {
		return 0, 0
	}
	return begin + colon + 1, at
}
