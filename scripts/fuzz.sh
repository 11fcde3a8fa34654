#!/bin/bash
# Runs every fuzz target of every package for the time given (default 20s each), since go test takes one at a time.
set -euo pipefail
cd "$(dirname "$0")/.."
time=${1:-20s}
count=0
while read -r file; do
	for target in $(grep -oE '^func Fuzz[A-Za-z0-9_]+' "$file" | awk '{print $2}'); do
		echo "fuzz: $(dirname "$file") $target $time"
		go test -run '^$' -fuzz "^$target\$" -fuzztime "$time" "./$(dirname "$file")"
		count=$((count + 1))
	done
done < <(git ls-files -co --exclude-standard '*_test.go')
echo "fuzz: $count targets"
[ "$count" -gt 0 ]
