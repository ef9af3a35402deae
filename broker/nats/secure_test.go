package nats_test

import (
	"crypto/tls"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	client "github.com/nats-io/nats.go"

	"github.com/go-chime/chime/broker/nats"
	"github.com/go-chime/chime/internal/certtest"
)

// encrypted starts a server that speaks TLS, and wants certificates of its clients perhaps.
func encrypted(t *testing.T, a *certtest.Authority, mutual bool) (address string) {
	t.Helper()
	certFile, keyFile := a.Issue(t, "127.0.0.1")
	pair, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err != nil {
		t.Fatal(err)
	}
	config := &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}
	if mutual {
		config.ClientAuth, config.ClientCAs = tls.RequireAndVerifyClientCert, a.Trusts().RootCAs
	}
	return begin(t, &server.Options{TLS: true, TLSVerify: mutual, TLSConfig: config, TLSTimeout: 10})
}

func begin(t *testing.T, o *server.Options) (address string) {
	t.Helper()
	o.Host, o.Port, o.NoSigs, o.NoLog, o.JetStream, o.StoreDir = "127.0.0.1", server.RANDOM_PORT, true, true, true, t.TempDir()
	s, err := server.NewServer(o)
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() {
		s.Shutdown()
		s.WaitForShutdown()
	})
	if !s.ReadyForConnections(10 * time.Second) {
		t.Fatal("the server takes no connections")
	}
	return s.Addr().String()
}

// With a CA of one's own, and a certificate of the node where the server wants one, the broker
// connects by TLS. With another it says so at once.
func TestTLS(t *testing.T) {
	t.Parallel()
	ours, theirs := certtest.NewAuthority(t), certtest.NewAuthority(t)
	plain := begin(t, &server.Options{})
	one, mutual := encrypted(t, ours, false), encrypted(t, ours, true)
	for _, c := range []struct {
		name, url string
		connect   []client.Option
		want      string // of the error
	}{
		{"our CA", "tls://" + one, []client.Option{client.RootCAs(ours.File(t))}, ""},
		{"without the scheme", one, []client.Option{client.RootCAs(ours.File(t))}, ""},
		{"another CA", "tls://" + one, []client.Option{client.RootCAs(theirs.File(t))}, "certificate signed by unknown authority"},
		{"no CA", "tls://" + one, nil, "certificate signed by unknown authority"},
		{"a file that is not there", "tls://" + one, []client.Option{client.RootCAs("missing.pem")}, "missing.pem"},
		{"another name", "tls://localhost:" + one[strings.LastIndex(one, ":")+1:], []client.Option{client.RootCAs(ours.File(t))}, "certificate is not valid for any names"},
		{"a server without TLS", "tls://" + plain, nil, "secure connection not available"},
		{"our certificate", "tls://" + mutual, []client.Option{client.RootCAs(ours.File(t)), client.ClientCert(ours.Issue(t, "127.0.0.1"))}, ""},
		{"no certificate", "tls://" + mutual, []client.Option{client.RootCAs(ours.File(t))}, "certificate required"},
		{"a certificate of another CA", "tls://" + mutual, []client.Option{client.RootCAs(ours.File(t)), client.ClientCert(theirs.Issue(t, "127.0.0.1"))}, "remote error: tls: "},
	} {
		t.Run(c.name, func(t *testing.T) { connects(t, c.url, c.connect, c.want) })
	}
}

// connects opens a broker, and publishes, or wants an error long before it is given up.
func connects(t *testing.T, url string, connect []client.Option, want string) {
	t.Helper()
	b, err := nats.Open(t.Context(), nats.Options{URL: url, Connect: connect, GiveUp: 5 * time.Minute, Log: quiet})
	if err == nil {
		defer b.Close()
	}
	switch {
	case want == "" && err != nil, want != "" && (err == nil || !strings.Contains(err.Error(), want)):
		t.Errorf("got %v, want %q", err, want)
	case err == nil:
		listen(t, b, "a")
		say(t, b, "a", "x")
	}
}

// Credentials come in the URL, or by Connect as an nkey. Others are an error at once.
func TestCredentials(t *testing.T) {
	t.Parallel()
	const ( // of the manual of NATS
		public = "UDXU4RCSJNZOIQHZNWXHXORDPRTGNJAHAHFRGZNEEJCPQTT2M7NLCNF4"
		seed   = "SUACSSL3UAHUDXKFSNVUZRF5UHPMWZ6BFDTJ7M6USDXIEDNPPQYYYCU3VY"
	)
	file := filepath.Join(t.TempDir(), "seed")
	if err := os.WriteFile(file, []byte(seed), 0o600); err != nil {
		t.Fatal(err)
	}
	nkey, err := client.NkeyOptionFromSeed(file)
	if err != nil {
		t.Fatal(err)
	}
	keys := begin(t, &server.Options{Nkeys: []*server.NkeyUser{{Nkey: public}}})
	users := begin(t, &server.Options{Users: []*server.User{{Username: "app", Password: "right"}}})
	token := begin(t, &server.Options{Authorization: "s3cret"})
	for _, c := range []struct {
		name, url string
		connect   []client.Option
		want      string
	}{
		{"an nkey", keys, []client.Option{nkey}, ""},
		{"no nkey", keys, nil, "Authorization Violation"},
		{"a user in the URL", "nats://app:right@" + users, nil, ""},
		{"a user by an option", users, []client.Option{client.UserInfo("app", "right")}, ""},
		{"a wrong password", "nats://app:wrong@" + users, nil, "Authorization Violation"},
		{"a token", "nats://s3cret@" + token, nil, ""},
		{"a file of credentials that is not there", users, []client.Option{client.UserCredentials("missing.creds")}, "missing.creds"},
	} {
		t.Run(c.name, func(t *testing.T) { connects(t, c.url, c.connect, c.want) })
	}
}
