#!/bin/bash
# Measures surecut against native replication; see e2e/bench. Fails where a budget that must hold is broken.
set -euo pipefail
cd "$(dirname "$0")/.."
exec go test -count=1 -timeout 60m -tags bench -run '^TestBench$' -v ./e2e/bench
