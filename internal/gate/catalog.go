package gate

import (
	"fmt"
	"slices"
	"strings"

	"github.com/go-mysql-org/go-mysql/mysql"

	"braid/internal/base/errs"
	"braid/internal/keyrange"
	"braid/internal/mysqlproto"
	"braid/internal/schema"
	"braid/internal/sqlast"
	"braid/internal/topo"
	"braid/internal/vschema"
)

// catalog is what a plan is made from.
type catalog struct {
	routing  *topo.Routing
	vschemas map[string]*vschema.Keyspace
	// columns returns a table's definition as its tablets have it.
	columns func(keyspace, table string) (*schema.Table, error)
}

// scope is where a session stands: what unqualified names mean and which tablets it wants.
type scope struct {
	keyspace string          // "" until USE
	shard    string          // not "": everything goes there as it is
	typ      topo.TabletType // of the tablets
}

// String is what USE would take.
func (s scope) String() string {
	out := s.keyspace
	if s.shard != "" {
		out += "/" + s.shard
	}
	if s.typ != topo.Primary {
		out += "@" + strings.ToLower(string(s.typ))
	}
	return out
}

// dest is the shard and the kind of tablet that a part goes to.
type dest struct {
	keyspace, shard string
	typ             topo.TabletType
}

func (d dest) String() string { return d.keyspace + "/" + d.shard + "@" + string(d.typ) }

// serverSchemas are databases that every mysqld has.
var serverSchemas = []string{"information_schema", "mysql", "performance_schema", "sys", "_braid"}

func isServerSchema(name string) bool {
	return slices.Contains(serverSchemas, strings.ToLower(name))
}

// resolved is a table with the keyspace that serves it.
type resolved struct {
	keyspace, table string
}

// resolve finds the keyspace that serves a table.
func (c *catalog) resolve(t sqlast.Table, in scope) (resolved, error) {
	named := t.Keyspace
	if named == "" {
		var err error
		if named, err = c.find(t.Name, in); err != nil {
			return resolved{}, err
		}
	} else if _, ok := c.routing.Keyspaces[named]; !ok {
		return resolved{}, mysqlproto.Error(mysql.ER_BAD_DB_ERROR, "42000", fmt.Sprintf("Unknown database '%s'", named))
	}
	return resolved{keyspace: c.routing.TableKeyspace(named, t.Name, in.typ), table: t.Name}, nil
}

// find says which keyspace an unqualified name means: the session's if it may have the table, else the only one whose
// VSchema lists it.
func (c *catalog) find(table string, in scope) (string, error) {
	if in.keyspace != "" && c.mayHave(in.keyspace, table) {
		return in.keyspace, nil
	}
	var found []string // keyspaces that serve it
	var named string
	for ks, vs := range c.vschemas {
		if vs.Table(table) == nil {
			continue
		}
		named = ks
		if serving := c.routing.TableKeyspace(ks, table, in.typ); !slices.Contains(found, serving) {
			found = append(found, serving)
		}
	}
	switch {
	case len(found) == 1:
		return named, nil
	case len(found) > 1:
		slices.Sort(found)
		return "", mysqlproto.Error(mysql.ER_NON_UNIQ_ERROR, "23000", fmt.Sprintf("Table '%s' is ambiguous: keyspaces %s have one; write keyspace.table", table, strings.Join(found, ", ")))
	case in.keyspace != "":
		if vs := c.vschemas[in.keyspace]; vs == nil || !vs.Sharded {
			return in.keyspace, nil
		}
		return "", mysqlproto.Error(mysql.ER_NO_SUCH_TABLE, "42S02", fmt.Sprintf("Table '%s.%s' doesn't exist in the VSchema of this sharded keyspace", in.keyspace, table))
	}
	return "", mysqlproto.Error(mysql.ER_NO_DB_ERROR, "3D000", "No database selected")
}

// mayHave says whether a keyspace should be asked for a table first: it lists it, or it lists nothing at all.
func (c *catalog) mayHave(keyspace, table string) bool {
	vs := c.vschemas[keyspace]
	if vs == nil || vs.Table(table) != nil {
		return true
	}
	if _, routed := c.routing.Tables[keyspace+"."+table]; routed {
		return true
	}
	return !vs.Sharded && len(vs.Tables) == 0
}

// sharded says whether rows of a keyspace's tables are spread by vindexes.
func (c *catalog) sharded(keyspace string) bool {
	vs := c.vschemas[keyspace]
	return vs != nil && vs.Sharded
}

// shards are the shards of a keyspace that serve a tablet type.
func (c *catalog) shards(keyspace string, typ topo.TabletType) ([]string, error) {
	if _, ok := c.routing.Keyspaces[keyspace]; !ok {
		return nil, mysqlproto.Error(mysql.ER_BAD_DB_ERROR, "42000", fmt.Sprintf("Unknown database '%s'", keyspace))
	}
	shards := c.routing.ServingShards(keyspace, typ)
	if len(shards) == 0 {
		return nil, hold(errs.New(errs.NotServing, nil, "keyspace %s has no shard that serves %s", keyspace, typ))
	}
	return shards, nil
}

// one is the only shard of a keyspace that is not sharded.
func (c *catalog) one(keyspace string, typ topo.TabletType) (dest, error) {
	shards, err := c.shards(keyspace, typ)
	if err != nil {
		return dest{}, err
	}
	if len(shards) > 1 {
		return dest{}, unsupported("keyspace %s has %d shards, but its VSchema does not say that it is sharded", keyspace, len(shards))
	}
	return dest{keyspace, shards[0], typ}, nil
}

// shardOf is the shard that holds a keyspace ID.
func (c *catalog) shardOf(keyspace string, typ topo.TabletType, id []byte) (string, error) {
	shards, err := c.shards(keyspace, typ)
	if err != nil {
		return "", err
	}
	for _, s := range shards {
		r, err := keyrange.Parse(s)
		if err != nil {
			return "", fmt.Errorf("shard %s/%s: %w", keyspace, s, err)
		}
		if r.Contains(id) {
			return s, nil
		}
	}
	return "", hold(errs.New(errs.NotServing, nil, "no shard of keyspace %s serves keyspace ID %x", keyspace, id))
}

// unsupported is the refusal of what would need work across shards that is not done here.
func unsupported(format string, args ...any) error {
	return errs.New(errs.Unsupported, nil, format, args...)
}
