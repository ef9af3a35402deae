package redistest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// Authority signs certificates of servers and of clients.
type Authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// NewAuthority makes one that nobody trusts but for Trusts.
func NewAuthority(t testing.TB) *Authority {
	t.Helper()
	a := &Authority{}
	a.cert, a.key = sign(t, &x509.Certificate{IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}, nil)
	return a
}

// Trusts is for a client that trusts the authority.
func (a *Authority) Trusts() *tls.Config {
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	return &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
}

// Client is Trusts, with a certificate for the client.
func (a *Authority) Client(t testing.TB) *tls.Config {
	t.Helper()
	cert, key := sign(t, &x509.Certificate{ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}, a)
	c := a.Trusts()
	c.Certificates = []tls.Certificate{{Certificate: [][]byte{cert.Raw}, PrivateKey: key}}
	return c
}

// sign makes a certificate, by a or by itself.
func sign(t testing.TB, c *x509.Certificate, a *Authority) (*x509.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	serial := big.NewInt(time.Now().UnixNano()) // one subject for two would be taken for one who signs himself
	c.SerialNumber, c.Subject = serial, pkix.Name{CommonName: serial.String()}
	c.NotBefore, c.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	parent, by := c, key
	if a != nil {
		parent, by = a.cert, a.key
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, &key.PublicKey, by)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert, key
}

// StartTLS is Start for a server that listens with TLS alone, with a certificate of a. It wants
// one of a from its clients, unless settings have --tls-auth-clients no.
func (p Program) StartTLS(t testing.TB, a *Authority, settings ...string) *Server {
	t.Helper()
	s := newServer(t, p)
	s.tls = a.Client(t)
	cert, key := sign(t, &x509.Certificate{IPAddresses: []net.IP{net.ParseIP(s.Host)}}, a)
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{}
	for name, block := range map[string]*pem.Block{
		"cert": {Type: "CERTIFICATE", Bytes: cert.Raw}, "ca": {Type: "CERTIFICATE", Bytes: a.cert.Raw}, "key": {Type: "PRIVATE KEY", Bytes: pkcs8},
	} {
		files[name] = filepath.Join(s.Dir, name+".pem")
		if err := os.WriteFile(files[name], pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s.settings = append(s.common(), append([]string{
		"--port", "0", "--tls-port", s.Port, "--tls-cert-file", files["cert"], "--tls-key-file", files["key"], "--tls-ca-cert-file", files["ca"],
	}, settings...)...)
	return s.run(t)
}
