// SPDX-License-Identifier: Apache-2.0

// Package serve is the author's side of a plugin: it makes a core.Strategy, core.Verifier, core.Notifier or
// core.Engine a program that bkp starts.
//
//	func main() { serve.Strategy(mine.New()) }
//
// It needs core, the contract and gRPC, and nothing of bkp's own side. plugins/README.md leads through a first plugin,
// and plugintest tells whether one behaves.
package serve

import (
	"context"
	"errors"

	"github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/plugins/contract"
	"github.com/bkp-tool/bkp/plugins/proto"
)

var handshake = plugin.HandshakeConfig{MagicCookieKey: contract.CookieKey,
	MagicCookieValue: contract.CookieValue}

// Strategy is the whole main of a strategy. It returns when bkp closes the plugin.
func Strategy(s core.Strategy) {
	serve(contract.KindStrategy, func(r *grpc.Server) { proto.RegisterStrategyServer(r, strategyServer{impl: s}) })
}

// Verifier is the whole main of a verifier. It returns when bkp closes the plugin.
// A verifier may also be a core.VerifierDescriber and, as a strategy may, a core.Configurer.
func Verifier(v core.Verifier) {
	serve(contract.KindVerifier, func(r *grpc.Server) { proto.RegisterVerifierServer(r, verifierServer{impl: v}) })
}

// Notifier is the whole main of a notifier. It returns when bkp closes the plugin.
// A notifier may also be a core.Configurer.
func Notifier(n core.Notifier) {
	serve(contract.KindNotifier, func(r *grpc.Server) { proto.RegisterNotifierServer(r, notifierServer{impl: n}) })
}

// Engine is the whole main of an engine. It returns when bkp closes the plugin.
// An engine may also be a core.Configurer.
func Engine(e core.Engine) {
	serve(contract.KindEngine, func(r *grpc.Server) { proto.RegisterEngineServer(r, engineServer{impl: e}) })
}

func serve(kind contract.Kind, register func(*grpc.Server)) {
	plugin.Serve(&plugin.ServeConfig{
		HandshakeConfig:  handshake,
		VersionedPlugins: map[int]plugin.PluginSet{contract.ProtocolVersion: {string(kind): door{register: register}}},
		GRPCServer: func(opts []grpc.ServerOption) *grpc.Server {
			return grpc.NewServer(append(opts, grpc.MaxRecvMsgSize(contract.MaxAsk))...)
		},
	})
}

// door is a plugin as go-plugin starts it.
type door struct {
	plugin.NetRPCUnsupportedPlugin
	register func(*grpc.Server)
}

func (d door) GRPCServer(_ *plugin.GRPCBroker, s *grpc.Server) error {
	d.register(s)
	return nil
}

func (door) GRPCClient(context.Context, *plugin.GRPCBroker, *grpc.ClientConn) (any, error) {
	return nil, errors.New("this is the plugin")
}

type strategyServer struct {
	proto.UnimplementedStrategyServer
	impl core.Strategy
}

func (s strategyServer) Describe(ctx context.Context,
	_ *proto.StrategyDescribeRequest) (*proto.StrategyDescription, error) {
	info, err := s.impl.Describe(ctx)
	return contract.StrategyToProto(info), err
}

func (s strategyServer) Configure(ctx context.Context,
	req *proto.StrategyConfigureRequest) (*proto.StrategyConfigured, error) {
	return &proto.StrategyConfigured{}, configure(ctx, s.impl, req.Config)
}

func (s strategyServer) Score(ctx context.Context, req *proto.ScoreRequest) (*proto.ScoreResponse, error) {
	batch, err := contract.BatchFromProto(req.Batch)
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	scores, err := s.impl.Score(ctx, batch)
	if err != nil {
		return nil, err
	}
	return &proto.ScoreResponse{Scores: contract.ScoresToProto(scores)}, nil
}

type verifierServer struct {
	proto.UnimplementedVerifierServer
	impl core.Verifier
}

func (s verifierServer) Describe(ctx context.Context,
	_ *proto.VerifierDescribeRequest) (*proto.VerifierDescription, error) {
	d, ok := s.impl.(core.VerifierDescriber)
	if !ok {
		return &proto.VerifierDescription{}, nil
	}
	info, err := d.Describe(ctx)
	return &proto.VerifierDescription{Name: info.Name, Version: info.Version, Summary: info.Summary,
		Settings: contract.SettingsToProto(info.Settings)}, err
}

func (s verifierServer) Configure(ctx context.Context,
	req *proto.VerifierConfigureRequest) (*proto.VerifierConfigured, error) {
	return &proto.VerifierConfigured{}, configure(ctx, s.impl, req.Config)
}

func (s verifierServer) Verify(ctx context.Context, req *proto.VerifyRequest) (*proto.Verdict, error) {
	ask, err := contract.RequestFromProto(req)
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	verdict, err := s.impl.Verify(ctx, ask)
	if err != nil {
		return nil, err
	}
	return &proto.Verdict{Ok: verdict.OK, Code: verdict.Code, Reason: verdict.Reason}, nil
}

func configure(ctx context.Context, impl any, config []byte) error {
	c, ok := impl.(core.Configurer)
	if !ok {
		return status.Error(codes.Unimplemented, "takes no configuration")
	}
	return c.Configure(ctx, config)
}
