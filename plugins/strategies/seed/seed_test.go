// SPDX-License-Identifier: Apache-2.0

package seed_test

import (
	"testing"

	"github.com/bkp-tool/bkp/plugins/plugintest"
	"github.com/bkp-tool/bkp/plugins/plugintest/processtest"
	"github.com/bkp-tool/bkp/plugins/strategies/seed"
)

func TestConformance(t *testing.T) { plugintest.Strategy(t, seed.New()) }

func TestConformanceAsProcess(t *testing.T) { processtest.Strategy(t, "./bkp-strategy-seed") }
