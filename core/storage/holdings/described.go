// SPDX-License-Identifier: Apache-2.0

package holdings

import (
	"context"
	"encoding/binary"
	"fmt"

	"github.com/fxamacker/cbor/v2"
	"github.com/zeebo/blake3"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/storage/disk"
	"github.com/bkp-tool/bkp/core/storage/disk/pack"
)

const (
	// describedID begins the id of a description, so that packs' tables tell where descriptions stand. No sealed chunk
	// of a node that keeps for others has an id, and those of owners are keyed hashes.
	describedID = "bkp kept"
	// describedMagic begins its data, which is followed by core.Description as CBOR; the digit is the version.
	describedMagic = "\x89bkpdsc\n\x01"
)

// Describe is what of holdings goes into packs as a record of its own, beside the chunks, so that they can be found
// again from there when the database is lost. It lives as long as the holdings that it is given to.
func Describe(d core.Description) (c core.Chunk, id core.Hash, data []byte, err error) {
	body, err := cbor.Marshal(d)
	if err != nil {
		return c, id, nil, fmt.Errorf("describe holdings: %w", err)
	}
	data = append([]byte(describedMagic), body...)
	c = core.Chunk{Hash: blake3.Sum256(data), Size: core.Size(len(data))}
	copy(id[copy(id[:], describedID):], c.Hash[:])
	return c, id, data, nil
}

func isDescribed(r pack.Row) bool {
	return string(r.ID[:len(describedID)]) == describedID &&
		string(r.ID[len(describedID):]) == string(r.Hash[:len(r.ID)-len(describedID)])
}

// Packs is a store that tells what stands in its packs (disk.Store, and what is made of it).
type Packs interface {
	EachPack(ctx context.Context, visit func(disk.Records) error, step func(done, packs int)) error
}

// Described calls visit with every description that stands in packs, in no order, dead ones included, and step after
// each pack. What is damaged is passed over: it describes nothing any more.
func Described(ctx context.Context, packs Packs, visit func(core.Chunk, core.Description) error,
	step func(done, packs int)) error {
	err := packs.EachPack(ctx, func(in disk.Records) error {
		for _, r := range in.Rows {
			if !isDescribed(r) {
				continue
			}
			data, err := in.Read(r, nil)
			if core.CodeOf(err) == core.CodeWrong {
				continue
			}
			if err != nil {
				return err
			}
			d, err := parseDescription(data)
			if err != nil {
				continue
			}
			if err := visit(core.Chunk{Hash: r.Hash, Size: core.Size(r.Size)}, d); err != nil {
				return err
			}
		}
		return nil
	}, step)
	if err != nil {
		return fmt.Errorf("look for descriptions: %w", err)
	}
	return nil
}

func parseDescription(data []byte) (d core.Description, err error) {
	if len(data) < len(describedMagic) || string(data[:len(describedMagic)]) != describedMagic {
		return d, core.Fail(core.CodeWrong, "it is no description of version 1")
	}
	err = cbor.Unmarshal(data[len(describedMagic):], &d)
	return d, err
}

func (t *tx) putDescribed(d core.Described) error {
	key := append(segmentKey(d.Segment.Task, d.Segment.Number), d.Chunk.Hash[:]...)
	return t.Bucket(bucketDescribed).Put(key, binary.BigEndian.AppendUint64(nil, uint64(d.Chunk.Size)))
}

func (t *tx) eachDescribed(visit func(core.Chunk)) error {
	return t.Bucket(bucketDescribed).ForEach(func(key, raw []byte) error {
		const segment = 16 + 4
		if len(key) != segment+32 || len(raw) != 8 {
			return core.Fail(core.CodeWrong, "damaged record in %s", bucketDescribed)
		}
		visit(core.Chunk{Hash: core.Hash(key[segment:]), Size: core.Size(binary.BigEndian.Uint64(raw))})
		return nil
	})
}

// Describe is the function of that name.
func (h *Holdings) Describe(d core.Description) (core.Chunk, core.Hash, []byte, error) {
	return Describe(d)
}

// Remember notes how far the ledger beside this database is: who finds it shorter later has lost some of it.
func (h *Holdings) Remember(head core.LedgerHead) error {
	err := h.update(func(t *tx) error {
		return t.Bucket(bucketMeta).Put(keyHead, append(binary.BigEndian.AppendUint64(nil, uint64(head.Size)),
			head.Root[:]...))
	})
	if err != nil {
		return fmt.Errorf("remember the ledger: %w", err)
	}
	return nil
}

// Remembered is what Remember noted last; false where it never did, as in databases of the first releases.
func (h *Holdings) Remembered() (head core.LedgerHead, ok bool, err error) {
	err = h.view(func(t *tx) error {
		raw := t.Bucket(bucketMeta).Get(keyHead)
		if ok = len(raw) == 8+len(head.Root); ok {
			head.Size = int64(binary.BigEndian.Uint64(raw))
			copy(head.Root[:], raw[8:])
		}
		return nil
	})
	return head, ok, err
}
