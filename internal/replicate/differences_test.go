package replicate

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"braid/internal/mysqld/mysqldtest"
	"braid/internal/sqlconn"
)

// oddTables depend on what sessions of either server have by default: character sets, modes, time zones, quotes.
var oddTables = []struct{ name, columns, values string }{
	{"defaults", "id INT NOT NULL AUTO_INCREMENT, a VARCHAR(20) DEFAULT 'it''s \"q\" \\\\n', b VARCHAR(60) DEFAULT (CONCAT('a', '\"', `a`, '\\\\')), c TIMESTAMP NULL, " +
		"d TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP ON UPDATE CURRENT_TIMESTAMP, e DATETIME DEFAULT '2000-01-01', f BINARY(3) DEFAULT 'a\\0b', " +
		"g ENUM('it''s','\"','\\\\','☃') CHARACTER SET utf8mb4 DEFAULT '☃', h VARCHAR(10) CHARACTER SET latin1 DEFAULT 'ü', i INT AS (LENGTH(`a`) + 1) STORED, " +
		"j DATE DEFAULT '0000-00-00', PRIMARY KEY (id), KEY (a, h), CHECK (`a` <> 'x\\'\\\\y')",
		"%d, CONCAT('\\\\', %[1]d), DEFAULT, FROM_UNIXTIME(1 + %[1]d), FROM_UNIXTIME(1600000000 + %[1]d), DEFAULT, DEFAULT, DEFAULT, DEFAULT, DEFAULT, DEFAULT"},
	{"no charset", "id INT PRIMARY KEY, `it's` VARCHAR(60), `say \"hi\"` TEXT CHARACTER SET utf8mb4, `tick``s` CHAR(10) CHARACTER SET latin2, `snow ☃` VARCHAR(30) COLLATE utf8mb4_0900_as_cs",
		"%d, 'Ж\"', REPEAT('я😀', 30), 'é', CONCAT('☃', %[1]d)"},
	{"a `table` \"☃\" it's", "`key ☃` VARCHAR(20) CHARACTER SET utf8mb4 NOT NULL, v JSON, UNIQUE KEY `the \"key\"` (`key ☃`)", "CONCAT('ключ ', %d), JSON_OBJECT('a', '☃ \\\\')"},
	{"large", "id INT PRIMARY KEY, v MEDIUMTEXT CHARACTER SET latin1, b BLOB", "%d, REPEAT('''', 60000 + %[1]d), REPEAT('\\0\\\\', 3000)"},
}

// Two servers that differ in whatever a session inherits: what one has, the other gets, as it is.
func TestServersThatDiffer(t *testing.T) {
	source := mysqldtest.New(t, mysqldtest.Options{Options: []string{"character-set-server=cp1251", "sql-mode=ALLOW_INVALID_DATES", "default-time-zone=-03:30",
		"innodb-strict-mode=OFF", "default-week-format=3", "div-precision-increment=9", "lc-time-names=de_DE", "group-concat-max-len=4"}})
	target := mysqldtest.New(t, mysqldtest.Options{Options: []string{"character-set-server=latin1", "collation-server=latin1_general_cs", "default-time-zone=+05:00",
		"sql-mode=ANSI_QUOTES,NO_BACKSLASH_ESCAPES,PIPES_AS_CONCAT,IGNORE_SPACE,STRICT_ALL_TABLES,NO_ZERO_DATE,NO_ZERO_IN_DATE,PAD_CHAR_TO_FULL_LENGTH,TIME_TRUNCATE_FRACTIONAL",
		"explicit-defaults-for-timestamp=OFF", "local-infile=OFF", "innodb-strict-mode=ON", "max-allowed-packet=4M"}})
	for _, setting := range []string{"sql_generate_invisible_primary_key=ON", "auto_increment_increment=3", "default_storage_engine=MyISAM", "completion_type=CHAIN",
		"foreign_key_checks=OFF", "transaction_isolation='SERIALIZABLE'", "autocommit=OFF"} {
		mysqldtest.Exec(t, target, "SET GLOBAL "+setting)
	}
	w := worldOf(t, source, target, "odd")
	w.source.exec("SET NAMES utf8mb4", "SET SESSION explicit_defaults_for_timestamp=ON", "SET SESSION sql_mode='ALLOW_INVALID_DATES'", "USE odd")
	const rows = 300
	names := make([]string, len(oddTables))
	for i, o := range oddTables {
		names[i] = sqlconn.QuoteIdent(o.name)
		w.source.exec(fmt.Sprintf("CREATE TABLE %s (%s) COMMENT 'it''s \"a\" \\\\ ☃'", names[i], o.columns))
		for n := range rows {
			w.source.exec("INSERT INTO " + names[i] + " VALUES (" + fmt.Sprintf(o.values, n+1) + ")")
		}
	}
	same := func() {
		t.Helper()
		for _, name := range names {
			w.equal("odd." + name)
			show := "SHOW CREATE TABLE odd." + name
			require.Equal(t, create(t, w.source, show), create(t, w.target, show))
		}
	}
	w.cfg.Selection = Selection{Databases: []string{"odd"}}
	r := w.start()
	r.running()
	r.catchUp()
	w.source.exec("SET NAMES binary")
	same()
	w.source.exec("SET NAMES utf8mb4")
	for i, o := range oddTables {
		w.source.exec(fmt.Sprintf("DELETE FROM %s LIMIT 20", names[i]))
		for n := range 20 {
			w.source.exec("INSERT INTO " + names[i] + " VALUES (" + fmt.Sprintf(o.values, rows+n+1) + ")")
		}
	}
	w.source.exec("UPDATE defaults SET a = CONCAT('\"', a, ''''), c = NULL WHERE id > 100", "UPDATE `no charset` SET `it's` = '\\\\☃''', `tick``s` = 'à' WHERE id > 200",
		"ALTER TABLE defaults ADD COLUMN k VARCHAR(9) DEFAULT '\"\\\\'", "SET SESSION sql_mode='ANSI_QUOTES,NO_BACKSLASH_ESCAPES'", "CREATE TABLE \"later ☃\" (id INT PRIMARY KEY, v VARCHAR(9) DEFAULT '\\''', d TIMESTAMP)",
		"INSERT INTO \"later ☃\" (id) VALUES (1)")
	r.catchUp()
	w.source.exec("SET NAMES binary", "SET SESSION sql_mode='NO_AUTO_VALUE_ON_ZERO,ALLOW_INVALID_DATES'")
	names = append(names, "`later ☃`")
	same()
	require.NoError(t, r.stop())
}

// create is the statement that makes a table.
func create(t *testing.T, s *side, sql string) string {
	res, err := s.conn.Query(t.Context(), sql)
	require.NoError(t, err)
	return string(res.Rows[0][1])
}
