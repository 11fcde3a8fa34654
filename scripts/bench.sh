#!/bin/bash
# Measures surecut against native replication, all of it or one part; see e2e/bench. Fails where a limit is broken.
set -euo pipefail
cd "$(dirname "$0")/.."
exec go test -count=1 -timeout 60m -tags bench -run "^TestBench\$/^${1:-}" -v ./e2e/bench
