package gate

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"braid/internal/mysqlproto"
	"braid/internal/schema"
	"braid/internal/sqlast"
	"braid/internal/topo"
	"braid/internal/vschema"
)

var update = flag.Bool("update", false, "rewrite testdata/plan.txt with what the planner does")

// planCatalog is that of testCluster, and a table that has moved from commerce to customer.
func planCatalog(t testing.TB) catalog {
	parse := func(doc string) *vschema.Keyspace {
		vs, err := vschema.Parse([]byte(doc))
		require.NoError(t, err)
		return vs
	}
	tables := map[string]*schema.Table{
		"corder":   {Name: "corder", Columns: []schema.Column{{Name: "order_id", DataType: "bigint"}, {Name: "customer_id", DataType: "bigint"}, {Name: "sku", DataType: "varchar", Charset: "utf8mb4", Collation: "utf8mb4_0900_ai_ci"}, {Name: "price", DataType: "bigint"}}, PrimaryKey: []int{0}},
		"customer": {Name: "customer", Columns: []schema.Column{{Name: "customer_id", DataType: "bigint"}, {Name: "email", DataType: "varchar", Charset: "utf8mb4", Collation: "utf8mb4_0900_ai_ci"}, {Name: "level", DataType: "enum"}}, PrimaryKey: []int{0}},
		"ticket":   {Name: "ticket", Columns: []schema.Column{{Name: "id", DataType: "bigint"}, {Name: "text", DataType: "varchar", Collation: "utf8mb4_0900_ai_ci"}}, PrimaryKey: []int{0}},
		"named":    {Name: "named", Columns: []schema.Column{{Name: "name", DataType: "varchar", Charset: "utf8mb4", Collation: "utf8mb4_0900_bin"}, {Name: "v", DataType: "int"}}, PrimaryKey: []int{0}},
	}
	return catalog{
		routing: &topo.Routing{Epoch: 7,
			Keyspaces: map[string]topo.KeyspaceRouting{"commerce": {topo.Primary: {"0"}}, "customer": {topo.Primary: {"-80", "80-"}}},
			Tables:    map[string]topo.TableRouting{"commerce.corder": {topo.Primary: "customer"}},
		},
		vschemas: map[string]*vschema.Keyspace{"commerce": parse(commerceVSchema), "customer": parse(customerVSchema)},
		columns: func(keyspace, table string) (*schema.Table, error) {
			if def := tables[table]; def != nil {
				return def, nil
			}
			return nil, noSuchTable(keyspace, table)
		},
	}
}

// TestPlans reads testdata/plan.txt: "@scope" lines set where the session stands, a line without indentation is a statement, and the
// indented lines after it are its plan.
func TestPlans(t *testing.T) {
	raw, err := os.ReadFile("testdata/plan.txt")
	require.NoError(t, err)
	p := &planner{
		catalog: planCatalog(t), scope: scope{typ: topo.Primary},
		sequence: func(sqlast.Table, uint64) (uint64, error) { return 100, nil },
		evaluate: func(exprs []string) ([]string, error) {
			out := make([]string, len(exprs))
			for i := range out {
				out[i] = "42"
			}
			return out, nil
		},
	}
	var out strings.Builder
	for line := range strings.Lines(string(raw)) {
		text := strings.TrimSuffix(line, "\n")
		switch {
		case strings.HasPrefix(text, "\t"):
			continue
		case strings.HasPrefix(text, "@"):
			p.scope, err = parseScope(strings.TrimSpace(text[1:]))
			require.NoError(t, err)
		case text != "" && !strings.HasPrefix(text, "#"):
			out.WriteString(text + "\n" + describePlan(p, text))
			continue
		}
		out.WriteString(text + "\n")
	}
	if *update {
		require.NoError(t, os.WriteFile("testdata/plan.txt", []byte(out.String()), 0o644))
		return
	}
	require.Equal(t, string(raw), out.String())
}

func describePlan(p *planner, sql string) string {
	pl, err := p.plan(sqlast.Parse(sql))
	if err != nil {
		e := mysqlproto.AsError(err)
		return fmt.Sprintf("\terror %d: %s\n", e.Code, e.Message)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "\twrite=%v tables=%s", pl.write, strings.Join(pl.tables, ","))
	if pl.firstID > 0 {
		fmt.Fprintf(&b, " first id %d", pl.firstID)
	}
	if pl.move != nil {
		fmt.Fprintf(&b, " move to %s", pl.move.to)
	}
	if m := pl.merge; m != nil {
		fmt.Fprintf(&b, " merge: hidden=%d order=%d group=%v sort=%d", m.hidden, len(m.order), m.group, len(m.sort))
		if m.limit != noLimit {
			fmt.Fprintf(&b, " limit=%d+%d", m.offset, m.limit)
		}
	}
	b.WriteString("\n")
	for _, part := range pl.parts {
		fmt.Fprintf(&b, "\t%s: %s\n", part.dest, part.sql)
	}
	return b.String()
}
