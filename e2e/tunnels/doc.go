// Package tunnels is an SSH bastion and a SOCKS5 proxy for tests, in this process, on ports of 127.0.0.1.
//
// Both count what goes through them and know host names that nobody else does, so that a test can prove that a
// connection took the way that it should.
package tunnels
