// SPDX-License-Identifier: Apache-2.0

package smtp_test

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/plugins/notifiers/smtp"
	"github.com/bkp-tool/bkp/plugins/plugintest"
)

func TestConformance(t *testing.T) { plugintest.Notifier(t, smtp.New()) }

// server is a mail server for one connection, which says in got what it was told; silent: it never answers.
func server(t *testing.T, silent bool) (address string, got chan string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	got = make(chan string, 1)
	go func() {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		if silent {
			_, _ = bufio.NewReader(conn).ReadString('\n')
			return
		}
		var said strings.Builder
		r := bufio.NewReader(conn)
		fmt.Fprint(conn, "220 here\r\n")
		for data := false; ; {
			line, err := r.ReadString('\n')
			said.WriteString(line)
			switch {
			case err != nil || strings.HasPrefix(line, "QUIT"):
				fmt.Fprint(conn, "221 bye\r\n")
				got <- said.String()
				return
			case data && line != ".\r\n":
			case strings.HasPrefix(line, "DATA"):
				data = true
				fmt.Fprint(conn, "354 go on\r\n")
			default:
				data = false
				fmt.Fprint(conn, "250 ok\r\n")
			}
		}
	}()
	return l.Addr().String(), got
}

func configured(t *testing.T, config string) (core.Notifier, error) {
	t.Helper()
	n := smtp.New()
	return n, n.(core.Configurer).Configure(t.Context(), []byte(config))
}

func TestSends(t *testing.T) {
	t.Parallel()
	at, got := server(t, false)
	n, err := configured(t, `{"server":"`+at+`","from":"bkp@example.org","to":["a@example.org","b@example.org"],
		"plain":true,"events":["copies-lost"]}`)
	if err != nil {
		t.Fatal(err)
	}
	for _, what := range []string{core.EventPlaced, core.EventCopiesLost} {
		if err := n.Notify(t.Context(), plugintest.Event(what)); err != nil {
			t.Fatal(err)
		}
	}
	mail := <-got
	for _, want := range []string{"MAIL FROM:<bkp@example.org>", "RCPT TO:<a@example.org>", "RCPT TO:<b@example.org>",
		"Subject: bkp: copies-lost big.iso@2\r\n", "\r\n\r\nwhat happened, in a sentence\r\n"} {
		if !strings.Contains(mail, want) {
			t.Errorf("%q is missing in\n%s", want, mail)
		}
	}
}

// Nothing goes to a server that does not encrypt, unless that is allowed; a password never does.
func TestServerThatDoesNotEncrypt(t *testing.T) {
	t.Parallel()
	for _, more := range []string{"", `,"plain":true,"user":"me","password-file":"/etc/hostname"`} {
		at, got := server(t, false)
		n, err := configured(t, `{"server":"`+at+`","from":"bkp@example.org","to":["a@example.org"]`+more+`}`)
		if err != nil {
			t.Fatal(err)
		}
		err = n.Notify(t.Context(), plugintest.Event(core.EventPlaced))
		if err == nil || !strings.Contains(err.Error(), "does not encrypt") {
			t.Errorf("%v", err)
		}
		if said := <-got; strings.Contains(said, "MAIL") || strings.Contains(said, "AUTH") {
			t.Errorf("it was told %s", said)
		}
	}
}

func TestServerThatHangs(t *testing.T) {
	t.Parallel()
	at, _ := server(t, true)
	n, err := configured(t, `{"server":"`+at+`","from":"bkp@example.org","to":["a@example.org"],"plain":true}`)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := n.Notify(ctx, plugintest.Event(core.EventPlaced)); err == nil {
		t.Error("no error")
	}
}

func TestSettingsThatAreRefused(t *testing.T) {
	t.Parallel()
	for _, config := range []string{`{"server":"mail"}`, `{"server":"mail:25","from":"a@b"}`,
		`{"server":"mail:25","from":"a@b\r\nX: y","to":["a@b"]}`, `{"server":"mail:25","to":["a@b"]}`} {
		if _, err := configured(t, config); err == nil {
			t.Errorf("%s is taken", config)
		}
	}
}
