// SPDX-License-Identifier: Apache-2.0

package zonespread_test

import (
	"testing"

	"github.com/bkp-tool/bkp/plugins/plugintest"
	"github.com/bkp-tool/bkp/plugins/plugintest/processtest"
	zonespread "github.com/bkp-tool/bkp/plugins/strategies/zone-spread"
)

func TestConformance(t *testing.T) { plugintest.Strategy(t, zonespread.New()) }

func TestConformanceAsProcess(t *testing.T) {
	processtest.Strategy(t, "./bkp-strategy-zone-spread")
}
