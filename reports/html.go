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

// htmlRows limits the rows of a table, and htmlReasons the reasons that are shown unfolded. The JSON report has all of them.
const (
	htmlRows    = 2000
	htmlReasons = 12
)

// pageView is the data of assets/page.html. Body and its template depend on the kind of report.
type pageView struct {
	summary
	Kind, When, Command string
	Header              *Header
	First, Rest         []string // of the reasons
	Stands              []fact   // the scope of the report
	Columns             int      // of the cards
	CSP                 string
	CSS                 template.CSS
	JS                  template.JS
	Data                template.JS // JSON for the script, with <, >, &, U+2028 and U+2029 escaped
	Body                any
}

// renderHTML returns one file that loads nothing from elsewhere. Its content security policy allows only the script that is part of
// surecut, by its hash, so that a text which escaped its place in the page could still not run anything.
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

// lengthOf returns the length of one side in words: in bytes for a string, otherwise in elements.
func lengthOf(s *verifier.Side) string {
	switch {
	case s.Type == "string":
		return size(s.Length)
	case s.Type == "module":
		return ""
	}
	return plural(s.Length, "element")
}

// orUnknown writes a figure, or a dash for -1, which means unknown.
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

// bufferLimit writes a limit of an output buffer. 0 means no limit.
func bufferLimit(n int64) string {
	if n == 0 {
		return "none"
	}
	return sizeOrUnknown(n)
}

// ttlSort returns a sort key that puts keys without an expiry after all others.
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

// commandOf returns the command that makes such a report again. Endpoints in headers hold no passwords.
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

// selectionFlags returns the flags that select the same keys again. There are no flags for the keys of a repair, and databases that
// were given in URLs are part of the URLs.
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

// shellWord quotes text so that a shell takes it as one word, whatever it contains.
func shellWord(text string) string { return "'" + strings.ReplaceAll(visible(text), "'", `'\''`) + "'" }

// compatFlags returns the flags for what a compat scan looked at: a URL, or files written as "aof:PATH,code:DIR".
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
