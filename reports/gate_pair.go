package reports

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"surecut/internal/endpoint"
)

// A gate judges reports on one pair of deployments and on one selection of keys. This file compares the reports with each other,
// and with the pair that the policy names.

// site is one side of a pair, as named by a report.
type site struct {
	Side    string // source or target
	URL     string
	Servers endpoint.Identity
}

func sitesOf(r Report) []site {
	h := r.header()
	sites := []site{{"source", h.Source, h.SourceServers}}
	if !oneSided(r) {
		sites = append(sites, site{"target", h.Target, h.TargetServers})
	}
	return sites
}

// oneSided says whether the report is about a source only.
func oneSided(r Report) bool { return r.Kind() == KindBigKeys || r.Kind() == KindCompat }

// known says whether the servers have IDs by which they can be told apart from others.
func (p site) known() bool {
	return slices.ContainsFunc(p.Servers, func(m endpoint.Member) bool { return m.RunID != "" || m.NodeID != "" })
}

// samePair compares every report with the first one that has both sides. Servers are told apart by their run IDs and node IDs,
// since a deployment may have several names, and a name may lead to another server than yesterday. URLs decide only if a report has
// no IDs of its servers. The source of a bigkeys or compat report may also be a file, which no other report names.
func samePair(p Policy, inputs []Loaded) []string {
	var against []string
	var first *Loaded
	for i, l := range inputs {
		if oneSided(l.Report) {
			continue
		}
		h := l.Report.header()
		switch {
		case h.Source == "" || h.Target == "":
			against = append(against, fmt.Sprintf("%s does not name its source and target, so it is not known what it proves.", l.Path))
		case first == nil:
			first = &inputs[i]
		default:
			against = append(against, differentSites(p, *first, l)...)
		}
	}
	for _, l := range inputs {
		if first != nil && oneSided(l.Report) && strings.HasPrefix(l.Report.header().Source, "redis") {
			against = append(against, differentSites(p, *first, l)...)
		}
	}
	return against
}

// differentSites returns a sentence for each side on which two reports are about different servers.
func differentSites(p Policy, a, b Loaded) []string {
	var against []string
	ones, others := sitesOf(a.Report), sitesOf(b.Report)
	for i, other := range others {
		one := ones[i]
		switch {
		case one.known() && other.known():
			if restarted, evidence := other.Servers.RestartedSince(one.Servers); restarted && !p.AllowRestarts {
				if same, _ := one.Servers.SameAs(other.Servers); same { // where no server is the same, the sentence below names them all
					against = append(against, fmt.Sprintf("A server of the %s was restarted or replaced between %s and %s (%s), and may have lost what was compared. "+
						"Make the reports again, or set allow_restarts in the policy.", one.Side, a.Path, b.Path, visible(evidence)))
					continue
				}
			}
			if same, _ := one.Servers.SameAs(other.Servers); same || p.AllowRestarts && one.URL == other.URL {
				continue
			}
		case one.URL == other.URL:
			continue
		}
		if one.URL != other.URL {
			return append(against, otherURLs(a, b))
		}
		against = append(against, fmt.Sprintf("%s and %s are not about the same servers of the %s, although both name it %s: %s and %s. "+
			"The servers were restarted or replaced in between, and may have lost what was compared. Make the reports again, or set allow_restarts in the policy.",
			a.Path, b.Path, one.Side, visible(one.URL), serverNames(one.Servers), serverNames(other.Servers)))
	}
	return against
}

func otherURLs(a, b Loaded) string {
	h, f := b.Report.header(), a.Report.header()
	if oneSided(b.Report) {
		return fmt.Sprintf("%s is about %s, but %s has the source %s.", b.Path, visible(h.Source), a.Path, visible(f.Source))
	}
	if swapped, _ := endpoint.Identity(h.SourceServers).SameAs(f.TargetServers); swapped || h.Source == f.Target && h.Target == f.Source {
		return fmt.Sprintf("The source of %s is the target of %s. Source and target were swapped for one of the reports.", b.Path, a.Path)
	}
	return fmt.Sprintf("%s is about %s, but %s is about %s.", b.Path, place(h), a.Path, place(f))
}

// serverNames returns the first servers, each with the ID that distinguishes it.
func serverNames(servers endpoint.Identity) string {
	const shown = 3
	var words []string
	for _, m := range servers {
		if id := memberID(m); id != "" {
			words = append(words, fmt.Sprintf("%s (%s)", visible(m.Addr), id))
		}
	}
	if n := len(words) - shown; n > 0 {
		words = append(words[:shown], fmt.Sprintf("%d more", n))
	}
	return strings.Join(words, ", ")
}

// memberID returns in words the ID that distinguishes a server: in a cluster the node ID, which survives restarts, otherwise the
// run ID of the process.
func memberID(m endpoint.Member) string {
	switch {
	case m.NodeID != "":
		return "node " + visible(shorten(m.NodeID, 12))
	case m.RunID != "":
		return "run " + visible(shorten(m.RunID, 12))
	}
	return ""
}

// wantedSites compares one report with the source and target that the policy names, and its two sides with each other.
func wantedSites(p Policy, r Report) []string {
	var against []string
	sites := sitesOf(r)
	for i, wanted := range []string{p.Source, p.Target}[:len(sites)] {
		if oneSided(r) && !strings.HasPrefix(sites[i].URL, "redis") {
			continue // A policy cannot name a file.
		}
		if wanted != "" && !sites[i].is(wanted) {
			against = append(against, fmt.Sprintf("Its %s is %s (%s); the policy requires %s.", sites[i].Side, visible(sites[i].URL),
				orNothing(serverNames(sites[i].Servers)), visible(wanted)))
		}
	}
	if len(sites) == 2 {
		if same, evidence := sites[0].Servers.SameAs(sites[1].Servers); same {
			against = append(against, fmt.Sprintf("Its source and its target are the same deployment: %s.", visible(evidence)))
		}
	}
	return against
}

// is says whether the site is the one that a policy names by a URL, an address, a run ID or a node ID.
func (p site) is(wanted string) bool {
	if withoutPassword(wanted) == p.URL {
		return true
	}
	address := wanted
	if u, err := url.Parse(wanted); err == nil && u.Host != "" && (u.Path == "" || u.Path == "/") {
		address = u.Host
	}
	return slices.ContainsFunc(p.Servers, func(m endpoint.Member) bool {
		return m.Addr == address || m.RunID == wanted || m.NodeID == wanted
	})
}

// withoutPassword returns the URL as reports show it, that is without its password.
func withoutPassword(text string) string {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" {
		return text
	}
	if u.User != nil {
		if u.User = url.User(u.User.Username()); u.User.Username() == "" {
			u.User = nil
		}
	}
	return strings.TrimSuffix(u.String(), "/")
}

// sameSelection returns reasons against reports on a selection of keys that the policy does not name, and against reports on
// different selections.
func sameSelection(p Policy, inputs []Loaded) []string {
	var against []string
	var first *Loaded
	for i, l := range inputs {
		s, ok := selectionOf(l.Report)
		if !ok {
			continue
		}
		if part := s.Part(); part != p.Selection.Part() {
			against = append(against, l.Path+": "+partWords(p, part))
		} else if mapping := p.Selection.Mapping(); mapping != "" && mapping != s.Mapping() {
			against = append(against, fmt.Sprintf("%s: Its mapping is %s; the policy requires %s.", l.Path, orNothing(visible(s.Mapping())), visible(mapping)))
		}
		if first == nil {
			first = &inputs[i]
			continue
		}
		if f, _ := selectionOf(first.Report); !s.Equal(f) {
			against = append(against, fmt.Sprintf("%s is about %s, but %s is about %s; all reports of a migration must have the same selection.", l.Path, visible(s.String()), first.Path, visible(f.String())))
		}
	}
	return against
}

func partWords(p Policy, part string) string {
	switch wanted := p.Selection.Part(); {
	case wanted == "":
		return fmt.Sprintf("It covers only a part of the keys: %s. Make the report for all keys, or name this part in the policy's selection.", visible(part))
	case part == "":
		return fmt.Sprintf("It covers all keys; the policy's selection is %s.", visible(wanted))
	default:
		return fmt.Sprintf("It covers only a part of the keys: %s; the policy's selection is %s.", visible(part), visible(wanted))
	}
}

// staleVerification finds comparisons that were made so long before the migration ended that keys which arrived afterwards were not
// compared.
func staleVerification(p Policy, inputs []Loaded) []string {
	var against []string
	for _, v := range inputs {
		for _, m := range inputs {
			if v.Report.Kind() != KindVerify || m.Report.Kind() != KindMigrate {
				continue
			}
			compared, err := time.Parse(time.RFC3339, v.Report.header().GeneratedAt)
			moved, err2 := time.Parse(time.RFC3339, m.Report.header().GeneratedAt)
			if early := moved.Sub(compared); err == nil && err2 == nil && early > time.Duration(p.Verify.MaxBeforeMigration) {
				against = append(against, fmt.Sprintf("%s was made %s before %s, so data that the migration has copied since was not compared; the policy allows %s. Verify again.",
					v.Path, span(early.Milliseconds()), m.Path, p.Verify.MaxBeforeMigration))
			}
		}
	}
	return against
}
