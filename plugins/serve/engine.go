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

type engineServer struct {
	proto.UnimplementedEngineServer
	impl core.Engine
}

func (s engineServer) Describe(ctx context.Context, _ *proto.EngineDescribeRequest) (*proto.EngineDescription, error) {
	info, err := s.impl.Describe(ctx)
	return &proto.EngineDescription{Name: info.Name, Version: info.Version, Summary: info.Summary,
		Settings: contract.SettingsToProto(info.Settings)}, err
}

func (s engineServer) Configure(ctx context.Context, req *proto.EngineConfigureRequest) (*proto.EngineConfigured, error) {
	return &proto.EngineConfigured{}, configure(ctx, s.impl, req.Config)
}

func (s engineServer) Append(ctx context.Context, req *proto.AppendRequest) (*proto.Appended, error) {
	if err := contract.CheckAppend(req.Scope, req.After, req.Entry); err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	a, err := s.impl.Append(ctx, req.Scope, req.After, req.Entry)
	return &proto.Appended{Ok: a.OK, Entries: a.Entries}, err
}

func (s engineServer) Read(ctx context.Context, req *proto.ReadRequest) (*proto.Entries, error) {
	if err := contract.CheckRead(req.Scope, req.After, int(req.Limit)); err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	entries, err := s.impl.Read(ctx, req.Scope, req.After, int(req.Limit))
	return &proto.Entries{Entry: entries}, err
}
