// SPDX-License-Identifier: Apache-2.0

package order_test

import (
	"encoding/json"
	"fmt"
	"testing"

	dbm "github.com/cometbft/cometbft-db"
	abci "github.com/cometbft/cometbft/abci/types"

	"github.com/bkp-tool/bkp/plugins/engines/cometbft/order"
)

func open(t *testing.T, db dbm.DB) *order.App {
	t.Helper()
	a, err := order.New(db)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func tx(t *testing.T, after int64, entry string) []byte {
	t.Helper()
	raw, err := json.Marshal(order.Tx{Scope: "a", After: after, Entry: []byte(entry), Nonce: make([]byte, 16)})
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func block(t *testing.T, a *order.App, height int64, txs ...[]byte) (codes string, hash []byte) {
	t.Helper()
	r, err := a.FinalizeBlock(t.Context(), &abci.RequestFinalizeBlock{Height: height, Txs: txs})
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range r.TxResults {
		codes += fmt.Sprint(x.Code)
	}
	return codes, r.AppHash
}

func has(t *testing.T, a *order.App) (entries string) {
	t.Helper()
	q, err := json.Marshal(order.Question{Scope: "a", Limit: 10})
	if err != nil {
		t.Fatal(err)
	}
	r, err := a.Query(t.Context(), &abci.RequestQuery{Path: order.Path, Data: q})
	if err != nil {
		t.Fatal(err)
	}
	var answer order.Answer
	if err := json.Unmarshal(r.Value, &answer); err != nil {
		t.Fatal(err)
	}
	for _, s := range answer.Stored {
		entries += string(s.Entry)
	}
	return fmt.Sprint(answer.Entries, " ", entries)
}

// Of transactions to one place the first is carried out, within a block too; what is malformed changes nothing; validators
// come to the same hash; a block that was not committed is carried out anew after a restart.
func TestBlocks(t *testing.T) {
	db := dbm.NewMemDB()
	a, other := open(t, db), open(t, dbm.NewMemDB())
	txs := [][]byte{tx(t, 0, "x"), tx(t, 0, "y"), []byte("none"), tx(t, 1, "z"), tx(t, 5, "far")}
	codes, hash := block(t, a, 1, txs...)
	if codes != "01201" {
		t.Errorf("codes %s", codes)
	}
	if got := has(t, a); got != "0 " {
		t.Errorf("before it is committed: %q", got)
	}
	a = open(t, db) // a loss of power
	if info, err := a.Info(t.Context(), nil); err != nil || info.LastBlockHeight != 0 {
		t.Errorf("%+v, %v", info, err)
	}
	for _, a := range []*order.App{a, other} {
		if codes, again := block(t, a, 1, txs...); codes != "01201" || string(again) != string(hash) {
			t.Errorf("codes %s, hash %x and %x", codes, again, hash)
		}
		if _, err := a.Commit(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
	}
	a = open(t, db)
	info, err := a.Info(t.Context(), nil)
	if err != nil || info.LastBlockHeight != 1 || string(info.LastBlockAppHash) != string(hash) || has(t, a) != "2 xz" {
		t.Errorf("%+v, %v: %q", info, err, has(t, a))
	}
	for raw, want := range map[string]uint32{string(tx(t, 1, "q")): order.CodeLate, string(tx(t, 2, "q")): 0, "none": order.CodeMalformed} {
		if r, err := a.CheckTx(t.Context(), &abci.RequestCheckTx{Tx: []byte(raw)}); err != nil || r.Code != want {
			t.Errorf("%s: %v, %v", raw, r, err)
		}
	}
}
