// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"encoding/json"
	"fmt"
	"log"
	"os"
	"strings"
)

// figure is one measurement.
type figure struct {
	Case  string `json:"case"`
	Who   string `json:"who"`
	Round int    `json:"round"`
	// from the first data byte to the last receipt; of a peer from its start to the last whole file
	Seconds   float64 `json:"seconds"`
	Bound     float64 `json:"bound_s"` // fluid, on the wire
	Binding   string  `json:"binding"`
	Ratio     float64 `json:"ratio"`
	Predicted float64 `json:"predicted_s,omitempty"`  // as bkp said before it began
	Fill      float64 `json:"fill_s,omitempty"`       // of which to fill the pipeline
	Simulated float64 `json:"simulated_s,omitempty"`  // by bkp sim, of the same network
	Runs      int     `json:"runs,omitempty"`         // the file's
	PlanBound float64 `json:"plan_bound_s,omitempty"` // as bkp computes it: overhead taken as 5 %
	// that a link carried over two seconds, in parts of what it was given
	Most    float64 `json:"most_of_given,omitempty"`
	MostOf  string  `json:"most_of,omitempty"`          // which link
	Least   float64 `json:"least_of_binding,omitempty"` // that the uplinks that bind carried
	LeastAt float64 `json:"least_at_s,omitempty"`       // after the first byte
	// bytes that TCP carried, in parts of what was needed; where the switch counts
	Moved  float64      `json:"moved,omitempty"`
	Ledger []row        `json:"ledger,omitempty"` // where the time beyond the bound went
	Hosts  []hostFigure `json:"hosts,omitempty"`
	Flows  []flowFigure `json:"flows,omitempty"` // as planned
	Error  string       `json:"error,omitempty"`
}

// hostFigure is a host's part in it.
type hostFigure struct {
	Name     string  `json:"name"`
	Sent     int64   `json:"sent"`              // bytes of whole frames that left it
	Received int64   `json:"received"`          // and that reached it
	Payload  int64   `json:"payload,omitempty"` // of which TCP carried; where the switch counts
	Seconds  float64 `json:"seconds"`           // when it had its part; 0 where unknown
}

type flowFigure struct {
	From  string `json:"from"`
	To    string `json:"to"`
	Bytes int64  `json:"bytes"`
	Rate  int64  `json:"rate"`
}

// off is how far an expected time was from what came, in parts of what came.
func (f figure) off(expected float64) string {
	if expected == 0 || f.Seconds == 0 {
		return ""
	}
	return fmt.Sprintf("%+.0f %%", 100*(expected/f.Seconds-1))
}

// report says what was measured as soon as it is.
func (f figure) report() {
	if *asJSON {
		_ = json.NewEncoder(os.Stdout).Encode(f)
		return
	}
	if f.Error != "" {
		log.Printf("%-20s %-8s failed: %s", f.Case, f.Who, f.Error)
		return
	}
	line := fmt.Sprintf("%-20s %-8s %7.2f s, bound %6.2f s, ratio %.3f", f.Case, f.Who, f.Seconds, f.Bound, f.Ratio)
	if f.Predicted > 0 {
		line += fmt.Sprintf(", predicted %.2f s (%s)", f.Predicted, f.off(f.Predicted))
	}
	if f.Simulated > 0 {
		line += fmt.Sprintf(", simulated %.2f s (%s)", f.Simulated, f.off(f.Simulated))
	}
	log.Print(line + f.notes())
	if f.Ledger != nil {
		log.Print(sayLedger(f.Ratio, f.Binding, f.Ledger))
	}
	if !*verbose {
		return
	}
	if f.Runs > 0 {
		log.Printf("    %d runs, %.2f s of the prediction to fill the pipeline, bound by bkp's own book %.2f s", f.Runs,
			f.Fill, f.PlanBound)
	}
	for _, h := range f.Hosts {
		log.Printf("    %-6s done at %6.2f s, sent %7.1f MB, received %7.1f MB on the wire", h.Name, h.Seconds,
			float64(h.Sent)/1e6, float64(h.Received)/1e6)
	}
	for _, w := range f.Flows {
		log.Printf("    %-6s > %-6s planned %7.1f MB at %6.1f Mbit/s", w.From, w.To, float64(w.Bytes)/1e6,
			float64(w.Rate)*8/1e6)
	}
}

// notes are what some cases are about besides time.
func (f figure) notes() (text string) {
	if f.Most > 0 {
		text += fmt.Sprintf("; at most %.3f of what a link was given (%s)", f.Most, f.MostOf)
	}
	if f.Least > 0 {
		text += fmt.Sprintf(", at least %.3f of what bound (at %.1f s)", f.Least, f.LeastAt)
	}
	if f.Moved > 0 {
		text += fmt.Sprintf("; moved %.3f of what was needed", f.Moved)
	}
	return text
}

// reportMedians says what all rounds came to.
func reportMedians(rows []median) {
	if !*asJSON {
		fmt.Print(medianTable(rows))
		return
	}
	for _, r := range rows {
		_ = json.NewEncoder(os.Stdout).Encode(r)
	}
}

// table is all that was measured, a line each.
func table(all []figure) string {
	var b strings.Builder
	b.WriteString("\n| case | who | seconds | bound | ratio | predicted | off | simulated | off | most of given " +
		"| least while binding | moved |\n" + strings.Repeat("|---", 12) + "|\n")
	for _, f := range all {
		if f.Error != "" {
			fmt.Fprintf(&b, "| %s | %s | failed | %.2f | | | | | | | | %s |\n", f.Case, f.Who, f.Bound, f.Error)
			continue
		}
		seconds := func(x float64) string {
			if x == 0 {
				return ""
			}
			return fmt.Sprintf("%.2f", x)
		}
		share := func(x float64) string {
			if x == 0 {
				return ""
			}
			return fmt.Sprintf("%.3f", x)
		}
		fmt.Fprintf(&b, "| %s | %s | %.2f | %.2f | %.3f | %s | %s | %s | %s | %s | %s | %s |\n", f.Case, f.Who,
			f.Seconds, f.Bound, f.Ratio,
			seconds(f.Predicted), f.off(f.Predicted), seconds(f.Simulated), f.off(f.Simulated), share(f.Most),
			share(f.Least), share(f.Moved))
	}
	return b.String()
}
