package tunnels

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"net"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"
)

// Bastion is an SSH server that forwards connections and does nothing else. It lets User in by Key or by Password.
type Bastion struct {
	relay
	User, Password string
	KeyFile        string // private key of the user
	KnownHosts     string // file that holds the server's key

	Forbid atomic.Bool // forwarding is forbidden
	Mute   atomic.Bool // requests are left without an answer, keep-alives among them
	config *ssh.ServerConfig
}

// NewBastion starts a server that stops with the test.
func NewBastion(t testing.TB) *Bastion {
	t.Helper()
	b := &Bastion{User: "jump", Password: "b4stion-pw"}
	host, _ := key(t)
	user, file := key(t)
	b.KeyFile = file
	wrong := errors.New("refused")
	b.config = &ssh.ServerConfig{
		PublicKeyCallback: func(meta ssh.ConnMetadata, k ssh.PublicKey) (*ssh.Permissions, error) {
			if meta.User() == b.User && string(k.Marshal()) == string(user.PublicKey().Marshal()) {
				return nil, nil
			}
			return nil, wrong
		},
		PasswordCallback: func(meta ssh.ConnMetadata, password []byte) (*ssh.Permissions, error) {
			if meta.User() == b.User && string(password) == b.Password {
				return nil, nil
			}
			return nil, wrong
		},
	}
	b.config.AddHostKey(host)
	b.start(t, b.serve)
	b.KnownHosts = Write(t, "known_hosts", knownhosts.Line([]string{b.Addr}, host.PublicKey())+"\n")
	return b
}

// key makes a key pair and the file of its private key.
func key(t testing.TB) (ssh.Signer, string) {
	t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.NewSignerFromKey(private)
	if err != nil {
		t.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKey(private, "")
	if err != nil {
		t.Fatal(err)
	}
	return signer, Write(t, "id_ed25519", string(pem.EncodeToMemory(block)))
}

// Write makes a file that only its owner reads.
func Write(t testing.TB, name, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func (b *Bastion) serve(conn net.Conn) {
	server, channels, requests, err := ssh.NewServerConn(conn, b.config)
	if err != nil {
		return
	}
	defer server.Close()
	b.login()
	b.wg.Go(func() {
		for r := range requests {
			if r.WantReply && !b.Mute.Load() {
				_ = r.Reply(false, nil)
			}
		}
	})
	for c := range channels {
		b.wg.Go(func() { b.forward(c) })
	}
}

func (b *Bastion) forward(c ssh.NewChannel) {
	var to struct {
		Host       string
		Port       uint32
		OriginHost string
		OriginPort uint32
	}
	switch {
	case b.Forbid.Load():
		_ = c.Reject(ssh.Prohibited, "administratively prohibited")
		return
	case c.ChannelType() != "direct-tcpip" || ssh.Unmarshal(c.ExtraData(), &to) != nil:
		_ = c.Reject(ssh.UnknownChannelType, "only forwarding")
		return
	}
	conn, err := b.onward(to.Host, int(to.Port))
	if err != nil {
		_ = c.Reject(ssh.ConnectionFailed, err.Error())
		return
	}
	channel, requests, err := c.Accept()
	if err != nil {
		conn.Close()
		return
	}
	go ssh.DiscardRequests(requests)
	join(channel, conn)
}
