package filter_test

import (
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"braid/internal/filter"
	"braid/internal/keyrange"
	"braid/internal/rowimage"
	"braid/internal/schema"
	"braid/internal/vindex"
)

var customer = &schema.Table{Name: "customer", Columns: []schema.Column{{Name: "name"}, {Name: "id"}}, PrimaryKey: []int{1}}

func rule(keyRange string) filter.Rule {
	return filter.Rule{Table: "customer", KeyRange: keyRange, Vindex: "hash", VindexColumns: []string{"ID"}}
}

func row(name, id string) rowimage.Row { return rowimage.Row{[]byte(name), []byte(id)} }

func TestFirstMatchWins(t *testing.T) {
	rules := filter.Rules{Rules: []filter.Rule{{Table: "a", Target: "first"}, {Table: "/b.*"}, {Table: "a", Target: "second"}, {Table: "/.*|x"}}}
	require.NoError(t, rules.Validate())
	for table, target := range map[string]string{"a": "first", "b1": "b1", "b": "b", "ab": "ab"} {
		plan, err := rules.Plan(&schema.Table{Name: table})
		require.NoError(t, err)
		require.Equal(t, table, plan.Table)
		require.Equal(t, target, plan.Target)
		require.True(t, plan.All())
		require.Empty(t, plan.Columns())
	}
	exact := filter.Rules{Rules: []filter.Rule{{Table: "a"}, {Table: "/b"}}}
	for _, table := range []string{"A", "ab", "bb", ""} {
		plan, err := exact.Plan(&schema.Table{Name: table})
		require.NoError(t, err)
		require.Nil(t, plan, table)
	}
}

func TestKeyRange(t *testing.T) {
	plan, err := filter.Rules{Rules: []filter.Rule{rule("-10")}}.Plan(customer)
	require.NoError(t, err)
	require.False(t, plan.All())
	require.Equal(t, []int{1}, plan.Columns())
	for id, want := range map[string]bool{"1": false, "2": true} { // 16..., 06...
		got, err := plan.Match(row("x", id))
		require.NoError(t, err)
		require.Equal(t, want, got, id)
		got, err = plan.MatchCells([][]byte{[]byte(id)})
		require.NoError(t, err)
		require.Equal(t, want, got, id)
	}
	for _, full := range []string{"", "-", "0"} {
		plan, err := filter.Rules{Rules: []filter.Rule{rule(full)}}.Plan(customer)
		require.NoError(t, err)
		got, err := plan.Match(row("x", "not a number"))
		require.NoError(t, err)
		require.True(t, got)
	}
}

func TestRowsWithoutAKeyspaceID(t *testing.T) {
	plan, err := filter.Rules{Rules: []filter.Rule{rule("-80")}}.Plan(customer)
	require.NoError(t, err)
	_, err = plan.Match(rowimage.Row{[]byte("x"), nil})
	require.EqualError(t, err, "table customer: row (NULL): vindex hash: NULL has no keyspace ID")
	_, err = plan.Match(row("x", "abc"))
	require.EqualError(t, err, `table customer: row ("abc"): vindex hash: "abc" is not a 64-bit integer`)
	_, err = plan.MatchCells([][]byte{nil})
	require.EqualError(t, err, "table customer: vindex hash: NULL has no keyspace ID")
}

func TestRulesThatCannotBeFollowed(t *testing.T) {
	for _, c := range []struct {
		rule filter.Rule
		why  string
	}{
		{filter.Rule{}, "it names no table"},
		{filter.Rule{Table: "/"}, "it names no table"},
		{filter.Rule{Table: "/("}, "missing closing )"},
		{filter.Rule{Table: "/a.*", Target: "b"}, `many tables cannot all become "b"`},
		{filter.Rule{Table: "a", KeyRange: "80"}, `key range "80"`},
		{filter.Rule{Table: "a", KeyRange: "-80"}, "key range -80 without a vindex"},
		{filter.Rule{Table: "a", KeyRange: "-80", Vindex: "hash"}, "without a vindex and its columns"},
		{filter.Rule{Table: "a", KeyRange: "-80", Vindex: "hush", VindexColumns: []string{"id"}}, "unknown vindex type"},
	} {
		require.ErrorContains(t, filter.Rules{Rules: []filter.Rule{c.rule}}.Validate(), c.why)
	}
	bad := rule("-80")
	bad.VindexColumns = []string{"nope"}
	_, err := filter.Rules{Rules: []filter.Rule{bad}}.Plan(customer)
	require.EqualError(t, err, `table customer: no column "nope", which vindex hash needs`)
}

func TestJSON(t *testing.T) {
	rules := filter.Rules{Rules: []filter.Rule{rule("40-80"), {Table: "/.*"}}}
	again, err := filter.Parse(rules.JSON())
	require.NoError(t, err)
	require.Equal(t, rules, again)
	require.JSONEq(t, `{"rules": [{"table": "customer", "key_range": "40-80", "vindex": "hash", "vindex_columns": ["ID"]}, {"table": "/.*"}]}`, string(rules.JSON()))
	_, err = filter.Parse([]byte(`{"rules": [{"tabel": "x"}]}`))
	require.ErrorContains(t, err, "unknown field")
	_, err = filter.Parse([]byte(`{"rules": [{}]}`))
	require.ErrorContains(t, err, "it names no table")
}

// Of the plans of a partition exactly one has each row: the one whose range holds the row's keyspace ID.
func TestAPartitionPlacesEveryRowOnce(t *testing.T) {
	hash, err := vindex.New("hash", nil)
	require.NoError(t, err)
	rapid.Check(t, func(t *rapid.T) {
		shards, err := keyrange.Split(rapid.IntRange(2, 16).Draw(t, "shards"))
		require.NoError(t, err)
		cell := []byte(strconv.FormatInt(rapid.Int64().Draw(t, "id"), 10))
		id, err := hash.Map([][]byte{cell})
		require.NoError(t, err)
		holders := 0
		for _, shard := range shards {
			plan, err := filter.Rules{Rules: []filter.Rule{rule(shard)}}.Plan(customer)
			require.NoError(t, err)
			got, err := plan.Match(rowimage.Row{nil, cell})
			require.NoError(t, err)
			if got {
				holders++
			}
			if r, err := keyrange.Parse(shard); err != nil || r.Contains(id) != got {
				t.Fatalf("shard %s: %v, keyspace ID %x", shard, got, id)
			}
		}
		if holders != 1 {
			t.Fatalf("%d shards hold %s", holders, cell)
		}
	})
}

func BenchmarkMatch(b *testing.B) {
	plan, err := filter.Rules{Rules: []filter.Rule{rule("-80")}}.Plan(customer)
	require.NoError(b, err)
	r := row("x", "4711")
	b.ReportAllocs()
	for b.Loop() {
		if _, err := plan.Match(r); err != nil {
			b.Fatal(err)
		}
	}
}
