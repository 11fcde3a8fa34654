// Package servers starts real Redis and Valkey servers for tests, in containers.
//
// A container is one image on the host's network, bound to 127.0.0.1. A test process has one for each image that it needs; every
// server is a process in it, on a free port and with a directory of its own, and ends with its test. The container ends with the test
// process, however that ends.
//
// The test's temporary directory (os.TempDir) is mounted at the same path, so a server can be told by its path to
// load a file from there or to write one.
//
// A missing image fails the test, it never skips it: see Require. Each server started is noted with the version it
// reported itself in the ledger (SURECUT_E2E_LEDGER), which tells what a run really ran against.
//
// The package needs a Docker engine and the images of scripts/images.sh.
package servers
