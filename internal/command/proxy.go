package command

import (
	"maps"
	"slices"

	"surecut/internal/profile"
)

// ThroughTwemproxy returns the part of the dialect that a server understands behind nutcracker. Options that nutcracker accepts
// only since 0.5 are left out.
func (d *Dialect) ThroughTwemproxy() *Dialect {
	return d.through("twemproxy", Replace, AbsTTL, PushMany, PopCount)
}

// ThroughCodis returns the part of the dialect that a server understands behind codis-proxy. The proxy refuses RESTORE. It forwards
// RESTORE-ASKING, which is left out as well, because a payload of another version would not be accepted.
func (d *Dialect) ThroughCodis() *Dialect {
	return d.through("codis", Replace, AbsTTL).WithoutCommand("RESTORE-ASKING")
}

// through removes the commands that the profile of a proxy refuses, and the given forms.
func (d *Dialect) through(kind string, without ...Form) *Dialect {
	p := mustGet(kind)
	var names []string
	for name := range d.names {
		if !p.Refuses(name) {
			names = append(names, name)
		}
	}
	passes := d.forms
	for _, f := range without {
		passes[f] = false
	}
	var has []Form
	for f := range forms {
		if passes[f] {
			has = append(has, f)
		}
	}
	return NewDialect(names, has)
}

// clusterProxies are the proxies before a Redis Cluster: the kind of their rules by the name that URLs give them.
var clusterProxies = map[string]string{"tencent": "tencent-proxy"}

// ClusterProxies returns the names that URLs give to proxies before a Redis Cluster, in order.
func ClusterProxies() []string { return slices.Sorted(maps.Keys(clusterProxies)) }

// ProxyOf returns the rules of a proxy in front of a Redis Cluster by the name that URLs give it, or nil where the name is unknown.
// There, a transaction must begin with WATCH of one of its keys and stay in one slot.
func ProxyOf(name string) *profile.Profile {
	kind, known := clusterProxies[name]
	if !known {
		return nil
	}
	return mustGet(kind)
}

func mustGet(kind string) *profile.Profile {
	p, err := profile.Get(kind)
	if err != nil {
		panic("command: " + err.Error()) // profiles are embedded: an error is a bug of ours
	}
	return p
}
