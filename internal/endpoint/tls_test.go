package endpoint

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"surecut/e2e/tunnels"
	"surecut/internal/resp"
)

// tlsServer answers every command with +OK over TLS.
func tlsServer(t *testing.T, cfg *tls.Config) string {
	t.Helper()
	l, err := tls.Listen("tcp", "127.0.0.1:0", cfg)
	if err != nil {
		t.Fatal(err)
	}
	return serveOn(t, l, serveOK)
}

func serveOK(conn net.Conn) {
	defer conn.Close()
	for r := resp.NewReader(bufio.NewReader(conn)); ; {
		if _, _, err := r.ReadCommand(); err != nil {
			return
		}
		if _, err := io.WriteString(conn, "+OK\r\n"); err != nil {
			return
		}
	}
}

func TestTLS(t *testing.T) {
	ca, stranger := newAuthority(t), newAuthority(t)
	server, client, foreign := ca.issue(t, time.Hour, "redis.test"), ca.issue(t, time.Hour), stranger.issue(t, time.Hour)
	pool := x509.NewCertPool()
	pool.AddCert(ca.cert)
	open := tlsServer(t, &tls.Config{Certificates: []tls.Certificate{server.Certificate}})
	mutual := tls.Config{Certificates: []tls.Certificate{server.Certificate}, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert}
	mutual12 := mutual.Clone()
	mutual12.MaxVersion = tls.VersionTLS12
	expired := tlsServer(t, &tls.Config{Certificates: []tls.Certificate{ca.issue(t, -time.Hour, "redis.test").Certificate}})
	wants, wants12 := tlsServer(t, &mutual), tlsServer(t, mutual12)
	trusted := TLS{CAFile: ca.File, ServerName: "redis.test"}
	with := func(i issued) TLS {
		return TLS{CAFile: ca.File, ServerName: "redis.test", CertFile: i.CertFile, KeyFile: i.KeyFile}
	}
	tests := []struct {
		name, addr, why string
		tls             TLS
		says            string // "": it works
	}{
		{name: "trusted", addr: open, tls: trusted, why: "authority and name are right"},
		{name: "unknown authority", addr: open, tls: TLS{ServerName: "redis.test"}, says: "not trusted", why: "verified by default"},
		{name: "other authority", addr: open, tls: TLS{CAFile: stranger.File, ServerName: "redis.test"}, says: "not trusted", why: "only the one that is named"},
		{name: "other name", addr: open, tls: TLS{CAFile: ca.File}, says: "another name", why: "the certificate is not for 127.0.0.1"},
		{name: "expired", addr: expired, tls: trusted, says: "not valid now", why: "nobody vouches for it any more"},
		{name: "unverified", addr: open, tls: TLS{InsecureSkipVerify: true}, why: "the user said so"},
		{name: "client certificate", addr: wants, tls: with(client), why: "the server knows it"},
		{name: "no client certificate", addr: wants, tls: trusted, says: "requires a client certificate", why: "with TLS 1.3 the first read tells"},
		{name: "no client certificate, TLS 1.2", addr: wants12, tls: trusted, says: "certificate", why: "the handshake tells"},
		{name: "foreign client certificate", addr: wants, tls: with(foreign), says: "does not accept the client certificate", why: "another authority signed it"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := routed(t, Spec{Password: "s3cr3t", TLS: &tt.tls})
			conn, err := d.DialReplica(t.Context(), tt.addr)
			if err == nil {
				conn.Close()
			}
			if tt.says == "" && err != nil || tt.says != "" && (err == nil || !strings.Contains(err.Error(), tt.says) || !strings.Contains(err.Error(), tt.addr)) {
				t.Errorf("DialReplica: %v, want %q (%s)", err, tt.says, tt.why)
			}
		})
	}
}

// TestTLSNames holds that the name in the certificate is the node's, whatever lies between.
func TestTLSNames(t *testing.T) {
	ca := newAuthority(t)
	addr := tlsServer(t, &tls.Config{Certificates: []tls.Certificate{ca.issue(t, time.Hour, "redis.test").Certificate}})
	_, port, _ := net.SplitHostPort(addr)
	b := tunnels.NewBastion(t)
	b.Host("redis.test", "127.0.0.1")
	b.Host("other.test", "127.0.0.1")
	tests := []struct {
		name, host, server, why string
		nat                     NAT
		ok                      bool
	}{
		{name: "node's name", host: "redis.test", why: "the bastion's name is not asked for", ok: true},
		{name: "other node", host: "other.test", why: "the bastion may not redirect"},
		{name: "announced IP address", host: "10.255.0.1", nat: NAT{"10.255.0.1": "redis.test"}, why: "the reachable name is in the certificate", ok: true},
		{name: "announced name", host: "redis.test", nat: NAT{"redis.test": "other.test"}, why: "the announced name is in the certificate", ok: true},
		{name: "neither", host: "10.255.0.1", nat: NAT{"10.255.0.1": "other.test"}, why: "no name fits"},
		{name: "one name for all", host: "10.255.0.1", server: "redis.test", nat: NAT{"10.255.0.1": "other.test"}, why: "the user named it", ok: true},
		{name: "another name for all", host: "redis.test", server: "wrong.test", why: "the user named it"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := routed(t, Spec{SSH: through(b), NAT: tt.nat, TLS: &TLS{CAFile: ca.File, ServerName: tt.server}})
			_, err := d.DialReplica(t.Context(), tt.host+":"+port)
			if tt.ok && err != nil || !tt.ok && (err == nil || !strings.Contains(err.Error(), "another name")) {
				t.Errorf("DialReplica: %v (%s)", err, tt.why)
			}
			wrong := routed(t, Spec{SSH: through(b), NAT: tt.nat, TLS: &TLS{ServerName: tt.server}})
			if _, err := wrong.DialReplica(t.Context(), tt.host+":"+port); err == nil {
				t.Error("connected without the authority")
			}
		})
	}
}
