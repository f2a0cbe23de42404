// SPDX-License-Identifier: Apache-2.0

package reliable_test

import (
	"testing"

	"github.com/bkp-tool/bkp/plugins/plugintest"
	"github.com/bkp-tool/bkp/plugins/plugintest/processtest"
	"github.com/bkp-tool/bkp/plugins/strategies/reliable"
)

func TestConformance(t *testing.T) { plugintest.Strategy(t, reliable.New()) }

func TestConformanceAsProcess(t *testing.T) {
	processtest.Strategy(t, "./bkp-strategy-reliable")
}
