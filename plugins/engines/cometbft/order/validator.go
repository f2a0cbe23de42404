// SPDX-License-Identifier: Apache-2.0

package order

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	dbm "github.com/cometbft/cometbft-db"
	abci "github.com/cometbft/cometbft/abci/types"
	cfg "github.com/cometbft/cometbft/config"
	"github.com/cometbft/cometbft/libs/log"
	"github.com/cometbft/cometbft/node"
	"github.com/cometbft/cometbft/p2p"
	"github.com/cometbft/cometbft/privval"
	"github.com/cometbft/cometbft/proxy"
	"github.com/cometbft/cometbft/types"
	"github.com/spf13/viper"
)

// Home is where a validator of a new chain is to be found.
type Home struct {
	Dir      string
	P2P, RPC string // HOST:PORT that it listens at
	Reached  string // HOST:PORT at which the others reach P2P; empty: that
}

// Testnet writes the homes of the validators of a new chain: their keys, the genesis, and config/config.toml of each. Those
// of a chain that is there already it leaves as they are.
func Testnet(chain string, homes []Home) error {
	if _, err := os.Stat(Config(homes[0].Dir).GenesisFile()); err == nil {
		return nil
	}
	genesis := types.GenesisDoc{ChainID: chain, GenesisTime: time.Now(), InitialHeight: 1,
		ConsensusParams: types.DefaultConsensusParams()}
	var peers string
	for i, h := range homes {
		for _, dir := range []string{"config", "data"} {
			if err := os.MkdirAll(filepath.Join(h.Dir, dir), 0o700); err != nil {
				return err
			}
		}
		c := Config(h.Dir)
		key, err := privval.LoadOrGenFilePV(c.PrivValidatorKeyFile(), c.PrivValidatorStateFile()).GetPubKey()
		if err != nil {
			return err
		}
		id, err := p2p.LoadOrGenNodeKey(c.NodeKeyFile())
		if err != nil {
			return err
		}
		genesis.Validators = append(genesis.Validators, types.GenesisValidator{Address: key.Address(), PubKey: key, Power: 1,
			Name: fmt.Sprint("validator", i)})
		if i > 0 {
			peers += ","
		}
		if h.Reached == "" {
			homes[i].Reached = h.P2P
		}
		peers += string(id.ID()) + "@" + homes[i].Reached
	}
	for _, h := range homes {
		c := Config(h.Dir)
		c.P2P.ListenAddress, c.RPC.ListenAddress, c.P2P.PersistentPeers = "tcp://"+h.P2P, "tcp://"+h.RPC, peers
		cfg.WriteConfigFile(filepath.Join(h.Dir, "config", "config.toml"), c)
		if err := genesis.SaveAs(c.GenesisFile()); err != nil {
			return err
		}
	}
	return nil
}

// Config is how a validator of an order is set: blocks come as there is something to be ordered, and soon.
func Config(dir string) *cfg.Config {
	c := cfg.DefaultConfig()
	c.SetRoot(dir)
	c.Consensus.CreateEmptyBlocks = false
	c.Consensus.TimeoutCommit, c.Consensus.TimeoutPropose = 200*time.Millisecond, time.Second
	c.P2P.AddrBookStrict, c.P2P.AllowDuplicateIP, c.P2P.PexReactor = false, true, false
	c.RPC.MaxBodyBytes = 2 << 20
	c.TxIndex.Indexer = "null"
	c.Instrumentation.Prometheus = false
	return c
}

// Run runs the validator with a home until ctx ends. wrap may put something around its application; nil: nothing does.
// After it the process has to end: CometBFT's goroutines go on for a moment, and its databases are closed.
func Run(ctx context.Context, home string, wrap func(abci.Application) abci.Application) error {
	c := cfg.DefaultConfig()
	v := viper.New()
	v.SetConfigFile(filepath.Join(home, "config", "config.toml"))
	err := v.ReadInConfig()
	if err == nil {
		err = v.Unmarshal(c)
	}
	if err != nil {
		return err
	}
	c.SetRoot(home)
	if err := c.ValidateBasic(); err != nil {
		return err
	}
	n, err := start(c, log.NewFilter(log.NewTMLogger(log.NewSyncWriter(os.Stderr)), log.AllowError()), wrap)
	if err != nil {
		return err
	}
	select {
	case <-ctx.Done():
		return n.Stop()
	case <-n.Quit():
		return errors.New("CometBFT ended; its log says why")
	}
}

func start(c *cfg.Config, logger log.Logger, wrap func(abci.Application) abci.Application) (*node.Node, error) {
	db, err := dbm.NewDB("order", dbm.GoLevelDBBackend, c.DBDir())
	if err != nil {
		return nil, err
	}
	kept, err := New(db)
	if err != nil {
		return nil, err
	}
	app := abci.Application(kept)
	if wrap != nil {
		app = wrap(app)
	}
	id, err := p2p.LoadNodeKey(c.NodeKeyFile())
	if err != nil {
		return nil, err
	}
	n, err := node.NewNode(c, privval.LoadFilePV(c.PrivValidatorKeyFile(), c.PrivValidatorStateFile()), id,
		proxy.NewLocalClientCreator(app), node.DefaultGenesisDocProviderFunc(c), cfg.DefaultDBProvider,
		node.DefaultMetricsProvider(c.Instrumentation), logger)
	if err == nil {
		err = n.Start()
	}
	if err != nil {
		_ = db.Close()
		return nil, err
	}
	return n, nil
}
