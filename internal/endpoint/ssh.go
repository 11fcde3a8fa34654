package endpoint

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
	"golang.org/x/crypto/ssh/knownhosts"
)

// SSH is a bastion that forwards every connection of an endpoint. The bastion resolves the host names.
//
// We log in with the key file, or where none is named with the keys of the agent (SSH_AUTH_SOCK) and of ~/.ssh, and also with the
// password if there is one. The bastion's host key must be a known one.
type SSH struct {
	User       string
	Addr       string // host:port
	KeyFile    string // private key; "" for the keys of the agent and of ~/.ssh
	Passphrase string // passphrase of the key file
	Password   string
	KnownHosts string // file; "" for ~/.ssh/known_hosts and /etc/ssh/ssh_known_hosts
	Insecure   bool   // accept any host key
}

// String returns user@host:port.
func (s SSH) String() string { return s.User + "@" + s.Addr }

// ParseSSH reads user@host[:port].
func ParseSSH(text string) (SSH, error) {
	const usage = "write user@host or user@host:port"
	at := strings.LastIndexByte(text, '@')
	if at <= 0 {
		return SSH{}, errors.New("names no user; " + usage)
	}
	user := text[:at]
	if strings.ContainsAny(user, ":/") {
		return SSH{}, errors.New("a password or a scheme is not allowed here; " + usage)
	}
	addr, err := parseAddr(text[at+1:], "22")
	return SSH{User: user, Addr: addr}, err
}

// signers reads the private keys that s names.
func (s SSH) signers() ([]ssh.Signer, error) {
	if s.KeyFile != "" {
		signer, err := s.signer(s.KeyFile)
		if err != nil {
			return nil, err
		}
		return []ssh.Signer{signer}, nil
	}
	var list []ssh.Signer
	if home, err := os.UserHomeDir(); err == nil { // otherwise only the agent and the password are left
		for _, name := range []string{"id_ed25519", "id_ecdsa", "id_rsa"} {
			// These keys were not asked for: one that does not exist or is encrypted is skipped.
			if signer, err := s.signer(filepath.Join(home, ".ssh", name)); err == nil {
				list = append(list, signer)
			}
		}
	}
	return list, nil
}

func (s SSH) signer(file string) (ssh.Signer, error) {
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read the SSH key: %w", err)
	}
	signer, err := ssh.ParsePrivateKey(pem)
	var locked *ssh.PassphraseMissingError
	if errors.As(err, &locked) {
		if s.Passphrase == "" {
			return nil, fmt.Errorf("the SSH key %s is encrypted; set its passphrase in the environment, or add the key to an agent", file)
		}
		signer, err = ssh.ParsePrivateKeyWithPassphrase(pem, []byte(s.Passphrase))
	}
	if err != nil {
		return nil, fmt.Errorf("the SSH key %s cannot be read: %w", file, err)
	}
	return signer, nil
}

// methods returns the ways to log in. The function release frees what they need, and is called after the login.
func (s SSH) methods(own []ssh.Signer) (methods []ssh.AuthMethod, release func()) {
	release = func() {}
	keys := slices.Clone(own)
	if socket := os.Getenv("SSH_AUTH_SOCK"); socket != "" && s.KeyFile == "" {
		if conn, err := net.Dial("unix", socket); err == nil {
			release = func() { conn.Close() }
			if held, err := agent.NewClient(conn).Signers(); err == nil {
				keys = append(held, keys...)
			}
		}
	}
	if len(keys) > 0 {
		methods = append(methods, ssh.PublicKeys(keys...))
	}
	if s.Password != "" {
		answer := func(_, _ string, questions []string, _ []bool) ([]string, error) {
			answers := make([]string, len(questions))
			for i := range answers {
				answers[i] = s.Password
			}
			return answers, nil
		}
		methods = append(methods, ssh.Password(s.Password), ssh.KeyboardInteractive(answer))
	}
	return methods, release
}

// hostKeys holds the check of the bastion's host key, and the algorithms of the keys that are known for it.
type hostKeys struct {
	check      ssh.HostKeyCallback
	algorithms []string // nil: any
}

func (s SSH) hostKeys() (hostKeys, error) {
	if s.Insecure {
		return hostKeys{check: ssh.InsecureIgnoreHostKey()}, nil //nolint:gosec // the user said so
	}
	files, authorities, err := s.knownFiles()
	if err != nil {
		return hostKeys{}, err
	}
	check, err := knownhosts.New(files...)
	if err != nil {
		return hostKeys{}, fmt.Errorf("read the known hosts: %w", err)
	}
	return hostKeys{check: s.explained(check, files), algorithms: knownAlgorithms(check, s.Addr, authorities)}, nil
}

// knownFiles returns the files of known hosts that exist, and whether any of them names an authority.
func (s SSH) knownFiles() (files []string, authorities bool, err error) {
	candidates := []string{s.KnownHosts}
	if s.KnownHosts == "" {
		candidates = []string{"/etc/ssh/ssh_known_hosts"}
		if home, err := os.UserHomeDir(); err == nil {
			candidates = append(candidates, filepath.Join(home, ".ssh", "known_hosts"))
		}
	}
	for _, file := range candidates {
		text, err := os.ReadFile(file)
		if errors.Is(err, os.ErrNotExist) && s.KnownHosts == "" {
			continue
		}
		if err != nil {
			return nil, false, fmt.Errorf("read the known hosts: %w", err)
		}
		files = append(files, file)
		authorities = authorities || bytes.Contains(text, []byte("@cert-authority"))
	}
	return files, authorities, nil
}

// explained adds to a refusal of the host key what it means and what to do.
func (s SSH) explained(check ssh.HostKeyCallback, files []string) ssh.HostKeyCallback {
	return func(host string, remote net.Addr, key ssh.PublicKey) error {
		err := check(host, remote, key)
		if err == nil {
			return nil
		}
		seen := key.Type() + " " + ssh.FingerprintSHA256(key)
		var wrong *knownhosts.KeyError
		var revoked *knownhosts.RevokedError
		switch {
		case errors.As(err, &revoked):
			return fmt.Errorf("its host key %s is revoked by %s:%d; do not connect to it", seen, revoked.Revoked.Filename, revoked.Revoked.Line)
		case errors.As(err, &wrong) && len(wrong.Want) > 0:
			return fmt.Errorf("its host key %s is not the one in %s:%d; either the key was replaced, or somebody is intercepting the connection. Ask the bastion's owner before you change the file",
				seen, wrong.Want[0].Filename, wrong.Want[0].Line)
		case errors.As(err, &wrong):
			where := "there is no file with known hosts"
			if len(files) > 0 {
				where = "it is not in " + strings.Join(files, ", ")
			}
			return fmt.Errorf("its host key %s is not known (%s); compare it with the key that the bastion's owner names and add the line of ssh-keyscan, or name another file", seen, where)
		}
		return fmt.Errorf("its host key %s is refused: %w", seen, err)
	}
}

// knownAlgorithms returns the algorithms of the host keys that are known for an address, so that a server with keys of several
// kinds presents one that can be checked. It returns nil where no key is known.
func knownAlgorithms(check ssh.HostKeyCallback, addr string, authorities bool) []string {
	var unlike *knownhosts.KeyError
	if err := check(addr, &net.TCPAddr{IP: net.IPv4zero}, noKey{}); !errors.As(err, &unlike) || len(unlike.Want) == 0 {
		return nil
	}
	var list []string
	for _, k := range unlike.Want {
		kinds := []string{k.Key.Type()}
		if kinds[0] == ssh.KeyAlgoRSA {
			kinds = []string{ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256}
		}
		if !slices.Contains(list, kinds[0]) {
			list = append(list, kinds...)
		}
	}
	if authorities {
		list = append([]string{ssh.CertAlgoED25519v01, ssh.CertAlgoECDSA256v01, ssh.CertAlgoECDSA384v01, ssh.CertAlgoECDSA521v01,
			ssh.CertAlgoRSASHA512v01, ssh.CertAlgoRSASHA256v01}, list...)
	}
	return list
}

// noKey is a key that matches no known one.
type noKey struct{}

func (noKey) Type() string                        { return "none" }
func (noKey) Marshal() []byte                     { return []byte("none") }
func (noKey) Verify([]byte, *ssh.Signature) error { return errors.New("no key") }

// bastionRefusal describes why a bastion that was reached refused us. The parameter verified says that its host key was accepted.
func bastionRefusal(ctx context.Context, s SSH, verified bool, methods int, err error) error {
	var timeout net.Error
	switch {
	case errors.Is(err, context.Canceled), errors.Is(ctx.Err(), context.Canceled):
		return fmt.Errorf("connect to the SSH bastion %s: %w", s, context.Canceled)
	case errors.As(err, &timeout) && timeout.Timeout():
		return fmt.Errorf("the SSH bastion %s does not answer in time: %w (check that an SSH server listens there)", s, err)
	case verified && methods == 0:
		return fmt.Errorf("the SSH bastion %s: there is no key and no password to log in with (name a key file, start an agent, or set the password)", s)
	case verified && strings.Contains(err.Error(), "unable to authenticate"):
		return fmt.Errorf("the SSH bastion %s refuses the login: %w (check the user, the key and the password)", s, err)
	case !verified && (errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET)):
		return fmt.Errorf("the SSH bastion %s closed the connection: %w (check that an SSH server listens there)", s, err)
	}
	return fmt.Errorf("the SSH bastion %s: %w", s, err)
}
