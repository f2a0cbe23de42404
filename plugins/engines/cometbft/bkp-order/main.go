// SPDX-License-Identifier: Apache-2.0

// Command bkp-order is a validator of an order that a chain of CometBFT keeps for nodes of bkp.
//
//	bkp-order testnet DIR HOST...   writes DIR/0, DIR/1, …: the homes of the validators of a new chain, which reach each other
//	                                at those hosts, at port 26656, and answer at port 26657
//	bkp-order start HOME            runs one, until it is told to stop
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/bkp-tool/bkp/plugins/engines/cometbft/order"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "bkp-order:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	switch {
	case len(args) > 2 && args[0] == "testnet":
		var homes []order.Home
		for i, host := range args[2:] {
			homes = append(homes, order.Home{Dir: filepath.Join(args[1], fmt.Sprint(i)), P2P: "0.0.0.0:26656",
				RPC: "0.0.0.0:26657", Reached: host + ":26656"})
		}
		return order.Testnet("bkp-order", homes)
	case len(args) == 2 && args[0] == "start":
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
		defer stop()
		return order.Run(ctx, args[1], nil)
	}
	return errors.New("usage: bkp-order testnet DIR HOST... | bkp-order start HOME")
}
