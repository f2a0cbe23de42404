// SPDX-License-Identifier: Apache-2.0

package link

import (
	"encoding/base64"
	"io"
	"log/slog"
	"sync"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/license"
	"github.com/bkp-tool/bkp/core/wire"
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// traceLine is one control message as a person reads it.
type traceLine struct {
	Time    time.Time      `json:"time"`
	Dir     string         `json:"dir"` // "sent" or "received"
	Peer    core.ID        `json:"peer"`
	Message jsontext.Value `json:"message"`
}

// Trace is a Config.Trace that writes every control message to w as one JSON line, with licences and receipts opened;
// nil where w is.
func Trace(w io.Writer, log *slog.Logger) func(dir string, peer core.ID, m wire.Message) {
	if w == nil {
		return nil
	}
	var mu sync.Mutex
	return func(dir string, peer core.ID, m wire.Message) {
		mu.Lock()
		defer mu.Unlock()
		raw, err := readable(m)
		if err != nil {
			log.Error("trace", "error", err)
			return
		}
		line, err := json.Marshal(traceLine{Time: time.Now().UTC(), Dir: dir, Peer: peer, Message: raw})
		if err == nil {
			w.Write(append(line, '\n'))
		}
	}
}

// readable is a message's JSON with its signed parts opened.
func readable(m wire.Message) (jsontext.Value, error) {
	raw, err := wire.Encode(m)
	if err != nil {
		return nil, err
	}
	var field string
	var shown any
	switch m := m.(type) {
	case wire.StorageTask:
		field, shown = "license", openedLicense(m.License)
	case wire.TransmissionComplete:
		if len(m.Receipt) > 0 {
			field, shown = "receipt", openedReceipt(m.Receipt)
		}
	}
	if shown == nil {
		return raw, nil
	}
	var fields map[string]any
	if err := json.Unmarshal(raw, &fields); err != nil {
		return nil, err
	}
	fields[field] = shown
	return json.Marshal(fields, json.Deterministic(true))
}

// openedLicense is {targets, task_source, signature, …} of a licence whose signature holds.
func openedLicense(envelope []byte) any {
	l, _, signer, err := license.Open(envelope)
	if err != nil {
		return map[string]any{"refused": err.Error()}
	}
	return struct {
		core.License
		Signer    core.ID `json:"signer"`
		Signature string  `json:"signature"`
	}{l, signer, signature(envelope)}
}

func openedReceipt(envelope []byte) any {
	r, err := license.OpenReceipt(envelope)
	if err != nil {
		return map[string]any{"refused": err.Error()}
	}
	return struct {
		core.Receipt
		Signature string `json:"signature"`
	}{r, signature(envelope)}
}

// signature is the one signature of an envelope that was opened before.
func signature(envelope []byte) string {
	var e struct {
		Signatures []struct {
			Sig []byte `json:"sig"`
		} `json:"signatures"`
	}
	if json.Unmarshal(envelope, &e) != nil || len(e.Signatures) == 0 {
		return ""
	}
	return base64.StdEncoding.EncodeToString(e.Signatures[0].Sig)
}
