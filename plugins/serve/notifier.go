// SPDX-License-Identifier: Apache-2.0

package serve

import (
	"context"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/plugins/contract"
	"github.com/bkp-tool/bkp/plugins/proto"
)

type notifierServer struct {
	proto.UnimplementedNotifierServer
	impl core.Notifier
}

func (s notifierServer) Describe(ctx context.Context,
	_ *proto.NotifierDescribeRequest) (*proto.NotifierDescription, error) {
	info, err := s.impl.Describe(ctx)
	return &proto.NotifierDescription{Name: info.Name, Version: info.Version, Summary: info.Summary,
		Settings: contract.SettingsToProto(info.Settings)}, err
}

func (s notifierServer) Configure(ctx context.Context,
	req *proto.NotifierConfigureRequest) (*proto.NotifierConfigured, error) {
	return &proto.NotifierConfigured{}, configure(ctx, s.impl, req.Config)
}

func (s notifierServer) Notify(ctx context.Context, e *proto.Event) (*proto.Notified, error) {
	event, err := contract.EventFromProto(e)
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	return &proto.Notified{}, s.impl.Notify(ctx, event)
}
