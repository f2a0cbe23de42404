// SPDX-License-Identifier: Apache-2.0

// Package holdings is the durable record of what a node keeps for tasks.
//
// A node also writes down in its packs, in records of their own among the chunks, what it keeps them for: holdings can
// be found again from the packs alone. Such a description has an id that says so, lives as long as its holdings, and
// counts like any chunk.
//
//	id    "bkp kept" (8) ‖ the first 24 bytes of its hash
//	data  "\x89bkpdsc\n" (8) ‖ version 1 (1) ‖ core.Description in CBOR: a segment and its root, runs, or a ref
package holdings

import (
	"encoding/binary"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/fxamacker/cbor/v2"
	"go.etcd.io/bbolt"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/durable"
)

// Holdings is a small database beside a node's packs:
//
//	segments  task ‖ number                    what was accepted, and its root
//	licenses  licence id                       the root that the id is bound to, for ever
//	runs      run hash                         name, type, order, chunks
//	order     sequence number                  run hash: the stored-file list, oldest first
//	kept      task ‖ segment ‖ number          run hash, bitmap of the chunks that the task needs
//	users     run hash ‖ task ‖ segment ‖ number   nothing: who needs a run
//	owners    owner                            bytes: chunks of each run that any of the owner's tasks needs, once
//	refs      owner ‖ alias ‖ 0 ‖ version      the ref's envelope and its records
//	tombstones owner ‖ alias ‖ 0 ‖ version     the tombstone's envelope, and what it says
//	described task ‖ segment ‖ hash            size: records in the packs that say the same of a segment and its runs
//	meta      "head"                           entries and root: the ledger as it was at the newest barrier
//
// Numbers in keys are big-endian, so that keys sort like numbers. A run goes with the last task that needs it. Every
// change is one transaction and durable when the call returns. Any number of goroutines may use it, one process.
type Holdings struct{ db *durable.DB }

var (
	bucketMeta     = []byte("meta")
	bucketSegments = []byte("segments")
	bucketLicenses = []byte("licenses")
	bucketRuns     = []byte("runs")
	bucketOrder    = []byte("order")
	bucketKept     = []byte("kept")
	bucketUsers    = []byte("users")
	bucketOwners   = []byte("owners")
	bucketRefs     = []byte("refs")

	bucketDescribed  = []byte("described") // these are not in databases of the first releases
	bucketTombstones = []byte("tombstones")

	keyVersion = []byte("version")
	keyCount   = []byte("runs")
	keyHead    = []byte("head")
)

const holdingsVersion = 1

// Open opens the database at path; with create it makes one where there is none (else fs.ErrNotExist): that is
// right only beside packs that hold nothing. One that is damaged, or empty where none may be made, is core.CodeWrong. A
// second process meets durable.ErrLocked, which is core.CodeBusy.
func Open(path string, create bool) (*Holdings, error) {
	h, err := open(path, create)
	if errors.Is(err, durable.ErrLocked) {
		return nil, core.WithHint(core.Fail(core.CodeBusy, "open holdings %s: %w", path, err),
			"try again when the other command has ended")
	}
	if err != nil {
		return nil, fmt.Errorf("open holdings %s: %w", path, err)
	}
	return h, nil
}

func open(path string, create bool) (*Holdings, error) {
	if create {
		if err := durable.MkdirAll(filepath.Dir(path)); err != nil {
			return nil, err
		}
	}
	db, err := durable.OpenDB(path, create)
	if err != nil {
		return nil, err
	}
	h := &Holdings{db: db}
	if err = h.view(checkVersionOf); errors.Is(err, errEmpty) && create || errors.Is(err, errOld) {
		err = h.update(prepare) // who made it was killed before it came to this, or did not know all buckets
	}
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return h, nil
}

var errOld = errors.New("a bucket is missing that came later")

var errEmpty = core.Fail(core.CodeWrong, "it is empty: what it said is lost")

func checkVersionOf(tx *tx) error {
	meta := tx.Bucket(bucketMeta)
	if meta == nil {
		return errEmpty
	}
	if v := meta.Get(keyVersion); len(v) != 1 || v[0] != holdingsVersion {
		return fmt.Errorf("version %v is not known here (have %d)", v, holdingsVersion)
	}
	if tx.Bucket(bucketDescribed) == nil || tx.Bucket(bucketTombstones) == nil {
		return errOld
	}
	return nil
}

func prepare(tx *tx) error {
	for _, name := range [][]byte{bucketMeta, bucketSegments, bucketLicenses, bucketRuns, bucketOrder, bucketKept,
		bucketUsers,
		bucketOwners, bucketRefs, bucketDescribed, bucketTombstones} {
		if _, err := tx.CreateBucketIfNotExists(name); err != nil {
			return err
		}
	}
	return tx.Bucket(bucketMeta).Put(keyVersion, []byte{holdingsVersion})
}

// Broken is why the database answers nothing any more, a failed commit or damage; nil while it does.
func (h *Holdings) Broken() error { return h.db.Broken() }

// Close closes the database.
func (h *Holdings) Close() error { return h.db.Close() }

// tx is a transaction with this database's own records on it.
type tx struct{ *bbolt.Tx }

func (h *Holdings) update(f func(*tx) error) error {
	return h.db.Update(func(t *bbolt.Tx) error { return f(&tx{t}) })
}

func (h *Holdings) view(f func(*tx) error) error {
	return h.db.View(func(t *bbolt.Tx) error { return f(&tx{t}) })
}

// get reads a record into v; core.ErrNotFound where there is none.
func (t *tx) get(bucket, key []byte, v any) error {
	raw := t.Bucket(bucket).Get(key)
	if raw == nil {
		return core.ErrNotFound
	}
	return decode(bucket, raw, v)
}

func decode(bucket, raw []byte, v any) error {
	if err := cbor.Unmarshal(raw, v); err != nil {
		return core.Fail(core.CodeWrong, "damaged record in %s: %w", bucket, err)
	}
	return nil
}

func (t *tx) put(bucket, key []byte, v any) error {
	raw, err := cbor.Marshal(v)
	if err != nil {
		return err
	}
	return t.Bucket(bucket).Put(key, raw)
}

// number reads a counter; add changes it.
func (t *tx) number(bucket, key []byte) int64 {
	raw := t.Bucket(bucket).Get(key)
	if len(raw) != 8 {
		return 0
	}
	return int64(binary.BigEndian.Uint64(raw))
}

func (t *tx) add(bucket, key []byte, n int64) error {
	return t.Bucket(bucket).Put(key, binary.BigEndian.AppendUint64(nil, uint64(t.number(bucket, key)+n)))
}

func segmentKey(task core.TaskID, segment int) []byte {
	return binary.BigEndian.AppendUint32(append([]byte(nil), task[:]...), uint32(segment))
}

func keptKey(task core.TaskID, segment, number int) []byte {
	return binary.BigEndian.AppendUint32(segmentKey(task, segment), uint32(number))
}

func refKey(owner core.ID, alias string, version int) []byte {
	key := append(append(append([]byte(nil), owner[:]...), alias...), 0)
	return binary.BigEndian.AppendUint32(key, uint32(version))
}
