// SPDX-License-Identifier: Apache-2.0

package main

import (
	"image/color"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
)

// plot draws the seconds of every tool as bars, a group for every input and step.
func (r result) plot(inputs []string, path string) error {
	p := plot.New()
	p.Title.Text = "Seconds, less is better"
	p.Y.Min = 0
	p.Legend.Top = true
	var groups [][2]string
	var labels []string
	tools := strings.Split(*names, ",")
	for _, input := range inputs {
		for _, do := range []string{"first", "second", "restore"} {
			if len(r[[3]string{input, do, tools[0]}]) > 0 {
				groups, labels = append(groups, [2]string{input, do}), append(labels, input+" "+do)
			}
		}
	}
	width := vg.Points(7)
	for i, name := range tools {
		var values plotter.Values
		for _, g := range groups {
			values = append(values, median(r[[3]string{g[0], g[1], name}], seconds))
		}
		bars, err := plotter.NewBarChart(values, width)
		if err != nil {
			return err
		}
		bars.LineStyle.Width = 0
		bars.Color = shade(i, strings.HasPrefix(name, "bkp"))
		bars.Offset = width * vg.Length(i-len(tools)/2)
		p.Add(bars)
		p.Legend.Add(name, bars)
	}
	p.NominalX(labels...)
	return p.Save(vg.Length(len(groups))*vg.Inch*1.3+vg.Inch, 4*vg.Inch, path)
}

// shade is blue for bkp and grey for others, darker from tool to tool.
func shade(i int, ours bool) color.Color {
	dark := uint8(25 * i)
	if ours {
		return color.RGBA{R: 30, G: 170 - dark/2, B: 255 - dark/2, A: 255}
	}
	return color.Gray{Y: 220 - dark}
}
