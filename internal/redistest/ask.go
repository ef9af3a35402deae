package redistest

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"
)

// Ask has the server run a command, by a connection of its own, and returns what it
// answers, a list one a line.
func (s *Server) Ask(words ...string) (string, error) {
	conn, err := s.dial()
	if err != nil {
		return "", err
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(5 * time.Second))
	command := fmt.Appendf(nil, "*%d\r\n", len(words))
	for _, w := range words {
		command = fmt.Appendf(command, "$%d\r\n%s\r\n", len(w), w)
	}
	if _, err := conn.Write(command); err != nil {
		return "", err
	}
	return answer(bufio.NewReader(conn))
}

func (s *Server) dial() (net.Conn, error) {
	d := &net.Dialer{Timeout: time.Second}
	if s.tls != nil {
		return tls.DialWithDialer(d, "tcp", s.Address(), s.tls)
	}
	return d.Dial("tcp", s.Address())
}

// Must is Ask for what has to work.
func (s *Server) Must(t testing.TB, words ...string) string {
	t.Helper()
	answer, err := s.Ask(words...)
	if err != nil {
		t.Fatalf("%s: %v", words, err)
	}
	return answer
}

// answer reads one, in RESP 2.
func answer(r *bufio.Reader) (string, error) {
	line, err := r.ReadString('\n')
	if err != nil {
		return "", err
	}
	kind, text := line[0], strings.TrimSuffix(line[1:], "\r\n")
	switch kind {
	case '+', ':':
		return text, nil
	case '-':
		return "", errors.New(text)
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 {
		return "", err
	}
	if kind == '$' {
		b := make([]byte, n+len("\r\n"))
		_, err := io.ReadFull(r, b)
		return string(b[:n]), err
	}
	list := make([]string, n)
	for i := range list {
		if list[i], err = answer(r); err != nil {
			return "", err
		}
	}
	return strings.Join(list, "\n"), nil
}
