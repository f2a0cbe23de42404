package node

import (
	"context"
	"fmt"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/wire"
)

// sendRef gives a peer a version's records and then its ref: former, of version 1, for whoever asks the peer and reads
// no other, and envelope where the peer reads it itself.
func (n *Node) sendRef(ctx context.Context, to core.ID, put wire.RefPut, records [][]byte, former,
	envelope []byte) error {
	for i, whole := range records {
		for from := core.Size(0); from < core.Size(len(whole)); from += wire.RecordPiece {
			piece := put
			piece.Ref, piece.Records = nil, nil
			piece.Record, piece.Size, piece.Offset = put.Records[i].Hash, core.Size(len(whole)), from
			piece.Data = whole[from:min(from+wire.RecordPiece, core.Size(len(whole)))]
			if err := n.putRef(ctx, to, piece); err != nil {
				return fmt.Errorf("record %d: %w", i, err)
			}
		}
	}
	put.Ref = former
	if err := n.putRef(ctx, to, put); err != nil {
		return err
	}
	reads := false
	n.ask(func() { reads = n.peers[to].readsRefs2() })
	if !reads {
		return nil
	}
	put.Ref = envelope
	return n.putRef(ctx, to, put)
}

// readsRefs2 reports whether a peer reads refs of version 2; one that is reached through others has not said. Loop
// only.
func (p *peer) readsRefs2() bool {
	return p != nil && p.session != nil && p.session.Has(wire.FeatureRefs2)
}

func (n *Node) putRef(ctx context.Context, to core.ID, put wire.RefPut) error {
	ok, err := query[wire.RefOK](ctx, n, to, func(id uint64) wire.Message { put.Query = id; return put })
	if err == nil && ok.Code != core.ReasonNone {
		err = core.Fail(ok.Code.ExitCode(), "peer %s: %s", to.Short(), ok.Reason)
	}
	return err
}
