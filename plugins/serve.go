// SPDX-License-Identifier: Apache-2.0

package plugins

import (
	"context"

	"github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/plugins/proto"
)

const (
	// ProtocolVersion is the version of package proto that this kit speaks. Host and plugin agree on one at start.
	ProtocolVersion = 1
	// CookieKey and CookieValue stand in a plugin's environment so that it can tell bkp from a person who ran it by
	// hand. They are no secret.
	CookieKey   = "BKP_PLUGIN"
	CookieValue = "b1f7c3f0a2e94d5b8c6d-bkp-plugin"

	maxAsk    = 64 << 20 // bytes of a question: a mesh of a thousand candidates has a million links
	maxAnswer = 4 << 20  // bytes of an answer
)

var handshake = plugin.HandshakeConfig{MagicCookieKey: CookieKey, MagicCookieValue: CookieValue}

// ServeStrategy is the whole main of a strategy. It returns when bkp closes the plugin.
func ServeStrategy(s core.Strategy) { serve(KindStrategy, strategyDoor{impl: s}) }

// ServeVerifier is the whole main of a verifier. It returns when bkp closes the plugin.
// A verifier may also be a core.VerifierDescriber and, as a strategy may, a core.Configurer.
func ServeVerifier(v core.Verifier) { serve(KindVerifier, verifierDoor{impl: v}) }

func serve(kind Kind, door plugin.Plugin) {
	plugin.Serve(&plugin.ServeConfig{
		HandshakeConfig:  handshake,
		VersionedPlugins: map[int]plugin.PluginSet{ProtocolVersion: {string(kind): door}},
		GRPCServer: func(opts []grpc.ServerOption) *grpc.Server {
			return grpc.NewServer(append(opts, grpc.MaxRecvMsgSize(maxAsk))...)
		},
	})
}

// strategyDoor is the gRPC plugin of a strategy: the author's side where impl is set, else bkp's.
type strategyDoor struct {
	plugin.NetRPCUnsupportedPlugin
	impl core.Strategy
}

func (d strategyDoor) GRPCServer(_ *plugin.GRPCBroker, s *grpc.Server) error {
	proto.RegisterStrategyServer(s, strategyServer{impl: d.impl})
	return nil
}

func (strategyDoor) GRPCClient(_ context.Context, _ *plugin.GRPCBroker, c *grpc.ClientConn) (any, error) {
	return proto.NewStrategyClient(c), nil
}

type strategyServer struct {
	proto.UnimplementedStrategyServer
	impl core.Strategy
}

func (s strategyServer) Describe(ctx context.Context,
	_ *proto.StrategyDescribeRequest) (*proto.StrategyDescription, error) {
	info, err := s.impl.Describe(ctx)
	return infoToProto(info), err
}

func (s strategyServer) Configure(ctx context.Context,
	req *proto.StrategyConfigureRequest) (*proto.StrategyConfigured, error) {
	return &proto.StrategyConfigured{}, configure(ctx, s.impl, req.Config)
}

func (s strategyServer) Score(ctx context.Context, req *proto.ScoreRequest) (*proto.ScoreResponse, error) {
	batch, err := batchFromProto(req.Batch)
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	scores, err := s.impl.Score(ctx, batch)
	if err != nil {
		return nil, err
	}
	return &proto.ScoreResponse{Scores: scoresToProto(scores)}, nil
}

// verifierDoor is the gRPC plugin of a verifier: the author's side where impl is set, else bkp's.
type verifierDoor struct {
	plugin.NetRPCUnsupportedPlugin
	impl core.Verifier
}

func (d verifierDoor) GRPCServer(_ *plugin.GRPCBroker, s *grpc.Server) error {
	proto.RegisterVerifierServer(s, verifierServer{impl: d.impl})
	return nil
}

func (verifierDoor) GRPCClient(_ context.Context, _ *plugin.GRPCBroker, c *grpc.ClientConn) (any, error) {
	return proto.NewVerifierClient(c), nil
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
	return &proto.VerifierDescription{Name: info.Name, Version: info.Version, Summary: info.Summary}, err
}

func (s verifierServer) Configure(ctx context.Context,
	req *proto.VerifierConfigureRequest) (*proto.VerifierConfigured, error) {
	return &proto.VerifierConfigured{}, configure(ctx, s.impl, req.Config)
}

func (s verifierServer) Verify(ctx context.Context, req *proto.VerifyRequest) (*proto.Verdict, error) {
	ask, err := requestFromProto(req)
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
