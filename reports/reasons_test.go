package reports

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"surecut/verifier"
)

// TestReasonsAreInTheContract: the schema's list of reasons and the table of the documentation are written from that of the verifier, by
// go test ./reports -update.
func TestReasonsAreInTheContract(t *testing.T) {
	var codes, rows strings.Builder
	for i, r := range verifier.Reasons() {
		if i > 0 {
			codes.WriteString(",")
		}
		fmt.Fprintf(&codes, "\n        %q", string(r))
		fmt.Fprintf(&rows, "| `%s` | `%s` | %s |\n", r, r.Verdict(), r.Text())
	}
	for _, tt := range []struct{ file, before, after, want string }{
		{filepath.Join("schema", "verify.json"), "    \"code\": {\n      \"type\": \"string\",\n      \"enum\": [", "\n      ]", codes.String()},
		{filepath.Join("..", "docs", "exit-status-and-json.md"), "| code | verdict | why a key is not the same |\n| --- | --- | --- |\n", "\n", rows.String()},
	} {
		data, err := os.ReadFile(tt.file)
		if err != nil {
			t.Fatal(err)
		}
		head, rest, ok := strings.Cut(string(data), tt.before)
		end := strings.Index(rest, "\n"+strings.TrimPrefix(tt.after, "\n"))
		if tt.after == "\n" { // the first empty line
			end = strings.Index(rest, "\n\n") + 1
		}
		if !ok || end < 0 {
			t.Fatalf("%s has no place for the reasons", tt.file)
		}
		if rest[:end] == tt.want {
			continue
		}
		if *update {
			if err := os.WriteFile(tt.file, []byte(head+tt.before+tt.want+rest[end:]), 0o644); err != nil {
				t.Fatal(err)
			}
			continue
		}
		t.Errorf("%s does not list the reasons of the verifier; run go test ./reports -update\n%s", tt.file, firstDifference(tt.want, rest[:end]))
	}
}

// withoutReasons is a report as versions wrote it that had no codes.
func withoutReasons(t *testing.T, v *Verify) *Verify {
	t.Helper()
	tree := document(t, v).(map[string]any)
	delete(tree, "by_reason")
	for _, f := range tree["findings"].([]any) {
		delete(f.(map[string]any), "code")
	}
	data, err := json.Marshal(tree)
	if err != nil {
		t.Fatal(err)
	}
	r, err := decode(data)
	if err != nil {
		t.Fatalf("a report of an older version is refused: %v", err)
	}
	return r.(*Verify)
}

// TestTolerate: a policy names reasons, whose keys do not count. Nothing else is tolerated with them.
func TestTolerate(t *testing.T) {
	const (
		expiry    = 0 // expiry_on_source_only
		value     = 1 // value_differs
		missing   = 5 // absent_on_target
		extra     = 7 // absent_on_source
		unchecked = 11
	)
	all := realFindings()
	tests := []struct {
		name, why string
		findings  []int
		old       bool // as a version without codes wrote it
		policy    VerifyPolicy
		against   string // "" is GO
		ground    string
	}{
		{name: "nothing tolerated", findings: []int{expiry}, against: "1 key is not the same of 61,831 compared (1 different, 0 missing, 0 extra); the policy allows 0."},
		{name: "the reason tolerated", findings: []int{expiry}, policy: VerifyPolicy{Tolerate: []verifier.Reason{verifier.ExpiryOnSourceOnly}}, ground: "The policy tolerates 1 expiry_on_source_only."},
		{name: "another reason tolerated", why: "the values may differ, a lost expiry is another thing", findings: []int{expiry}, policy: VerifyPolicy{Tolerate: []verifier.Reason{verifier.ValueDiffers}}, against: "the policy allows 0."},
		{name: "one of two tolerated", findings: []int{expiry, value}, policy: VerifyPolicy{Tolerate: []verifier.Reason{verifier.ExpiryOnSourceOnly}}, against: "2 keys are not the same of 62,413 compared (2 different, 0 missing, 0 extra); the policy allows 0, in addition to 1 that it tolerates for their reasons."},
		{name: "both tolerated", findings: []int{expiry, value}, policy: VerifyPolicy{Tolerate: []verifier.Reason{verifier.ExpiryOnSourceOnly, verifier.ValueDiffers}}, ground: "The policy tolerates 1 value_differs, 1 expiry_on_source_only."},
		{name: "one tolerated, one allowed", findings: []int{expiry, value}, policy: VerifyPolicy{Tolerate: []verifier.Reason{verifier.ExpiryOnSourceOnly}, MaxDifferences: 1}, ground: "The policy tolerates 1 expiry_on_source_only."},
		{name: "missing keys", findings: []int{missing}, policy: VerifyPolicy{Tolerate: []verifier.Reason{verifier.AbsentOnSource}}, against: "1 missing, 0 extra); the policy allows 0."},
		{name: "extra keys", findings: []int{extra}, policy: VerifyPolicy{Tolerate: []verifier.Reason{verifier.AbsentOnSource}}, ground: "The policy tolerates 1 absent_on_source."},
		{name: "unchecked keys", findings: []int{unchecked}, policy: VerifyPolicy{Tolerate: []verifier.Reason{verifier.ModulePayloadDiffers}}, ground: "The policy tolerates 1 module_payload_differs."},
		{name: "unchecked for another reason", findings: []int{unchecked}, policy: VerifyPolicy{Tolerate: []verifier.Reason{verifier.ModuleInFile}}, against: "1 key is unchecked; the policy allows 0."},
		{name: "differences do not make room for unchecked keys", findings: []int{expiry, unchecked}, policy: VerifyPolicy{Tolerate: []verifier.Reason{verifier.ExpiryOnSourceOnly}}, against: "1 key is unchecked; the policy allows 0."},
		{name: "a report without codes", why: "it does not say why, so that nothing can be tolerated", old: true, findings: []int{expiry}, policy: VerifyPolicy{Tolerate: verifier.Reasons()}, against: "1 key is not the same of 61,831 compared (1 different, 0 missing, 0 extra); the policy allows 0."},
		{name: "a report without codes, by number", why: "it is read as ever", old: true, findings: []int{expiry, value}, policy: VerifyPolicy{MaxDifferences: 2}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var findings []verifier.Finding
			for _, i := range tt.findings {
				findings = append(findings, all[i])
			}
			v := sampleVerify(findings...)
			if tt.old {
				v = withoutReasons(t, v)
			}
			p := DefaultPolicy()
			p.Verify.Tolerate, p.Verify.MaxDifferences = tt.policy.Tolerate, tt.policy.MaxDifferences
			g := evaluateAt(sampleNow, p, []Loaded{{Path: "check.json", Report: passedCheck()}, {Path: "verify.json", Report: v}})
			reasons := strings.Join(g.Reasons, "\n")
			if goes := g.Verdict == Go; goes != (tt.against == "") || !strings.Contains(reasons, tt.against) || !strings.Contains(reasons, tt.ground) {
				t.Errorf("%s: %s\nwant %q, %q (%s)", g.Verdict, reasons, tt.against, tt.ground, tt.why)
			}
			if strings.Contains(reasons, "contradicts itself") {
				t.Error(reasons)
			}
		})
	}
}

// TestUnknownReasonsAreRefused: a slip in a name must not weaken a gate, nor pass as a finding.
func TestUnknownReasonsAreRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "policy.yaml")
	if err := os.WriteFile(path, []byte("verify: {tolerate: [expiry_differs, expiry_difers]}\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	_, err := LoadPolicy(path)
	if err == nil {
		t.Fatal("a policy with an unknown reason was taken")
	}
	for _, want := range append(verifier.Reasons(), `verify.tolerate: "expiry_difers" is unknown, choose from absent_on_target, `) {
		if !strings.Contains(err.Error(), string(want)) {
			t.Errorf("the error does not name %s: %v", want, err)
		}
	}
	for _, at := range []string{"findings", "by_reason"} {
		tree := document(t, sampleVerify(realFindings()...)).(map[string]any)
		tree[at].([]any)[0].(map[string]any)["code"] = "luck"
		data, err := json.Marshal(tree)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := decode(data); err == nil || !strings.Contains(err.Error(), at+`[0].code is "luck", must be one of absent_on_target, `) {
			t.Errorf("%s: %v", at, err)
		}
	}
}
