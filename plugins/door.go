// SPDX-License-Identifier: Apache-2.0

package plugins

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net/rpc"
	"time"

	"github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"

	"github.com/bkp-tool/bkp/plugins/contract"
	"github.com/bkp-tool/bkp/plugins/proto"
)

var handshake = plugin.HandshakeConfig{MagicCookieKey: contract.CookieKey, MagicCookieValue: contract.CookieValue}

// doors are bkp's side of each kind of plugin, for go-plugin.
var doors = map[int]plugin.PluginSet{contract.ProtocolVersion: {
	string(KindStrategy): door(func(c *grpc.ClientConn) any { return proto.NewStrategyClient(c) }),
	string(KindVerifier): door(func(c *grpc.ClientConn) any { return proto.NewVerifierClient(c) }),
	string(KindNotifier): door(func(c *grpc.ClientConn) any { return proto.NewNotifierClient(c) }),
	string(KindEngine):   door(func(c *grpc.ClientConn) any { return proto.NewEngineClient(c) }),
}}

// door makes the client of one kind.
type door func(*grpc.ClientConn) any

func (d door) GRPCClient(_ context.Context, _ *plugin.GRPCBroker, c *grpc.ClientConn) (any, error) {
	return d(c), nil
}

func (door) GRPCServer(*plugin.GRPCBroker, *grpc.Server) error { return errors.New("this is the host") }

func (door) Server(*plugin.MuxBroker) (any, error) { return nil, errors.New("gRPC only") }

func (door) Client(*plugin.MuxBroker, *rpc.Client) (any, error) { return nil, errors.New("gRPC only") }

// certificate is bkp's side of mutual TLS with one process: its configuration, and the certificate in PEM, by which the
// plugin knows bkp. go-plugin's own has a key on P-521, which many TLS libraries, BoringSSL among them, do not take.
func certificate() (*tls.Config, string, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, "", err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 128))
	if err != nil {
		return nil, "", err
	}
	self := &x509.Certificate{Subject: pkix.Name{CommonName: "localhost", Organization: []string{"bkp"}},
		DNSNames: []string{"localhost"}, SerialNumber: serial, IsCA: true, BasicConstraintsValid: true,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
		KeyUsage:    x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		NotBefore:   time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(30, 0, 0)}
	der, err := x509.CreateCertificate(rand.Reader, self, self, key.Public(), key)
	if err != nil {
		return nil, "", err
	}
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}},
			MinVersion: tls.VersionTLS12, ServerName: "localhost"},
		string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})), nil
}
