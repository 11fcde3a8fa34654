package servers

import (
	"context"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/testcontainers/testcontainers-go"
)

// Must lists the images that every run covers; a test against one that is missing fails.
func Must() []string {
	return []string{"redis:6.0", "redis:7.0", "redis:8.0", "valkey/valkey:8.1"}
}

// May lists older and intermediate images, covered where they exist.
func May() []string {
	return []string{"redis:2.8", "redis:3.0", "redis:3.2", "redis:4.0", "redis:5.0", "redis:6.2", "redis:7.2", "redis:7.4",
		"valkey/valkey:7.2", "valkey/valkey:8.0", "valkey/valkey:9.0"}
}

// Lines lists all of Must and May by flavor, the oldest first.
func Lines() [][]string {
	lines := map[string][]string{}
	for _, image := range append(Must(), May()...) {
		lines[binary(image)] = append(lines[binary(image)], image)
	}
	var sorted [][]string
	for _, flavor := range slices.Sorted(maps.Keys(lines)) {
		slices.SortFunc(lines[flavor], func(a, b string) int { return number(a) - number(b) })
		sorted = append(sorted, lines[flavor])
	}
	return sorted
}

// Images lists what a test over "all versions" has to range over: all of Must, whether they exist or not, so that a
// missing one fails its test, and those of May that exist. Those of May that do not are noted in the ledger.
func Images() []string {
	images := Must()
	for _, image := range May() {
		if Exists(image) {
			images = append(images, image)
		}
	}
	return images
}

// Clusters lists those of Images that can be a cluster.
func Clusters() []string {
	return slices.DeleteFunc(Images(), func(image string) bool { return !HasCluster(image) })
}

// HasCluster tells whether servers of the image can form a cluster (since 3.0).
func HasCluster(image string) bool { return number(image) >= 300 }

// Exists tells whether the image is on this machine, and notes in the ledger where it is not.
func Exists(image string) bool {
	if !exists(image) {
		noteAbsent(image)
		return false
	}
	return true
}

// Require fails the test where the image does not exist, and says how to get it.
func Require(t testing.TB, image string) {
	t.Helper()
	if !exists(image) {
		t.Fatalf("image %s does not exist here, and a server that is missing is no reason to pass: run make images", image)
	}
}

var (
	existing   = map[string]bool{} // image: seen here
	existingMu sync.Mutex
)

func exists(image string) bool {
	existingMu.Lock()
	defer existingMu.Unlock()
	if existing[image] {
		return true
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	prepare()
	client, err := testcontainers.NewDockerClientWithOpts(ctx)
	if err != nil {
		return false
	}
	defer client.Close()
	if _, err := client.ImageInspect(ctx, image); err != nil {
		return false
	}
	existing[image] = true
	return true
}

// number is the image's version by its tag, comparable: major*100 + minor. Valkey counts as the Redis it forked from
// or later; a tag that is no version counts as the newest.
func number(image string) int {
	_, tag, _ := strings.Cut(image, ":")
	parts := strings.SplitN(tag, ".", 3)
	if len(parts) < 2 {
		return 9999
	}
	major, err1 := strconv.Atoi(parts[0])
	minor, err2 := strconv.Atoi(parts[1])
	if err1 != nil || err2 != nil {
		return 9999
	}
	return major*100 + minor
}

func binary(image string) string {
	if strings.Contains(image, "valkey") {
		return "valkey-server"
	}
	return "redis-server"
}

var (
	noted   = map[string]bool{}
	notedMu sync.Mutex
)

func noteRan(image, version string) { Note(fmt.Sprintf("ran: %s (%s)", image, version)) }
func noteAbsent(image string)       { Note(fmt.Sprintf("not run: %s (no image)", image)) }

// Note appends a line to the ledger, once per process. A ledger that cannot be written is a bug of the set-up: it
// would make the coverage look smaller than it is.
func Note(line string) {
	path := os.Getenv("SURECUT_E2E_LEDGER")
	notedMu.Lock()
	defer notedMu.Unlock()
	if path == "" || noted[line] {
		return
	}
	noted[line] = true
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		panic(fmt.Sprintf("open ledger: %v", err))
	}
	defer f.Close()
	if _, err := f.WriteString(line + "\n"); err != nil {
		panic(fmt.Sprintf("write ledger: %v", err))
	}
}
