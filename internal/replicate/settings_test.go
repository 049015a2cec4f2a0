package replicate

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"braid/internal/base/errs"
	"braid/internal/mysqld/mysqldtest"
	"braid/internal/vreplication"
)

// Settings that a server's owner may have for sessions of people: none of them decides what is copied, or written.
func TestGlobalSettings(t *testing.T) {
	source, target := mysqldtest.New(t, mysqldtest.Options{}), mysqldtest.New(t, mysqldtest.Options{})
	for _, set := range []string{"source sql_select_limit=500", "target sql_select_limit=500", "source max_join_size=100", "target max_join_size=100",
		"source show_gipk_in_create_table_and_information_schema=OFF", "target show_gipk_in_create_table_and_information_schema=OFF",
		"target transaction_read_only=ON", "target sql_safe_updates=ON", "target sql_generate_invisible_primary_key=ON", "target unique_checks=OFF", "target foreign_key_checks=OFF"} {
		t.Run(set, func(t *testing.T) {
			where, set, _ := strings.Cut(set, " ")
			name, _, _ := strings.Cut(set, "=")
			w := worldOf(t, source, target, "app")
			defer w.target.exec("DROP DATABASE IF EXISTS _braid")
			w.source.exec("CREATE TABLE app.k (id int PRIMARY KEY, a int UNIQUE)", "CREATE TABLE app.n (a int)",
				"SET SESSION sql_generate_invisible_primary_key=ON", "CREATE TABLE app.g (a int)", "SET SESSION sql_generate_invisible_primary_key=OFF",
				"INSERT INTO app.k WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<900) SELECT i,i FROM n", "INSERT INTO app.n SELECT a FROM app.k", "INSERT INTO app.g (a) SELECT a FROM app.k")
			s := w.source
			if where == "target" {
				s = w.target
			}
			s.exec("SET GLOBAL " + set)
			defer func() { s.exec("SET GLOBAL " + name + "=DEFAULT") }()
			r := w.start(func(c *Config) { c.WithoutKey = vreplication.LockKeyless })
			r.running()
			w.source.exec("UPDATE app.k SET a=a+1000", "DELETE FROM app.n WHERE a>100", "UPDATE app.g SET a=7")
			r.catchUp()
			for _, s := range []*side{w.source, w.target} {
				s.again()
				s.exec("SET SESSION show_gipk_in_create_table_and_information_schema=ON")
			}
			w.equal("app.k", "app.n", "app.g")
			const columns = "SELECT COUNT(*) FROM information_schema.COLUMNS WHERE TABLE_SCHEMA='app'"
			require.Equal(t, w.source.one(columns), w.target.one(columns))
			require.NoError(t, r.stop())
		})
	}
}

// A target that logs statements refuses our transactions; that is said before anything is made.
func TestTargetLogsStatements(t *testing.T) {
	source, target := mysqldtest.New(t, mysqldtest.Options{}), mysqldtest.New(t, mysqldtest.Options{})
	w := worldOf(t, source, target, "app")
	w.source.exec("CREATE TABLE app.k (id int PRIMARY KEY)")
	w.target.exec("SET GLOBAL binlog_format='STATEMENT'")
	err := w.run(once)
	require.ErrorIs(t, err, errs.TargetPrecondition)
	require.ErrorContains(t, err, "binlog_format is STATEMENT, needs ROW")
	require.Equal(t, "0", w.target.one("SELECT COUNT(*) FROM information_schema.SCHEMATA WHERE SCHEMA_NAME IN ('app','_braid')"))
}
