package reports

import (
	"fmt"
	"html/template"
	"regexp"
	"strings"

	"github.com/go-analyze/charts"
)

// The charts are SVG inside the page. The charting library draws them in the marker colours below, and finish replaces those by the
// CSS variables of the page, so that the same drawing works in light mode, in dark mode and in print.
var (
	inkMark   = charts.Color{R: 1, G: 2, B: 3, A: 255}
	lineMark  = charts.Color{R: 4, G: 5, B: 6, A: 255}
	clearMark = charts.Color{R: 255, G: 255, B: 255, A: 0}
	seriesOne = charts.Color{R: 7, G: 8, B: 9, A: 255}
	seriesTwo = charts.Color{R: 10, G: 11, B: 12, A: 255}
)

var markVariables = strings.NewReplacer(
	"rgb(1,2,3)", "var(--muted)",
	"rgb(4,5,6)", "var(--line)",
	"rgb(7,8,9)", "var(--accent)",
	"rgb(10,11,12)", "var(--good)",
)

const (
	chartWidth = 560
	barHeight  = 34 // of one bar and the gap below it
)

// chart is a figure of a page: the drawing with its title and note, which screen readers read too.
type chart struct {
	Title, Note string
	SVG         template.HTML
}

func chartTheme() charts.ColorPalette {
	return charts.MakeTheme(charts.ThemeOption{
		AxisStrokeColor: lineMark, AxisSplitLineColor: lineMark, BackgroundColor: clearMark,
		TextColor: inkMark, TextColorTitle: inkMark, TextColorLabel: inkMark, TextColorLegend: inkMark,
		TextColorXAxis: inkMark, TextColorYAxis: inkMark, TextColorMark: inkMark,
		SeriesColors: []charts.Color{seriesOne, seriesTwo},
	})
}

// bar is one bar of a chart.
type bar struct {
	Name  string
	Value int64
}

// barChart draws horizontal bars with the first at the top. Each shows its value as written by format.
func barChart(title, note string, format func(int64) string, bars []bar) (chart, error) {
	n := len(bars)
	values, names := make([]float64, n), make([]string, n)
	for i, b := range bars { // The library draws the first bar at the bottom, so the order is reversed.
		values[n-1-i], names[n-1-i] = float64(b.Value), visible(shorten(b.Name, 24))
	}
	opt := charts.NewBarChartOptionWithData([][]float64{values})
	opt.Theme, opt.Horizontal = chartTheme(), true
	opt.Padding = charts.Box{Top: 4, Right: 84, Bottom: 4, Left: 4, IsSet: true}
	opt.CategoryAxis.Labels = names
	opt.CategoryAxis.LabelFontStyle = charts.FontStyle{FontSize: 9.5}
	opt.ValueAxis = []charts.ValueAxisOption{{Show: charts.Ptr(false), Min: charts.Ptr(0.0), RangeValuePaddingScale: charts.Ptr(0.0)}}
	opt.Legend.Show = charts.Ptr(false)
	opt.BarSize = 0.62
	opt.SeriesList[0].Label = charts.SeriesLabel{Show: charts.Ptr(true), FontStyle: charts.FontStyle{FontSize: 9.5},
		ValueFormatter: func(f float64) string { return format(int64(f)) }}
	p := charts.NewPainter(charts.PainterOptions{OutputFormat: charts.ChartOutputSVG, Width: chartWidth, Height: n*barHeight + 24})
	if err := p.BarChart(opt); err != nil {
		return chart{}, fmt.Errorf("draw chart %q: %w", title, err)
	}
	return finish(title, note, p)
}

// lineChart draws one or two series over labelled points. Only the points of the first series show their values.
func lineChart(title, note string, labels, names []string, series [][]float64) (chart, error) {
	opt := charts.NewLineChartOptionWithData(series)
	opt.Theme = chartTheme()
	opt.Padding = charts.Box{Top: 8, Right: 28, Bottom: 4, Left: 4, IsSet: true}
	opt.XAxis.Labels, opt.XAxis.BoundaryGap = labels, charts.Ptr(true)
	opt.XAxis.LabelFontStyle = charts.FontStyle{FontSize: 9.5}
	opt.YAxis = []charts.YAxisOption{{Min: charts.Ptr(0.0), LabelCount: 5, LabelFontStyle: charts.FontStyle{FontSize: 9.5},
		ValueFormatter: func(f float64) string { return count(int64(f + 0.5)) }}}
	opt.Legend.SeriesNames = names
	opt.Legend.FontStyle = charts.FontStyle{FontSize: 9.5}
	opt.LineStrokeWidth = 2.5
	for i := range opt.SeriesList {
		opt.SeriesList[i].Label = charts.SeriesLabel{Show: charts.Ptr(i == 0), FontStyle: charts.FontStyle{FontSize: 9.5},
			ValueFormatter: func(f float64) string { return count(int64(f + 0.5)) }}
	}
	p := charts.NewPainter(charts.PainterOptions{OutputFormat: charts.ChartOutputSVG, Width: chartWidth, Height: 228})
	if err := p.LineChart(opt); err != nil {
		return chart{}, fmt.Errorf("draw chart %q: %w", title, err)
	}
	return finish(title, note, p)
}

var svgSize = regexp.MustCompile(`^<svg([^>]*?) width="\d+" height="\d+"`)

func finish(title, note string, p *charts.Painter) (chart, error) {
	data, err := p.Bytes()
	if err != nil {
		return chart{}, fmt.Errorf("draw chart %q: %w", title, err)
	}
	svg := markVariables.Replace(string(data))
	svg = svgSize.ReplaceAllString(svg, "<svg$1")
	svg = strings.Replace(svg, "<svg", `<svg aria-hidden="true" focusable="false"`, 1)
	// The library escapes the texts that it is given, and generates the rest of the drawing itself.
	return chart{Title: title, Note: note, SVG: template.HTML(svg)}, nil
}
