// SPDX-License-Identifier: Apache-2.0

package place

import (
	"context"
	"fmt"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/placements"
)

// exportable is an error where what is to keep the version cannot travel on a disk.
func (p *placement) exportable(context.Context) error {
	copies, _, _, _ := p.Records.Short(p.Version.Ref.Alias, p.Version.Ref.Version)
	switch {
	case p.Args.Export == nil:
	case len(p.only) != 1 || p.term > 0 || p.takes:
		return core.Fail(core.CodeUsage, "what goes on a disk is for one node, of a version that this node sees to")
	case copies > 0 && !p.resumed: // nobody would see to what counts any more
		return core.Fail(core.CodeUsage, "it is kept in another way already, as bkp status shows")
	}
	return nil
}

// export licenses what the one node that is asked for is to keep, writes down that it is, and gives it out to be
// carried there: nobody is told of it over the wire. A later placement goes on from the record.
func (p *placement) export(ctx context.Context) error {
	shipments := p.Standing.Shipments(p.only[0], p.Survey.Nodes)
	if len(shipments) == 0 {
		return p.Args.Export(ctx, nil)
	}
	if err := p.enter(ctx); err != nil {
		return err
	}
	defer p.leave()
	for _, x := range shipments {
		if err := p.license(ctx, x.Segment); err != nil {
			return err
		}
		if err := p.noteTold([]*placements.Segment{x.Segment}); err != nil {
			return fmt.Errorf("write down who is told: %w", err)
		}
	}
	return p.Args.Export(ctx, shipments)
}
