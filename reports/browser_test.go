//go:build browser

package reports

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// browser is one chromium for a test; complaints collects what the console said, every exception and every dialog.
type browser struct {
	ctx        context.Context
	mu         sync.Mutex
	complaints []string
}

func newBrowser(t *testing.T) *browser {
	t.Helper()
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.NoSandbox, chromedp.WindowSize(1280, 900), chromedp.Flag("disable-dev-shm-usage", true))
	if path := os.Getenv("SURECUT_CHROMIUM"); path != "" {
		options = append(options, chromedp.ExecPath(path))
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewExecAllocator(ctx, options...)
	t.Cleanup(cancel)
	b := &browser{}
	ctx, cancel = chromedp.NewContext(ctx, chromedp.WithListener(b.listen))
	t.Cleanup(cancel)
	b.ctx = ctx
	return b
}

func (b *browser) listen(event any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch e := event.(type) {
	case *runtime.EventExceptionThrown:
		b.complaints = append(b.complaints, fmt.Sprintf("exception: %s %+v", e.ExceptionDetails.Text, e.ExceptionDetails.Exception))
	case *runtime.EventConsoleAPICalled:
		b.complaints = append(b.complaints, fmt.Sprintf("console.%s", e.Type))
	case *log.EventEntryAdded:
		b.complaints = append(b.complaints, fmt.Sprintf("%s: %s", e.Entry.Level, e.Entry.Text))
	case *page.EventJavascriptDialogOpening:
		b.complaints = append(b.complaints, "dialog: "+e.Message)
	}
}

func (b *browser) do(t *testing.T, steps ...chromedp.Action[chromedp.Void]) {
	t.Helper()
	if err := chromedp.Do(b.ctx, steps...); err != nil {
		t.Fatal(err)
	}
}

// open writes the report's page and opens it from the disk, as people do.
func (b *browser) open(t *testing.T, r Report) string {
	t.Helper()
	paths, err := WriteFormats(t.TempDir(), r, "html")
	if err != nil {
		t.Fatal(err)
	}
	b.do(t, chromedp.Navigate("file://"+paths[0]), chromedp.WaitReady(chromedp.CSS(`html[data-ready="yes"]`)))
	return paths[0]
}

func ask[T any](t *testing.T, b *browser, script string) T {
	t.Helper()
	v, err := chromedp.Run(b.ctx, chromedp.Evaluate[T](script, chromedp.EvalAwaitPromise))
	if err != nil {
		t.Fatalf("%v in %s", err, script)
	}
	return v
}

func (b *browser) text(t *testing.T, script string) string {
	t.Helper()
	return ask[string](t, b, script)
}

func (b *browser) number(t *testing.T, script string) int { t.Helper(); return ask[int](t, b, script) }

func (b *browser) noComplaint(t *testing.T) {
	t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, c := range b.complaints {
		t.Errorf("the browser complains: %s", c)
	}
	b.complaints = nil
}

const shownRows = `document.querySelectorAll("#findings-table tbody tr:not([hidden])").length`

func TestVerifyPageInBrowser(t *testing.T) {
	v := hostileVerify()
	b := newBrowser(t)
	b.open(t, v)

	if got := b.text(t, `document.querySelector("#verdict").textContent`); got != "DIFFERENT" {
		t.Errorf("verdict reads %q", got)
	}
	if got := b.number(t, shownRows); got != len(v.Findings) {
		t.Errorf("%d findings are shown, want %d", got, len(v.Findings))
	}
	if got := b.text(t, `String(window.pwned)`); got != "undefined" {
		t.Errorf("a hostile key ran a script: %s", got)
	}
	if got := b.number(t, `document.querySelectorAll("script").length`); got != 2 {
		t.Errorf("the page holds %d scripts, want its own 2", got)
	}
	if got := b.number(t, `document.querySelectorAll("img, iframe, evil").length`); got != 0 {
		t.Errorf("the page holds %d elements of hostile making", got)
	}
	keys := b.text(t, `Array.from(document.querySelectorAll("#findings-table .key code")).map((c) => c.textContent).join("\n")`)
	for _, want := range []string{`<script>window.pwned=1</script>`, `"><img src=x onerror="window.pwned=2">!`, `nul\x00bell\a\x1b[31mred`, `user:\u202egnp.exe`, `{{.Header}}${7*7}'--`} {
		if !strings.Contains(keys, want) {
			t.Errorf("key %q does not read as it is", want)
		}
	}
	if strings.ContainsAny(keys, "\u202e\x00\x1b") {
		t.Error("a key shows characters that hide")
	}

	t.Run("sort", func(t *testing.T) {
		slots := `Array.from(document.querySelectorAll("#findings-table tbody tr")).map((r) => r.dataset.slot).join(" ")`
		b.do(t, chromedp.Click(chromedp.CSS(`#findings-table th:nth-child(3) button`)), chromedp.Click(chromedp.CSS(`#findings-table th:nth-child(3) button`)))
		got := strings.Fields(b.text(t, slots))
		for i := 1; i < len(got); i++ {
			if atoi(t, got[i-1]) < atoi(t, got[i]) {
				t.Fatalf("slots are not sorted as numbers, descending: %v", got)
			}
		}
		if a := b.text(t, `document.querySelector("#findings-table th:nth-child(3)").getAttribute("aria-sort")`); a != "descending" {
			t.Errorf("aria-sort is %q", a)
		}
	})
	t.Run("filter", func(t *testing.T) {
		b.do(t, chromedp.SendKeys(chromedp.CSS(`.tools[data-table="findings-table"] input`), "LEADERBOARD score"))
		if n := b.number(t, shownRows); n != 1 {
			t.Errorf("%d rows match, want 1", n)
		}
		b.text(t, `(() => { const i = document.querySelector(".tools input"); i.value = ""; i.dispatchEvent(new Event("input")); return ""; })()`)
		b.do(t, chromedp.Click(chromedp.CSS(`.chip[data-verdict="extra"]`)))
		if n := b.number(t, shownRows); n != 2 {
			t.Errorf("%d extra keys are shown, want 2", n)
		}
		b.do(t, chromedp.Click(chromedp.CSS(`.chip[data-verdict=""]`)))
	})
	t.Run("reason", func(t *testing.T) {
		pressed := `Array.from(document.querySelectorAll('.tools .chip[aria-pressed="true"]:not([hidden])')).map((c) => c.textContent).join(", ")`
		if n := b.number(t, `document.querySelectorAll(".chip[data-reason]").length`); n != len(v.ByReason) {
			t.Errorf("%d chips of reasons, want %d", n, len(v.ByReason))
		}
		for _, r := range v.ByReason {
			chip := chromedp.Click(chromedp.CSS(`.chip[data-reason="` + string(r.Code) + `"]`))
			b.do(t, chip)
			if n := b.number(t, shownRows); n != int(r.Keys) {
				t.Errorf("%d keys of reason %s are shown, want %d", n, r.Code, r.Keys)
			}
			if got, want := b.text(t, pressed), fmt.Sprintf("%s %d", r.Code, r.Keys); got != want {
				t.Errorf("pressed are %q, want %q", got, want)
			}
			if r.Keys%2 == 0 { // either way leads back to all
				chip = chromedp.Click(chromedp.CSS(`.chip[data-verdict=""]`))
			}
			b.do(t, chip)
			if n := b.number(t, shownRows); n != len(v.Findings) || b.text(t, pressed) != "all" {
				t.Errorf("%d keys are shown after %s was let go, and pressed are %q", n, r.Code, b.text(t, pressed))
			}
		}
		if got := b.text(t, `document.querySelector("#reasons-table").textContent`); !strings.Contains(got, "length_differs") || !strings.Contains(got, "The length is not the same on both sides.") {
			t.Errorf("the table of reasons reads %q", got)
		}
	})
	t.Run("slot", func(t *testing.T) {
		slot := int(v.Findings[0].Slot)
		b.text(t, fmt.Sprintf(`(() => { const c = document.querySelector("#map"), r = c.getBoundingClientRect();
			const at = { clientX: r.left + (%d + .5) / 128 * r.width, clientY: r.top + (%d + .5) / 128 * r.height, bubbles: true };
			c.dispatchEvent(new MouseEvent("mousemove", at)); c.dispatchEvent(new MouseEvent("click", at)); return ""; })()`, slot%128, slot/128))
		want := 0
		for _, f := range v.Findings {
			if int(f.Slot) == slot {
				want++
			}
		}
		if n := b.number(t, shownRows); n != want {
			t.Errorf("%d rows are shown for slot %d, want %d", n, slot, want)
		}
		if probe := b.text(t, `document.querySelector("#probe").textContent`); !strings.Contains(probe, fmt.Sprintf("Slot %d", slot)) || !strings.Contains(probe, "different") {
			t.Errorf("the probe reads %q", probe)
		}
		b.do(t, chromedp.Click(chromedp.CSS(".slotchip")))
		if n := b.number(t, shownRows); n != len(v.Findings) {
			t.Errorf("%d rows are shown after the slot was let go", n)
		}
		if n := b.number(t, `(() => { const c = document.querySelector("#map"), p = c.getContext("2d").getImageData(0, 0, c.width, c.height).data;
			const seen = new Set(); for (let i = 0; i < p.length; i += 4) seen.add(p[i] + "," + p[i+1] + "," + p[i+2]); return seen.size; })()`); n < 4 {
			t.Errorf("the map shows %d colours", n)
		}
	})
	b.noComplaint(t)
}

func TestBigKeysPageInBrowser(t *testing.T) {
	k := sampleBigKeys()
	b := newBrowser(t)
	b.open(t, k)
	if n := b.number(t, `document.querySelectorAll("svg.treemap g.tile rect").length`); n != len(k.PrefixTree) {
		t.Errorf("the treemap has %d tiles, want %d", n, len(k.PrefixTree))
	}
	if n := b.number(t, `Array.from(document.querySelectorAll("svg.treemap rect")).filter((r) => r.getBoundingClientRect().width > 3 && getComputedStyle(r).fill !== "rgb(0, 0, 0)").length`); n != len(k.PrefixTree) {
		t.Errorf("%d tiles are drawn in colour, want %d", n, len(k.PrefixTree))
	}
	if n := b.number(t, `document.querySelectorAll("figure svg").length`); n != 4 {
		t.Errorf("%d charts, want 4: types, times to live, sizes, shards", n)
	}
	shown := `Array.from(document.querySelectorAll("#prefixes-table tbody tr:not([hidden])")).map((r) => r.cells[0].textContent).join(" ")`
	b.text(t, `(() => { document.querySelector('[data-prefix="cart:#"]').dispatchEvent(new MouseEvent("click", { bubbles: true })); return ""; })()`)
	if got := b.text(t, shown); got != "cart:#" {
		t.Errorf("a click on a tile shows the prefixes %q", got)
	}
	for _, table := range []string{"top-table", "elements-table", "largest-table", "types-table", "encodings-table", "databases-table", "nodes-table", "shards-table", "buffers-table", "uncounted-table"} {
		if n := b.number(t, `document.querySelectorAll("#`+table+` th button").length`); n < 5 {
			t.Errorf("%s has %d columns that sort", table, n)
		}
	}
	b.do(t, chromedp.Click(chromedp.CSS(`#databases-table th:nth-child(2) button`)))
	if got := b.text(t, `Array.from(document.querySelectorAll("#databases-table tbody tr")).map((r) => r.cells[0].textContent).join(" ")`); got != "5 0" {
		t.Errorf("databases by keys, ascending: %q", got)
	}
	if got := b.text(t, `document.querySelector("#top-table tbody tr .risks").textContent`); !strings.Contains(got, "split it into several keys") {
		t.Errorf("the risks of the first key read %q, without a remedy", got)
	}
	if got := b.text(t, `String(window.pwned)`); got != "undefined" {
		t.Errorf("a hostile prefix ran a script: %s", got)
	}
	b.noComplaint(t)
}

func TestEveryPageInBrowser(t *testing.T) {
	b := newBrowser(t)
	for name, r := range samples(t) {
		t.Run(name, func(t *testing.T) {
			b.open(t, r)
			if got, want := b.text(t, `document.querySelector("#verdict").textContent`), summarize(r).Word; got != want {
				t.Errorf("verdict reads %q, want %q", got, want)
			}
			if got := b.text(t, `String(window.pwned)`); got != "undefined" {
				t.Errorf("a hostile text ran a script: %s", got)
			}
			for _, width := range []int64{390, 1280} {
				b.do(t, chromedp.EmulateViewport(width, 900))
				if over := b.number(t, `document.documentElement.scrollWidth - document.documentElement.clientWidth`); over > 0 {
					t.Errorf("the page is %d pixels wider than a window of %d", over, width)
				}
			}
			b.noComplaint(t)
		})
	}
}

// TestScreenshots leaves pictures of every report in the directory SURECUT_SCREENSHOTS, to be looked at by eye.
func TestScreenshotsInBrowser(t *testing.T) {
	dir := os.Getenv("SURECUT_SCREENSHOTS")
	if dir == "" {
		return // nothing is claimed: the tests above hold the pages to what they must do
	}
	b := newBrowser(t)
	shots := samples(t)
	shots["verify-real"] = wholeVerify(realFindings()...)
	b.open(t, shots["verify-real"]) // docs/verify-report.png of the README
	b.do(t, chromedp.EmulateViewport(1180, 1420))
	shot(t, b, filepath.Join(dir, "verify-report.png"), chromedp.CaptureScreenshot())
	for name, r := range shots {
		b.open(t, r)
		for _, mode := range []struct {
			name, scheme, media string
			width               int64
		}{{"light", "light", "", 1280}, {"dark", "dark", "", 1280}, {"phone", "light", "", 390}, {"print", "dark", "print", 703}} {
			b.do(t, chromedp.EmulateViewport(mode.width, 900))
			_, err := chromedp.Run(b.ctx, func(ctx context.Context, target *chromedp.Target) (cdp.Empty, error) {
				return cdp.Call(ctx, target, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Media: mode.media,
					Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: mode.scheme}}})
			})
			if err != nil {
				t.Fatal(err)
			}
			ask[string](t, b, `new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => done(""))))`)
			shot(t, b, filepath.Join(dir, name+"-"+mode.name+".png"), chromedp.FullScreenshot(100))
		}
	}
}

func shot(t *testing.T, b *browser, path string, picture chromedp.Action[[]byte]) {
	t.Helper()
	png, err := chromedp.Run(b.ctx, picture)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, png, 0o644); err != nil {
		t.Fatal(err)
	}
}

func atoi(t *testing.T, s string) int {
	t.Helper()
	var n int
	if _, err := fmt.Sscan(s, &n); err != nil {
		t.Fatalf("%q is no number: %v", s, err)
	}
	return n
}
