package command

import (
	"maps"
	"slices"

	"surecut/internal/profile"
)

// ThroughTwemproxy is what a server understands when it is spoken to through nutcracker. Options that only 0.5 takes are
// not among it.
func (d *Dialect) ThroughTwemproxy() *Dialect {
	return d.through("twemproxy", Replace, AbsTTL, PushMany, PopCount)
}

// ThroughCodis is what a server understands when it is spoken to through codis-proxy. RESTORE is refused; its twin passes, and
// is left out as well, since the payload of another version would not.
func (d *Dialect) ThroughCodis() *Dialect {
	return d.through("codis", Replace, AbsTTL).WithoutCommand("RESTORE-ASKING")
}

// through leaves out what the profile of a proxy says that it refuses, and the forms that do not pass.
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

// ProxyOf returns the rules of a proxy before a Redis Cluster by the name that URLs give it; nil where it is not known. A
// transaction has to begin with WATCH of one of its keys there, and lives in one slot.
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
		panic("command: " + err.Error()) // embedded: our own broken invariant
	}
	return p
}
