package servers

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"
	"github.com/testcontainers/testcontainers-go"
	"github.com/testcontainers/testcontainers-go/log"
)

// owner is the label that names the test process of a container.
const owner = "surecut.e2e.pid"

var prepareOnce sync.Once

// prepare sets what testcontainers reads once: no reaper container (its image is not ours to need; a container ends with its test
// process), and the host's own address.
func prepare() {
	prepareOnce.Do(func() {
		for name, value := range map[string]string{"TESTCONTAINERS_RYUK_DISABLED": "true", "TESTCONTAINERS_HOST_OVERRIDE": "127.0.0.1"} {
			if os.Getenv(name) != "" {
				continue
			}
			if err := os.Setenv(name, value); err != nil {
				panic(err) // the names are ours
			}
		}
		log.SetDefault(log.NewNoopLogger())
		removeStale()
	})
}

// removeStale removes the containers of test processes that were killed before their containers knew them. Errors are left alone: the
// next test process tries again.
func removeStale() {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	docker, err := testcontainers.NewDockerClientWithOpts(ctx)
	if err != nil {
		return
	}
	defer docker.Close()
	found, err := docker.ContainerList(ctx, client.ContainerListOptions{All: true, Filters: client.Filters{"label": {owner: true}}})
	if err != nil {
		return
	}
	for _, c := range found.Items {
		pid, err := strconv.Atoi(c.Labels[owner])
		if err == nil && syscall.Kill(pid, 0) == syscall.ESRCH {
			_, _ = docker.ContainerRemove(ctx, c.ID, client.ContainerRemoveOptions{Force: true, RemoveVolumes: true})
		}
	}
}

// host is the container of one image, in which all servers of this test process run that are of that image. A container for each of them
// would cost more time than many a test.
//
// Its shell runs the scripts whose numbers it reads from a named pipe, and ends with everything in it when this process does, since the
// pipe then has no writer any more.
type host struct {
	dir  string // at the same path inside and outside: N.sh, what it printed (N.out) and its exit status (N.status)
	pipe *os.File

	mu   sync.Mutex
	last int // number of the latest script; guarded by mu
}

var (
	hosts   = map[string]*host{} // by image
	hostsMu sync.Mutex
)

// hostOf returns the container of an image, which it starts where there is none yet.
func hostOf(t testing.TB, image string) *host {
	t.Helper()
	Require(t, image)
	hostsMu.Lock()
	defer hostsMu.Unlock()
	if h := hosts[image]; h != nil {
		return h
	}
	h, err := startHost(image)
	if err != nil {
		t.Fatalf("start a container of %s: %v", image, err)
	}
	hosts[image] = h
	return h
}

func startHost(image string) (*host, error) {
	dir, err := os.MkdirTemp("", "surecut-servers-")
	if err != nil {
		return nil, err
	}
	h := &host{dir: dir}
	pipe := filepath.Join(dir, "scripts")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		return nil, err
	}
	// For reading as well, since opening a pipe that nobody reads yet would block.
	if h.pipe, err = os.OpenFile(pipe, os.O_RDWR, 0); err != nil {
		return nil, err
	}
	// Each script runs in the background: one that waits holds up no other. The pipe must not be inherited by a server.
	script := fmt.Sprintf(`cd %s
while read -r n; do
	{ sh $n.sh >$n.out 2>&1; echo $? >$n.new; mv $n.new $n.status; } </dev/null &
done <scripts
rm -rf %[1]s`, dir)
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	_, err = testcontainers.Run(ctx, image,
		testcontainers.WithCmd("sh", "-c", script),
		testcontainers.WithLabels(map[string]string{owner: strconv.Itoa(os.Getpid())}),
		testcontainers.WithLogger(log.NewNoopLogger()),
		testcontainers.WithHostConfigModifier(func(hc *container.HostConfig) {
			hc.NetworkMode = "host"
			hc.AutoRemove = true
			hc.Binds = append(hc.Binds, os.TempDir()+":"+os.TempDir())
		}))
	return h, err
}

// run executes a shell script in the container and returns what it printed. A status other than 0 is an error that holds it.
func (h *host) run(script string) (string, error) {
	h.mu.Lock()
	h.last++
	name := filepath.Join(h.dir, strconv.Itoa(h.last))
	h.mu.Unlock()
	if err := os.WriteFile(name+".sh", []byte(script), 0o600); err != nil {
		return "", err
	}
	if _, err := h.pipe.WriteString(filepath.Base(name) + "\n"); err != nil {
		return "", err
	}
	var status []byte
	for deadline := time.Now().Add(patience); ; time.Sleep(2 * time.Millisecond) {
		var err error
		if status, err = os.ReadFile(name + ".status"); err == nil {
			break
		}
		if time.Now().After(deadline) {
			return "", fmt.Errorf("run %q in a container: no end within %v", script, patience)
		}
	}
	text, err := os.ReadFile(name + ".out")
	if err != nil {
		return "", err
	}
	for _, ending := range []string{".sh", ".out", ".status"} {
		_ = os.Remove(name + ending) // what stays goes with the directory
	}
	if code := strings.TrimSpace(string(status)); code != "0" {
		return string(text), fmt.Errorf("run %q in a container: status %s: %s", script, code, text)
	}
	return string(text), nil
}
