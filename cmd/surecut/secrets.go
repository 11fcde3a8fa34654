package main

import (
	"strings"
	"unsafe"
)

// hidePasswords returns a copy of the arguments of the process, and overwrites the passwords in the originals, which the process
// list shows. It must be called with os.Args only, since that memory belongs to the process and may be changed.
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

// passwordIn returns where the password begins and ends in a URL, scheme://user:password@host, or in a proxy, user:password@host.
// Both numbers are 0 if there is none.
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
