package nats_test

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base32"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	client "github.com/nats-io/nats.go"
)

// identity is an operator, an account or a user of servers that know them by JWTs.
type identity struct {
	kind    byte // that its keys begin with
	private ed25519.PrivateKey
}

const (
	operator = 14 << 3 // O
	account  = 0       // A
	user     = 20 << 3 // U
	seed     = 18 << 3 // S
)

func newIdentity(t *testing.T, kind byte) identity {
	t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return identity{kind, private}
}

// public and seed are the keys as NATS writes them.
func (i identity) public() string {
	return nkey([]byte{i.kind}, i.private.Public().(ed25519.PublicKey))
}

func (i identity) seed() string {
	return nkey([]byte{seed | i.kind>>5, i.kind & 31 << 3}, i.private.Seed())
}

// nkey is a key behind what it is, with its CRC-16.
func nkey(kind, key []byte) string {
	all := append(kind, key...)
	crc := uint16(0)
	for _, b := range all {
		crc ^= uint16(b) << 8
		for range 8 {
			if crc&0x8000 != 0 {
				crc = crc<<1 ^ 0x1021
			} else {
				crc <<= 1
			}
		}
	}
	return base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(append(all, byte(crc), byte(crc>>8)))
}

// vouch says of another one what it may, until a time if that is not zero.
func (i identity) vouch(t *testing.T, other identity, until time.Time, rights map[string]any) string {
	t.Helper()
	claims := map[string]any{"iat": time.Now().Add(-time.Hour).Unix(), "iss": i.public(), "sub": other.public(), "name": "test", "nats": rights}
	if !until.IsZero() {
		claims["exp"] = until.Unix()
	}
	body, err := json.Marshal(claims)
	if err != nil {
		t.Fatal(err)
	}
	text := base64.RawURLEncoding.EncodeToString([]byte(`{"typ":"JWT","alg":"ed25519-nkey"}`)) + "." + base64.RawURLEncoding.EncodeToString(body)
	return text + "." + base64.RawURLEncoding.EncodeToString(ed25519.Sign(i.private, []byte(text)))
}

// authorities are an operator and an account of it.
type authorities struct{ operator, account identity }

func newAuthorities(t *testing.T) authorities {
	t.Helper()
	return authorities{newIdentity(t, operator), newIdentity(t, account)}
}

// begin starts a server that trusts the operator.
func (a authorities) begin(t *testing.T) (address string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "operator.jwt")
	own := a.operator.vouch(t, a.operator, time.Time{}, map[string]any{"type": "operator", "version": 2})
	if err := os.WriteFile(file, []byte(own), 0o600); err != nil {
		t.Fatal(err)
	}
	trusted, err := server.ReadOperatorJWT(file)
	if err != nil {
		t.Fatal(err)
	}
	o := &server.Options{AccountResolver: &server.MemAccResolver{}}
	o.TrustedOperators = append(o.TrustedOperators, trusted)
	limits := map[string]any{"conn": -1, "leaf": -1, "imports": -1, "exports": -1, "wildcards": true, "subs": -1, "data": -1, "payload": -1}
	system := newIdentity(t, account)
	o.SystemAccount = system.public()
	for _, one := range []identity{system, a.account} {
		if err := o.AccountResolver.Store(one.public(), a.operator.vouch(t, one, time.Time{}, map[string]any{"type": "account", "version": 2, "limits": limits})); err != nil {
			t.Fatal(err)
		}
		limits["mem_storage"], limits["disk_storage"], limits["streams"], limits["consumer"] = -1, -1, -1, -1 // of JetStream, which the first has not
	}
	return begin(t, o)
}

// credentials are a file of a user of the account.
func (a authorities) credentials(t *testing.T, until time.Time) string {
	t.Helper()
	one := newIdentity(t, user)
	text := a.account.vouch(t, one, until, map[string]any{"type": "user", "version": 2, "subs": -1, "data": -1, "payload": -1, "pub": map[string]any{}, "sub": map[string]any{}})
	file := filepath.Join(t.TempDir(), "app.creds")
	body := fmt.Sprintf("-----BEGIN NATS USER JWT-----\n%s\n------END NATS USER JWT------\n\n-----BEGIN USER NKEY SEED-----\n%s\n------END USER NKEY SEED------\n", text, one.seed())
	if err := os.WriteFile(file, []byte(body), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// A file of credentials, with the JWT of a user, connects. What is wrong with it is an error at
// once.
func TestAFileOfCredentials(t *testing.T) {
	t.Parallel()
	ours, theirs := newAuthorities(t), newAuthorities(t)
	at := ours.begin(t)
	for _, c := range []struct{ name, file, want string }{
		{"of the account", ours.credentials(t, time.Time{}), ""},
		{"for an hour", ours.credentials(t, time.Now().Add(time.Hour)), ""},
		{"of another account", theirs.credentials(t, time.Time{}), "Authorization Violation"},
		{"that has expired", ours.credentials(t, time.Now().Add(-time.Minute)), "Authorization Violation"},
	} {
		t.Run(c.name, func(t *testing.T) { connects(t, at, []client.Option{client.UserCredentials(c.file)}, c.want) })
	}
	t.Run("without", func(t *testing.T) { connects(t, at, nil, "Authorization Violation") })
}
