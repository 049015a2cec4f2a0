package replicate

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// A statement means on the target what it meant on the source: it is run under the settings of the session that wrote it, though the target's own
// are others.
func TestDDLSettings(t *testing.T) {
	w := newWorld(t)
	w.source.exec("CREATE TABLE "+w.db+".first (id int PRIMARY KEY)", "CREATE TABLE "+w.db+".base (id int PRIMARY KEY, n int)")
	w.target.exec("SET GLOBAL sql_mode='ANSI_QUOTES,NO_ZERO_DATE,STRICT_ALL_TABLES', GLOBAL time_zone='-03:30', GLOBAL collation_server='latin1_german1_ci', " +
		"GLOBAL explicit_defaults_for_timestamp=ON, GLOBAL default_collation_for_utf8mb4='utf8mb4_general_ci', GLOBAL sql_require_primary_key=ON, GLOBAL sql_generate_invisible_primary_key=ON")
	defer w.target.exec("SET GLOBAL sql_mode=DEFAULT, GLOBAL time_zone='SYSTEM', GLOBAL collation_server=DEFAULT, GLOBAL default_collation_for_utf8mb4=DEFAULT, " +
		"GLOBAL sql_require_primary_key=OFF, GLOBAL sql_generate_invisible_primary_key=OFF")
	r := w.start(snapshot)
	r.running()
	for name, c := range map[string]struct{ settings, ddl string }{
		"utf8mb4 default":    {"SET NAMES utf8mb4, default_collation_for_utf8mb4='utf8mb4_0900_ai_ci'", "CREATE TABLE $t (a varchar(20) CHARACTER SET utf8mb4) CHARACTER SET utf8mb4"},
		"general utf8mb4":    {"SET NAMES utf8mb4, default_collation_for_utf8mb4='utf8mb4_general_ci'", "CREATE TABLE $t (a varchar(20) CHARACTER SET utf8mb4) CHARACTER SET utf8mb4"},
		"latin1 text":        {"SET NAMES latin1", "CREATE TABLE $t (a varchar(20) DEFAULT '\xe9' COMMENT '\xdf') CHARACTER SET utf8mb4"},
		"old timestamps":     {"SET explicit_defaults_for_timestamp=OFF, sql_mode=''", "CREATE TABLE $t (id int PRIMARY KEY, a timestamp, b timestamp)"},
		"new timestamps":     {"SET explicit_defaults_for_timestamp=ON", "CREATE TABLE $t (id int PRIMARY KEY, a timestamp, b timestamp NULL)"},
		"zero dates":         {"SET sql_mode=''", "CREATE TABLE $t (id int PRIMARY KEY, a datetime NOT NULL DEFAULT '0000-00-00 00:00:00', b date DEFAULT '2026-00-00')"},
		"real is float":      {"SET sql_mode='REAL_AS_FLOAT'", "CREATE TABLE $t (id int PRIMARY KEY, a real)"},
		"pipes concatenate":  {"SET sql_mode='PIPES_AS_CONCAT'", "CREATE TABLE $t (id int PRIMARY KEY, a varchar(9), g varchar(20) AS (a||'x'))"},
		"pipes are or":       {"SET sql_mode=''", "CREATE TABLE $t (id int PRIMARY KEY, a varchar(9), g varchar(20) AS (a||'x'))"},
		"quotes are text":    {"SET sql_mode=''", "CREATE TABLE $t (id int PRIMARY KEY, a varchar(9) DEFAULT \"x\")"},
		"unsigned subtracts": {"SET sql_mode='NO_UNSIGNED_SUBTRACTION'", "CREATE TABLE $t (id int PRIMARY KEY, a int unsigned, g bigint AS (a-1))"},
		"time zone":          {"SET time_zone='+05:00'", "CREATE TABLE $t (id int PRIMARY KEY, a timestamp DEFAULT '2026-01-01 00:00:00')"},
		"backslashes":        {"SET sql_mode='NO_BACKSLASH_ESCAPES'", `CREATE TABLE $t (id int PRIMARY KEY, a varchar(9) DEFAULT 'a\')`},
		"no key":             {"SET sql_mode=DEFAULT", "CREATE TABLE $t (a int)"},
	} {
		table := w.db + ".t_" + strings.ReplaceAll(name, " ", "_")
		w.source.exec("SET SESSION sql_mode=DEFAULT, time_zone=DEFAULT, explicit_defaults_for_timestamp=DEFAULT, default_collation_for_utf8mb4=DEFAULT", "SET NAMES utf8mb4",
			c.settings, strings.ReplaceAll(c.ddl, "$t", table))
	}
	w.source.exec("SET SESSION sql_mode=DEFAULT, time_zone=DEFAULT, explicit_defaults_for_timestamp=DEFAULT, default_collation_for_utf8mb4=DEFAULT", "SET NAMES utf8mb4")
	r.catchUp()
	same := "SET SESSION sql_mode='', time_zone='+00:00', show_gipk_in_create_table_and_information_schema=ON"
	w.source.exec(same)
	w.target.exec(same, "SET NAMES utf8mb4")
	res, err := w.source.conn.Query(t.Context(), "SHOW TABLES FROM "+w.db)
	require.NoError(t, err)
	require.Len(t, res.Rows, 16)
	for _, row := range res.Rows {
		show := func(s *side) string {
			res, err := s.conn.Query(t.Context(), "SHOW CREATE TABLE "+w.db+"."+string(row[0]))
			require.NoError(t, err)
			return string(res.Rows[0][1])
		}
		if name := string(row[0]); name != "first" && name != "base" { // made by us, from what SHOW CREATE TABLE prints
			require.Equal(t, show(w.source), show(w.target), name)
		}
	}
}
