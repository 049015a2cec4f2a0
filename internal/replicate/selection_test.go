package replicate

import (
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"braid/internal/schema"
)

func TestSelection(t *testing.T) {
	for name, c := range map[string]struct {
		Selection
		want map[string]string // table on the source to that on the target; "" is left out
	}{
		"all": {Selection{}, map[string]string{"a.t": "a.t", "mysql2.user": "mysql2.user"}},
		"databases": {Selection{Databases: []string{"shop", "crm?", "log*"}},
			map[string]string{"shop.t": "shop.t", "crm1.t": "crm1.t", "crm.t": "", "crm12.t": "", "logs_1.t": "logs_1.t", "xlog.t": ""}},
		"underscore and percent are themselves": {Selection{Tables: []string{"a.b_c", "a.x%"}}, map[string]string{"a.b_c": "a.b_c", "a.bxc": "", "a.x%": "a.x%", "a.xy": ""}},
		"do before ignore, names before wildcards": {Selection{Tables: []string{"a.keep", "a.t*"}, IgnoreTables: []string{"a.keep", "a.tmp", "a.t1*"}},
			map[string]string{"a.keep": "a.keep", "a.tmp": "", "a.t1x": "a.t1x", "a.t2": "a.t2", "a.other": ""}},
		"ignore alone": {Selection{IgnoreTables: []string{"*.tmp_*"}}, map[string]string{"a.tmp_1": "", "b.tmp_": "", "a.tmp1": "a.tmp1"}},
		"rename": {Selection{Rename: []string{"a.t=b.u", "c.*=d.*", "c.x=c.y"}},
			map[string]string{"a.t": "b.u", "a.s": "a.s", "c.t": "d.t", "c.x": "c.y"}},
		"rename with filters": {Selection{Databases: []string{"c", "e"}, IgnoreTables: []string{"c.no"}, Rename: []string{"c.*=d.*"}},
			map[string]string{"c.no": "", "c.t": "d.t", "e.t": "e.t", "a.t": ""}},
		"names with odd characters": {Selection{Tables: []string{"`a.b`.`c``d`", "`x=y`.*"}, Rename: []string{"`a.b`.`c``d`=`e:f`.`*`"}},
			map[string]string{"a.b\x00c`d": "e:f\x00*", "x=y\x00t": "x=y\x00t", "a.b\x00x": ""}},
	} {
		rules, err := c.Rules()
		require.NoError(t, err, name)
		for from, to := range c.want {
			db, table := cutName(from)
			plan, err := rules.Plan(&schema.Table{DB: db, Name: table, Columns: []schema.Column{{Name: "id", DataType: "int"}}})
			require.NoError(t, err)
			if to == "" {
				require.Nil(t, plan, "%s: %s", name, from)
				continue
			}
			require.NotNil(t, plan, "%s: %s", name, from)
			db, table = cutName(to)
			require.Equal(t, [2]string{db, table}, [2]string{plan.TargetDB, plan.Target}, "%s: %s", name, from)
		}
	}
}

func cutName(s string) (db, table string) {
	for _, sep := range []byte{0, '.'} {
		for i := range len(s) {
			if s[i] == sep {
				return s[:i], s[i+1:]
			}
		}
	}
	return s, ""
}

func TestSelectionsThatAreRefused(t *testing.T) {
	for why, s := range map[string]Selection{
		"not the name of a database":        {Databases: []string{"a.b"}},
		"names no table":                    {Tables: []string{"t"}},
		"a name is empty":                   {Tables: []string{"a."}},
		"the backquote is not closed":       {IgnoreTables: []string{"`a.b"}},
		"behind the name":                   {Tables: []string{"a.b.c"}},
		"the form is db.t=db2.t2":           {Rename: []string{"a.b"}},
		"has two new names":                 {Rename: []string{"a.b=c.d", "a.b=c.e"}},
		"may have no wildcards here":        {Rename: []string{"a.b*=c.d"}},
		"the databases must be named":       {Rename: []string{"*.*=c.*"}},
		"system schemas":                    {Rename: []string{"a.*=mysql.*"}},
		"which is not selected":             {Tables: []string{"a.x"}, Rename: []string{"a.b=c.d"}},
		"whose database --databases leaves": {Databases: []string{"b"}, Tables: []string{"a.x"}},
		"the form is db.table:expression":   {Where: []string{"a.b"}},
		"has two conditions":                {Where: []string{"a.b:i=1", "a.b:i=2"}},
		"is not understood":                 {Where: []string{"a.b:rand()<0.5"}},
	} {
		_, err := s.Rules()
		require.ErrorContains(t, err, why)
	}
}

// A pattern of MySQL's GRANT matches as MySQL's LIKE does: against a slow and obvious matcher.
func TestGrantPatterns(t *testing.T) {
	letters := rapid.StringOfN(rapid.SampledFrom([]rune(`ab_%\`)), 0, 6, -1)
	rapid.Check(t, func(t *rapid.T) {
		pattern, s := letters.Draw(t, "pattern"), letters.Draw(t, "s")
		if got, want := like(pattern, s), obviousLike([]rune(pattern), []rune(s)); got != want {
			t.Fatalf("%q like %q: %v", s, pattern, got)
		}
	})
	g := grants{}
	for _, line := range []string{
		"GRANT USAGE ON *.* TO `u`@`%`", "GRANT SELECT, INSERT ON `shop\\_1`.* TO `u`@`%`", "GRANT ALL PRIVILEGES ON `log%`.* TO `u`@`%`",
		"GRANT UPDATE ON `a`.`t` TO `u`@`%`", "GRANT BINLOG_ADMIN,CONNECTION_ADMIN ON *.* TO `u`@`%`", "GRANT DELETE ON *.* TO `u`@`%`", "REVOKE DELETE ON `kept`.* FROM `u`@`%`",
		"GRANT `r`@`%` TO `u`@`%`",
	} {
		g.add(line)
	}
	require.True(t, g.on("shop_1", "INSERT"))
	require.False(t, g.on("shopx1", "INSERT"))
	require.True(t, g.on("logs", "DROP"))
	require.False(t, g.on("a", "UPDATE"))
	require.True(t, g.global("BINLOG_ADMIN"))
	require.True(t, g.on("x", "DELETE"))
	require.False(t, g.on("kept", "DELETE"))
}

func obviousLike(pattern, s []rune) bool {
	if len(pattern) == 0 {
		return len(s) == 0
	}
	switch pattern[0] {
	case '%':
		return obviousLike(pattern[1:], s) || len(s) > 0 && obviousLike(pattern, s[1:])
	case '_':
		return len(s) > 0 && obviousLike(pattern[1:], s[1:])
	case '\\':
		if len(pattern) > 1 {
			pattern = pattern[1:]
		}
	}
	return len(s) > 0 && s[0] == pattern[0] && obviousLike(pattern[1:], s[1:])
}
