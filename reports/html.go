package reports

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"html/template"
	"strings"
	"time"

	"surecut/internal/keyspace"
	"surecut/verifier"
)

//go:embed assets
var assets embed.FS

// htmlRows bounds the rows of a table, htmlReasons the reasons that show unfolded; the JSON report has them all.
const (
	htmlRows    = 2000
	htmlReasons = 12
)

// pageView is what assets/page.html shows; Body and its template are the kind's own.
type pageView struct {
	summary
	Kind, When, Command string
	Header              *Header
	First, Rest         []string // of the reasons
	Stands              []fact   // what the report stands for
	Columns             int      // of the cards
	CSP                 string
	CSS                 template.CSS
	JS                  template.JS
	Data                template.JS // JSON for the script, with <, >, &, U+2028 and U+2029 escaped
	Body                any
}

// renderHTML is one file without any external part. Its policy lets nothing run but the script that is part of
// surecut, by hash, so that even a text that escaped from its place could do nothing.
func renderHTML(r Report) ([]byte, error) {
	style, script, err := pageAssets()
	if err != nil {
		return nil, err
	}
	h := r.header()
	p := pageView{summary: summarize(r), Kind: r.Kind(), When: whenWords(h.GeneratedAt), Header: h, Command: commandOf(r), CSS: template.CSS(style), JS: template.JS(script)}
	p.First = p.Reasons
	p.Columns = len(p.Facts)
	p.Stands = stands(r)
	if p.Columns > 6 {
		p.Columns = (p.Columns + 1) / 2
	}
	if len(p.Reasons) > htmlReasons {
		p.First, p.Rest = p.Reasons[:htmlReasons], p.Reasons[htmlReasons:]
	}
	hash := sha256.Sum256([]byte(script))
	p.CSP = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; script-src 'sha256-" + base64.StdEncoding.EncodeToString(hash[:]) +
		"'; base-uri 'none'; form-action 'none'"
	body, data, err := bodyOf(r)
	if err != nil {
		return nil, err
	}
	p.Body = body
	encoded, err := json.Marshal(data)
	if err != nil {
		return nil, fmt.Errorf("encode data of %s page: %w", r.Kind(), err)
	}
	p.Data = template.JS(encoded)
	t, err := template.New("page.html").Funcs(pageFunctions).ParseFS(assets, "assets/page.html", "assets/"+r.Kind()+".html")
	if err != nil {
		return nil, fmt.Errorf("parse page of %s: %w", r.Kind(), err)
	}
	var b bytes.Buffer
	if err := t.Execute(&b, p); err != nil {
		return nil, fmt.Errorf("render page of %s: %w", r.Kind(), err)
	}
	return append(bytes.TrimRight(b.Bytes(), "\n"), '\n'), nil
}

func pageAssets() (style, script string, err error) {
	css, err := assets.ReadFile("assets/report.css")
	if err != nil {
		return "", "", fmt.Errorf("read style of pages: %w", err)
	}
	js, err := assets.ReadFile("assets/report.js")
	if err != nil {
		return "", "", fmt.Errorf("read script of pages: %w", err)
	}
	return string(css), string(js), nil
}

var pageFunctions = template.FuncMap{
	"visible": visible, "visibleLines": visibleLines, "count": count, "size": size, "span": span, "instant": instant, "shorten": shorten,
	"shortTime": shortTime, "orUnknown": orUnknown, "sizeOrUnknown": sizeOrUnknown, "limit": bufferLimit, "idle": idleWords, "lengthOf": lengthOf, "ttlSort": ttlSort,
}

// lengthOf words the length of one side: bytes of a string, else elements.
func lengthOf(s *verifier.Side) string {
	switch {
	case s.Type == "string":
		return size(s.Length)
	case s.Type == "module":
		return ""
	}
	return plural(s.Length, "element")
}

// orUnknown words a figure that is -1 where nobody knows it.
func orUnknown(n int64) string {
	if n < 0 {
		return "–"
	}
	return count(n)
}

func sizeOrUnknown(n int64) string {
	if n < 0 {
		return "–"
	}
	return size(n)
}

func idleWords(seconds int64) string {
	if seconds < 0 {
		return "–"
	}
	return span(seconds * 1000)
}

// bufferLimit words a limit of an output buffer; 0 is none.
func bufferLimit(n int64) string {
	if n == 0 {
		return "none"
	}
	return sizeOrUnknown(n)
}

// ttlSort puts keys that never expire behind those that do.
func ttlSort(ms int64) int64 {
	if ms < 0 {
		return 1 << 62
	}
	return ms
}

func whenWords(generatedAt string) string {
	t, err := time.Parse(time.RFC3339, generatedAt)
	if err != nil {
		return visible(generatedAt)
	}
	return t.UTC().Format("2 January 2006, 15:04:05 UTC")
}

func shortTime(generatedAt string) string {
	t, err := time.Parse(time.RFC3339, generatedAt)
	if err != nil {
		return visible(generatedAt)
	}
	return t.UTC().Format("2 Jan 2006, 15:04 UTC")
}

// commandOf is the command that makes such a report again. Endpoints in headers hold no passwords.
func commandOf(r Report) string {
	h := r.header()
	both := " --source '" + visible(h.Source) + "' --target '" + visible(h.Target) + "' --out DIR"
	switch r := r.(type) {
	case *Check:
		return "surecut check" + selectionFlags(r.Selection) + both
	case *Verify:
		return fmt.Sprintf("surecut verify --depth %s --rounds %d%s%s", r.Depth, r.Rounds, selectionFlags(r.Selection), both)
	case *Migrate:
		return "surecut migrate" + selectionFlags(r.Selection) + both
	case *BigKeys:
		shards := ""
		if n := len(r.TargetShards); n > 0 {
			shards = fmt.Sprintf("--target-shards %d ", n)
		}
		return "surecut scan bigkeys " + shards + "--source '" + visible(h.Source) + "' --out DIR"
	case *Compat:
		return "surecut scan compat --to " + visible(r.Profile.Name) + compatFlags(visible(h.Source)) + " --out DIR"
	case *Gate:
		paths := make([]string, len(r.Inputs))
		for i, in := range r.Inputs {
			paths[i] = " '" + visible(in.Path) + "'"
		}
		return "surecut gate --out DIR" + strings.Join(paths, "")
	}
	return ""
}

// selectionFlags selects the same keys again. Keys that were repaired cannot be selected so, and the databases of URLs are
// part of these.
func selectionFlags(s *keyspace.Selection) string {
	if s == nil {
		return ""
	}
	var b strings.Builder
	for _, db := range s.Databases {
		fmt.Fprintf(&b, " --db %d", db)
	}
	for _, p := range s.Include {
		b.WriteString(" --include " + shellWord(p))
	}
	for _, p := range s.Exclude {
		b.WriteString(" --exclude " + shellWord(p))
	}
	for _, m := range s.DBMap {
		b.WriteString(" --db-map " + shellWord(m))
	}
	for _, p := range s.DBPrefix {
		b.WriteString(" --db-prefix " + shellWord(p))
	}
	return b.String()
}

// shellWord quotes text so that a shell takes it as one word, whatever it holds.
func shellWord(text string) string { return "'" + strings.ReplaceAll(visible(text), "'", `'\''`) + "'" }

// compatFlags names what a compat report has looked at: a URL, or files as "aof:PATH,code:DIR".
func compatFlags(source string) string {
	if source == "" || strings.HasPrefix(source, "redis") {
		return " --source '" + source + "'"
	}
	var b strings.Builder
	for part := range strings.SplitSeq(source, ",") {
		name, path, _ := strings.Cut(part, ":")
		b.WriteString(" --" + name + " '" + path + "'")
	}
	return b.String()
}
