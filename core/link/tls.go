// SPDX-License-Identifier: Apache-2.0

package link

import (
	"bytes"
	"crypto/ed25519"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
	"math/big"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/key"
)

// rotated is the extension that has the core.PublicKey of a node whose key was rotated: the certificate's own key is the
// last of it. It is below 2.25, where anybody may draw a number for himself (ITU-T X.667).
var rotated = asn1.ObjectIdentifier{2, 25, 1_796_000_017}

// certificate wraps the node key for TLS. Peers look at the key only, so the dates and names in it mean nothing.
func certificate(s Signer) (tls.Certificate, error) {
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		Subject:      pkix.Name{CommonName: s.ID().String()},
		NotBefore:    time.Unix(0, 0),
		NotAfter:     time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC),
		KeyUsage:     x509.KeyUsageDigitalSignature,
	}
	if s.Public().Rotations() > 0 {
		template.ExtraExtensions = []pkix.Extension{{Id: rotated, Value: s.Public()}}
	}
	der, err := x509.CreateCertificate(nil, template, template, s.Public().Last(), s.Private())
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("make the node's certificate: %w", err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: s.Private()}, nil
}

// tlsConfig is TLS 1.3 between two node keys: both sides show one, no ticket ever stands in for it, and wanted may
// refuse the other side's. Of a listener it sees the key before this side shows its own.
func tlsConfig(cert tls.Certificate, wanted func(core.ID) error) *tls.Config {
	return &tls.Config{
		Certificates:                []tls.Certificate{cert},
		MinVersion:                  tls.VersionTLS13,
		ClientAuth:                  tls.RequireAnyClientCert,
		InsecureSkipVerify:          true, // no name and no authority is trusted: VerifyConnection looks at the key
		SessionTicketsDisabled:      true,
		DynamicRecordSizingDisabled: true,
		VerifyConnection: func(state tls.ConnectionState) error {
			pub, err := nodeKey(state)
			if err != nil {
				return err
			}
			return wanted(key.IDOf(pub))
		},
	}
}

// anybody is a tlsConfig's wanted that refuses nobody.
func anybody(core.ID) error { return nil }

// only is a tlsConfig's wanted that refuses everybody but want, which may be zero for anybody.
func only(want core.ID) func(core.ID) error {
	return func(id core.ID) error {
		if !want.IsZero() && id != want {
			return refuse(core.ReasonRights, "expected node %s, found %s", want, id)
		}
		return nil
	}
}

// nodeKey is the key that the other side of a TLS connection has proved to have.
func nodeKey(state tls.ConnectionState) (core.PublicKey, error) {
	if len(state.PeerCertificates) == 0 {
		return nil, refuse(core.ReasonRights, "no node key was shown")
	}
	last, ok := state.PeerCertificates[0].PublicKey.(ed25519.PublicKey)
	if !ok {
		return nil, refuse(core.ReasonRights, "the key shown is not an Ed25519 key")
	}
	shown := core.PublicKey(last)
	for _, e := range state.PeerCertificates[0].Extensions {
		if e.Id.Equal(rotated) {
			shown = e.Value
		}
	}
	pub, err := core.ParsePublicKey(shown)
	switch {
	case err != nil:
		return nil, refuse(core.ReasonRights, "the node key shown: %v", err)
	case !pub.Last().Equal(last):
		return nil, refuse(core.ReasonRights, "the key shown is not the last of node %s", key.IDOf(pub).Short())
	}
	return pub, nil
}

// sameKey reports whether a HELLO's key is the one that the TLS connection under it has proved.
func sameKey(state *tls.ConnectionState, claimed []byte) error {
	if state == nil {
		return nil
	}
	pub, err := nodeKey(*state)
	if err != nil {
		return err
	}
	if !bytes.Equal(pub, claimed) {
		return refuse(core.ReasonRights, "the HELLO's key is not the TLS connection's key")
	}
	return nil
}
