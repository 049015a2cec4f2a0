package filter_test

import (
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"braid/internal/filter"
	"braid/internal/schema"
)

func TestRulesThatNameDatabases(t *testing.T) {
	rules := filter.Rules{Databases: []string{"shop", "/crm.*"}, Rules: []filter.Rule{
		{DB: "shop", Table: "orders", TargetDB: "archive", Target: "old"}, {DB: "/.*", Table: "/tmp_.*", Ignore: true},
		{DB: "crm1", Table: "/.*", TargetDB: "crm"}, {DB: "/.*", Table: "/.*"},
	}}
	require.NoError(t, rules.Validate())
	require.True(t, rules.Qualified())
	for from, to := range map[[2]string][2]string{
		{"shop", "orders"}: {"archive", "old"}, {"shop", "item"}: {"shop", "item"}, {"crm1", "a"}: {"crm", "a"}, {"crm2", "a"}: {"crm2", "a"},
		{"shop", "tmp_x"}: {}, {"other", "orders"}: {}, {"crm1", "tmp_x"}: {},
	} {
		plan, err := rules.Plan(&schema.Table{DB: from[0], Name: from[1]})
		require.NoError(t, err)
		if to[0] == "" {
			require.Nil(t, plan, from)
			continue
		}
		require.Equal(t, to, [2]string{plan.TargetDB, plan.Target}, from)
	}
	for db, want := range map[string]string{"shop": "shop", "crm1": "crm", "crm2": "crm2", "mysql": "", "other": ""} {
		got, ok := rules.Database(db)
		require.Equal(t, want, got, db)
		require.Equal(t, want != "", ok)
	}
	again, err := filter.Parse(rules.JSON())
	require.NoError(t, err)
	require.Equal(t, rules, again)
}

func TestRulesOfDatabasesThatCannotBeFollowed(t *testing.T) {
	for why, rules := range map[string]filter.Rules{
		"some rules name a database, and some do not": {Rules: []filter.Rule{{DB: "a", Table: "t"}, {Table: "t"}}},
		"cannot all come into":                        {Rules: []filter.Rule{{DB: "/.*", Table: "t", TargetDB: "x"}}},
		"missing closing )":                           {Databases: []string{"/("}, Rules: []filter.Rule{{DB: "a", Table: "t"}}},
		"it names no database":                        {Databases: []string{""}, Rules: []filter.Rule{{DB: "a", Table: "t"}}},
	} {
		require.ErrorContains(t, rules.Validate(), why)
	}
}

// A name can be taken apart again, whatever characters it has.
func TestNames(t *testing.T) {
	rules := filter.Rules{Rules: []filter.Rule{{DB: "/.*", Table: "/.*"}}}
	part := rapid.StringOfN(rapid.SampledFrom([]rune("ab.`ü ")), 1, 6, -1)
	rapid.Check(t, func(t *rapid.T) {
		db, table := part.Draw(t, "db"), part.Draw(t, "table")
		gotDB, gotTable := rules.Split(rules.Name(db, table))
		if gotDB != db || gotTable != table {
			t.Fatalf("%q %q: %s: %q %q", db, table, rules.Name(db, table), gotDB, gotTable)
		}
	})
	require.Equal(t, "a.b", rules.Name("a", "b"))
	require.Equal(t, "b.c", filter.Rules{Rules: []filter.Rule{{Table: "x"}}}.Name("a", "b.c"))
}
