// SPDX-License-Identifier: Apache-2.0

package mostfree_test

import (
	"testing"

	"github.com/bkp-tool/bkp/plugins/plugintest"
	"github.com/bkp-tool/bkp/plugins/plugintest/processtest"
	mostfree "github.com/bkp-tool/bkp/plugins/strategies/most-free"
)

func TestConformance(t *testing.T) { plugintest.Strategy(t, mostfree.New()) }

func TestConformanceAsProcess(t *testing.T) {
	processtest.Strategy(t, "./bkp-strategy-most-free")
}
