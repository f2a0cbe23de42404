// SPDX-License-Identifier: Apache-2.0

// Package smtp is the notifier that sends a mail for each event:
//
//	[plugin.notifier.smtp]
//	server = "mail.example.org:587"
//	from = "bkp@example.org"
//	to = ["me@example.org"]
//	user = "bkp"
//	password-file = "/etc/bkp/smtp"
package smtp

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"net"
	"net/mail"
	netsmtp "net/smtp"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/plugins/serve"
)

// New is the notifier. It tells nothing before it is configured.
func New() core.Notifier { return defaults() }

func defaults() *smtp { return &smtp{To: []string{}, Events: []string{}} }

type smtp struct {
	Server   string   `json:"server" about:"HOST:PORT of the mail server; at port 465 TLS from the first byte on, else STARTTLS"`
	From     string   `json:"from" about:"the address that mails come from"`
	To       []string `json:"to" about:"the addresses that mails go to"`
	User     string   `json:"user" about:"the name to log in with; empty: nobody logs in"`
	Password string   `json:"password-file" about:"the file whose first line is the password"`
	Plain    bool     `json:"plain" about:"send also to a server that does not encrypt; never a password"`
	Events   []string `json:"events" about:"the events that are sent; none: all"`
}

func (s *smtp) Describe(context.Context) (core.NotifierInfo, error) {
	return core.NotifierInfo{Name: "smtp", Version: "1.0.0", Summary: "sends a mail for each event",
		Settings: serve.Settings(defaults())}, nil
}

func (s *smtp) Configure(_ context.Context, config []byte) error {
	if err := json.Unmarshal(config, s); err != nil {
		return err
	}
	if s.Server == "" {
		return nil
	}
	if _, _, err := net.SplitHostPort(s.Server); err != nil {
		return fmt.Errorf("server %q: want HOST:PORT", s.Server)
	}
	for _, address := range append([]string{s.From}, s.To...) {
		if a, err := mail.ParseAddress(address); err != nil || a.Address != address {
			return fmt.Errorf("%q is no address: want name@example.org", address)
		}
	}
	if len(s.To) == 0 {
		return errors.New("to: nobody is named")
	}
	return nil
}

func (s *smtp) Notify(ctx context.Context, e core.Event) error {
	if len(s.Events) > 0 && !slices.Contains(s.Events, e.What) {
		return nil
	}
	if s.Server == "" {
		return errors.New("no server is set")
	}
	c, err := s.connect(ctx)
	if err != nil {
		return fmt.Errorf("send a mail by %s: %w", s.Server, err)
	}
	defer c.Close()
	if err := s.send(c, e); err != nil {
		return fmt.Errorf("send a mail by %s: %w", s.Server, err)
	}
	return nil
}

// connect reaches the server and logs in; all of it ends with ctx.
func (s *smtp) connect(ctx context.Context) (*netsmtp.Client, error) {
	host, port, _ := net.SplitHostPort(s.Server)
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", s.Server)
	if err != nil {
		return nil, err
	}
	if end, ok := ctx.Deadline(); ok {
		_ = conn.SetDeadline(end)
	}
	tlsConfig := &tls.Config{ServerName: host, MinVersion: tls.VersionTLS12}
	if port == "465" {
		conn = tls.Client(conn, tlsConfig)
	}
	c, err := netsmtp.NewClient(conn, host)
	if err != nil {
		_ = conn.Close()
		return nil, err
	}
	if err := s.login(c, host, port == "465", tlsConfig); err != nil {
		_ = c.Close()
		return nil, err
	}
	return c, nil
}

func (s *smtp) login(c *netsmtp.Client, host string, encrypted bool, config *tls.Config) error {
	if can, _ := c.Extension("STARTTLS"); can && !encrypted {
		if err := c.StartTLS(config); err != nil {
			return err
		}
		encrypted = true
	}
	switch {
	case !encrypted && !s.Plain:
		return errors.New("it does not encrypt; plain = true allows that")
	case s.User == "":
		return nil
	case !encrypted:
		return errors.New("it does not encrypt: no password is sent to it")
	}
	text, err := os.ReadFile(s.Password)
	if err != nil {
		return err
	}
	password, _, _ := strings.Cut(string(text), "\n")
	return c.Auth(netsmtp.PlainAuth("", s.User, strings.TrimSpace(password), host))
}

func (s *smtp) send(c *netsmtp.Client, e core.Event) error {
	if err := c.Mail(s.From); err != nil {
		return err
	}
	for _, to := range s.To {
		if err := c.Rcpt(to); err != nil {
			return err
		}
	}
	w, err := c.Data()
	if err != nil {
		return err
	}
	if _, err := w.Write([]byte(s.message(e))); err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	return c.Quit()
}

// message is the mail, as RFC 5322 has it. Texts of an event have no line ends.
func (s *smtp) message(e core.Event) string {
	at := time.Unix(e.Time, 0)
	lines := []string{
		"From: " + s.From,
		"To: " + strings.Join(s.To, ", "),
		"Subject: " + mime.QEncoding.Encode("utf-8", fmt.Sprintf("bkp: %s %s", e.What, e.Subject)),
		"Date: " + at.Format(time.RFC1123Z),
		"MIME-Version: 1.0", "Content-Type: text/plain; charset=utf-8", "Content-Transfer-Encoding: 8bit", "",
		e.Text, "", "node " + e.Node.String(), at.Format(time.RFC3339), "",
	}
	return strings.Join(lines, "\r\n")
}
