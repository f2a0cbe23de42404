// SPDX-License-Identifier: Apache-2.0

package zonespread_test

import (
	"testing"

	"github.com/bkp-tool/bkp/plugins/plugintest"
	zonespread "github.com/bkp-tool/bkp/plugins/strategies/zone-spread"
)

func TestConformance(t *testing.T) { plugintest.Strategy(t, zonespread.New()) }

func TestConformanceAsProcess(t *testing.T) {
	plugintest.StrategyProcess(t, "./bkp-strategy-zone-spread")
}
