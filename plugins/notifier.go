// SPDX-License-Identifier: Apache-2.0

package plugins

import (
	"context"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/plugins/contract"
	"github.com/bkp-tool/bkp/plugins/proto"
)

// Notifier is a running notifier. Its calls may be made from many goroutines.
type Notifier struct {
	*process
	info  core.NotifierInfo
	calls proto.NotifierClient
}

var (
	_ core.Notifier   = (*Notifier)(nil)
	_ core.Configurer = (*Notifier)(nil)
)

// Notifier starts the notifier of that name. The caller closes it.
func (h *Host) Notifier(ctx context.Context, name string) (*Notifier, error) {
	p, err := h.open(ctx, KindNotifier, name)
	if err != nil {
		return nil, err
	}
	return newNotifier(ctx, p)
}

// newNotifier asks a process that has just been started what it is, and ends it where that is not what it should be.
func newNotifier(ctx context.Context, p *process) (*Notifier, error) {
	n := &Notifier{process: p, calls: p.door.(proto.NotifierClient)}
	err := p.call(ctx, "ask what it is", func(ctx context.Context) error {
		answer, err := n.calls.Describe(ctx, &proto.NotifierDescribeRequest{})
		n.info = core.NotifierInfo{Name: answer.GetName(), Version: answer.GetVersion(), Summary: answer.GetSummary(),
			Settings: contract.SettingsFromProto(answer.GetSettings())}
		return err
	})
	if err == nil {
		err = p.introduced(n.info.Name, &n.info.Version, &n.info.Summary)
	}
	if err == nil {
		err = p.configured(ctx, n.info.Settings, n)
	}
	if err != nil {
		p.Close()
		return nil, err
	}
	return n, nil
}

// Describe is what the notifier said at its start; an error where its process has ended since.
func (n *Notifier) Describe(ctx context.Context) (core.NotifierInfo, error) {
	return n.info, n.call(ctx, "ask what it is", func(context.Context) error { return nil })
}

// Configure hands the notifier its configuration.
func (n *Notifier) Configure(ctx context.Context, config []byte) error {
	return n.call(ctx, "configure it", func(ctx context.Context) error {
		_, err := n.calls.Configure(ctx, &proto.NotifierConfigureRequest{Config: config})
		return err
	})
}

// Notify tells one event.
func (n *Notifier) Notify(ctx context.Context, e core.Event) error {
	return n.call(ctx, "tell "+e.What, func(ctx context.Context) error {
		_, err := n.calls.Notify(ctx, contract.EventToProto(e))
		return err
	})
}
