// SPDX-License-Identifier: Apache-2.0

// Package etcd is the engine whose order an etcd cluster keeps.
//
//	[plugin.engine.etcd]
//	endpoints = ["https://10.0.0.1:2379", "https://10.0.0.2:2379", "https://10.0.0.3:2379"]
//
// An entry is the key PREFIX/SCOPE:NUMBER, NUMBER in 16 digits. A transaction puts it where there is none yet and the one
// before it is there; so entries are numbered without gaps, and what a majority of the cluster has agreed to stands.
package etcd

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/plugins/serve"
)

const (
	// patience is with one request: less than the 10 s that bkp gives a call, so that what is wrong is told.
	patience = 5 * time.Second
	pageOf   = 64      // entries that are read at once: 16 MiB at most
	most     = 1 << 20 // bytes of entries that a Read returns, of the contract
)

// New is the engine. It keeps nothing before it is configured.
func New() core.Engine { return &etcd{Prefix: "bkp"} }

type etcd struct {
	Endpoints    []string `json:"endpoints" about:"addresses of the cluster, as https://HOST:2379"`
	Prefix       string   `json:"prefix" about:"what its keys begin with: another is another order"`
	User         string   `json:"user" about:"the user, where etcd has any"`
	PasswordFile string   `json:"password-file" about:"the file with the password of the user"`
	CAFile       string   `json:"ca-file" about:"the certificates that etcd's is signed by, PEM; none: the system's"`
	CertFile     string   `json:"cert-file" about:"the certificate that is shown to etcd, PEM"`
	KeyFile      string   `json:"key-file" about:"the key of that, PEM"`

	mu     sync.Mutex
	client *clientv3.Client
}

func (e *etcd) Describe(context.Context) (core.EngineInfo, error) {
	return core.EngineInfo{Name: "etcd", Version: "1.0.0", Summary: "keeps the order in an etcd cluster",
		Settings: serve.Settings(&etcd{Endpoints: []string{}, Prefix: "bkp"})}, nil
}

// Configure makes the client. Whether the cluster is there shows with the first request.
func (e *etcd) Configure(_ context.Context, config []byte) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if err := json.Unmarshal(config, e); err != nil {
		return err
	}
	for _, endpoint := range e.Endpoints {
		if !strings.HasPrefix(endpoint, "https://") && !strings.HasPrefix(endpoint, "http://") {
			return fmt.Errorf("endpoint %q: want https://HOST:2379", endpoint)
		}
	}
	if e.Prefix == "" || strings.ContainsAny(e.Prefix, ":\x00") {
		return fmt.Errorf("prefix %q: want a word without colons", e.Prefix)
	}
	if len(e.Endpoints) == 0 {
		return nil
	}
	password, err := e.password()
	if err != nil {
		return err
	}
	secure, err := e.secure()
	if err != nil {
		return err
	}
	client, err := clientv3.New(clientv3.Config{Endpoints: e.Endpoints, Username: e.User, Password: password, TLS: secure,
		DialKeepAliveTime: 5 * time.Second, DialKeepAliveTimeout: 3 * time.Second, DialTimeout: patience, Logger: zap.NewNop()})
	if err != nil {
		return fmt.Errorf("connect to %s: %w", strings.Join(e.Endpoints, ", "), err)
	}
	if e.client != nil {
		_ = e.client.Close()
	}
	e.client = client
	return nil
}

func (e *etcd) password() (string, error) {
	if e.PasswordFile == "" {
		return "", nil
	}
	text, err := os.ReadFile(e.PasswordFile)
	return strings.TrimRight(string(text), "\r\n"), err
}

// secure is how TLS is spoken with endpoints that are https.
func (e *etcd) secure() (*tls.Config, error) {
	if !strings.HasPrefix(e.Endpoints[0], "https://") {
		return nil, nil
	}
	c := &tls.Config{MinVersion: tls.VersionTLS12}
	if e.CAFile != "" {
		text, err := os.ReadFile(e.CAFile)
		if err != nil {
			return nil, err
		}
		if c.RootCAs = x509.NewCertPool(); !c.RootCAs.AppendCertsFromPEM(text) {
			return nil, fmt.Errorf("%s: there is no certificate in it", e.CAFile)
		}
	}
	if e.CertFile != "" || e.KeyFile != "" {
		own, err := tls.LoadX509KeyPair(e.CertFile, e.KeyFile)
		if err != nil {
			return nil, err
		}
		c.Certificates = []tls.Certificate{own}
	}
	return c, nil
}

// kv is the cluster, and what is done with it has patience.
func (e *etcd) kv(ctx context.Context) (clientv3.KV, context.Context, context.CancelFunc, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.client == nil {
		return nil, nil, nil, errors.New("no endpoints are set")
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	return e.client, ctx, cancel, nil
}

// key is that of an entry. No word of a scope has a colon, so scopes are apart, also those below others.
func (e *etcd) key(scope string, number int64) string {
	return fmt.Sprintf("%s%016d", e.before(scope), number)
}

func (e *etcd) before(scope string) string { return e.Prefix + "/" + scope + ":" }

// Append puts the entry's key in a transaction. Where another was first that counts what is there, in the same one.
func (e *etcd) Append(ctx context.Context, scope string, after int64, entry []byte) (core.Appended, error) {
	kv, ctx, cancel, err := e.kv(ctx)
	if err != nil {
		return core.Appended{}, err
	}
	defer cancel()
	place := e.key(scope, after+1)
	free := []clientv3.Cmp{clientv3.Compare(clientv3.CreateRevision(place), "=", 0)}
	if after > 0 {
		free = append(free, clientv3.Compare(clientv3.CreateRevision(e.key(scope, after)), ">", 0))
	}
	answer, err := kv.Txn(ctx).If(free...).Then(clientv3.OpPut(place, string(entry))).
		Else(clientv3.OpGet(e.before(scope), clientv3.WithPrefix(), clientv3.WithCountOnly())).Commit()
	switch {
	case err != nil:
		return core.Appended{}, e.wrong(err)
	case answer.Succeeded:
		return core.Appended{OK: true, Entries: after + 1}, nil
	}
	return core.Appended{Entries: answer.Responses[0].GetResponseRange().Count}, nil
}

// Read asks the leader, so that it sees all that was appended before.
func (e *etcd) Read(ctx context.Context, scope string, after int64, limit int) (entries [][]byte, err error) {
	kv, ctx, cancel, err := e.kv(ctx)
	if err != nil {
		return nil, err
	}
	defer cancel()
	end := clientv3.WithRange(clientv3.GetPrefixRangeEnd(e.before(scope)))
	for size := 0; len(entries) < limit; {
		from := e.key(scope, after+int64(len(entries))+1)
		page, err := kv.Get(ctx, from, end, clientv3.WithLimit(int64(min(limit-len(entries), pageOf))))
		if err != nil {
			return nil, e.wrong(err)
		}
		for _, pair := range page.Kvs {
			if size += len(pair.Value); size > most && len(entries) > 0 {
				return entries, nil
			}
			entries = append(entries, pair.Value)
		}
		if !page.More {
			return entries, nil
		}
	}
	return entries, nil
}

// wrong says which cluster it was.
func (e *etcd) wrong(err error) error {
	where := strings.Join(e.Endpoints, ", ")
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("etcd at %s has not answered for %s", where, patience)
	}
	return fmt.Errorf("etcd at %s: %w", where, err)
}
