package servers

import (
	"context"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"
	"github.com/testcontainers/testcontainers-go"
	"github.com/testcontainers/testcontainers-go/exec"
	"github.com/testcontainers/testcontainers-go/log"
)

// owner is the label that names the test process of a container.
const owner = "surecut.e2e.pid"

// lifetime bounds a container whose test was killed.
const lifetime = time.Hour

var prepareOnce sync.Once

// prepare sets what testcontainers reads once: no reaper container (its image is not ours to need; labels and
// lifetime do its work), and the host's own address.
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

// removeStale removes the containers of test processes that are gone. Errors are left alone: the containers end by
// themselves.
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

// startContainer runs the processes in one container that ends with the test.
func startContainer(t testing.TB, image string, processes []process) *testcontainers.DockerContainer {
	t.Helper()
	Require(t, image)
	script := []string{`trap "exit 0" TERM`}
	for _, p := range processes {
		script = append(script, p.start())
	}
	// The shell stays as the parent of all, so that a server can die and be started again.
	script = append(script, fmt.Sprintf("sleep %d & wait $!", int(lifetime.Seconds())))
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	c, err := testcontainers.Run(ctx, image,
		testcontainers.WithCmd("sh", "-c", strings.Join(script, "\n")),
		testcontainers.WithLabels(map[string]string{owner: strconv.Itoa(os.Getpid())}),
		testcontainers.WithLogger(log.NewNoopLogger()),
		testcontainers.WithHostConfigModifier(func(hc *container.HostConfig) {
			hc.NetworkMode = "host"
			hc.AutoRemove = true
			hc.Binds = append(hc.Binds, os.TempDir()+":"+os.TempDir())
		}))
	if c != nil {
		t.Cleanup(func() { stopContainer(t, c) })
	}
	if err != nil {
		t.Fatalf("start %s: %v", image, err)
	}
	return c
}

func stopContainer(t testing.TB, c *testcontainers.DockerContainer) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	docker, err := testcontainers.NewDockerClientWithOpts(ctx)
	if err != nil {
		t.Errorf("stop container: %v", err)
		return
	}
	defer docker.Close()
	// Killed, not stopped: nothing in it is worth a shutdown. The engine may have removed it by itself already.
	_, err = docker.ContainerRemove(ctx, c.GetContainerID(), client.ContainerRemoveOptions{Force: true, RemoveVolumes: true})
	if err != nil && !strings.Contains(err.Error(), "No such container") && !strings.Contains(err.Error(), "already in progress") {
		t.Errorf("stop container: %v", err)
	}
}

// run executes a shell command in the container and gives its output.
func run(c *testcontainers.DockerContainer, script string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	code, out, err := c.Exec(ctx, []string{"sh", "-c", script}, exec.Multiplexed())
	if err != nil {
		return "", fmt.Errorf("run %q in container: %w", script, err)
	}
	text, err := io.ReadAll(out)
	if err != nil {
		return "", fmt.Errorf("read output of %q: %w", script, err)
	}
	if code != 0 {
		return string(text), fmt.Errorf("run %q in container: status %d: %s", script, code, text)
	}
	return string(text), nil
}
