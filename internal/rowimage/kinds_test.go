package rowimage_test

import (
	"fmt"
	"testing"

	"github.com/go-mysql-org/go-mysql/replication"
	"github.com/stretchr/testify/require"

	"braid/internal/mysqld/mysqldtest"
	"braid/internal/rowimage"
)

// Tables whose events differ from the plain ones: extra data of partitions, hidden columns, a layout that an instant DDL has changed.
func TestRoundTripOfSpecialTables(t *testing.T) {
	server, db := mysqldtest.Shared(t)
	conn := mysqldtest.Dial(t, server.Root().WithDB(db))
	writer := utf8Writer(t, server, db)
	exec(t, writer,
		"CREATE TABLE parts (id INT PRIMARY KEY, p INT, UNIQUE KEY (id, p)) PARTITION BY RANGE (id) (PARTITION a VALUES LESS THAN (10), PARTITION b VALUES LESS THAN MAXVALUE)",
		"CREATE TABLE functional (id INT PRIMARY KEY, name VARCHAR(20), KEY ((upper(name))), KEY ((id + 1)))",
		"CREATE TABLE multi (id INT PRIMARY KEY, doc JSON, KEY ((CAST(doc->'$[*]' AS UNSIGNED ARRAY))))",
		"SET SESSION sql_generate_invisible_primary_key = ON", "CREATE TABLE gipk (name VARCHAR(10))",
		"SET SESSION sql_generate_invisible_primary_key = OFF", "CREATE TABLE instant (id INT PRIMARY KEY, a INT, b INT)",
		"INSERT INTO instant VALUES (1, 2, 3)", "ALTER TABLE instant ADD COLUMN c VARCHAR(5) DEFAULT 'x' FIRST, ALGORITHM=INSTANT",
		"ALTER TABLE instant DROP COLUMN a, ALGORITHM=INSTANT", "ALTER TABLE instant MODIFY id INT NOT NULL FIRST")
	from := logPosition(t, conn)
	exec(t, writer, "INSERT INTO parts VALUES (1, 1), (20, 2)", "UPDATE parts SET id = id + 9", "DELETE FROM parts WHERE id = 29",
		"INSERT INTO functional VALUES (1, 'a'), (2, 'b')", "UPDATE functional SET name = 'c' WHERE id = 1",
		"INSERT INTO multi VALUES (1, '[1, 2]'), (2, '[]')", "INSERT INTO gipk VALUES ('a'), ('b')", "DELETE FROM gipk WHERE name = 'a'",
		"INSERT INTO instant VALUES (2, 'y', 4)", "UPDATE instant SET b = 5 WHERE id = 2")
	replayed := replay(t, server, conn, db, from)
	exec(t, conn, "DELETE FROM instant WHERE id = 1")
	for _, table := range []string{"parts", "functional", "multi", "gipk", "instant"} {
		compare(t, conn, db, table, table, replayed[table])
		writeBack(t, conn, db, table, table)
	}
	gipk := load(t, conn, db, "gipk")
	require.Equal(t, "my_row_id", gipk.Columns[0].Name)
	require.True(t, gipk.Columns[0].Invisible)
	require.Equal(t, []int{0}, gipk.PrimaryKey)
}

// A definition older or newer than the event is refused, naming both sides.
func TestDefinitionMustFit(t *testing.T) {
	server, db := mysqldtest.Shared(t)
	conn := mysqldtest.Dial(t, server.Root().WithDB(db))
	exec(t, conn, "CREATE TABLE t (id INT PRIMARY KEY, price DECIMAL(10,2), name VARCHAR(20), at DATETIME(3), n INT UNSIGNED, b BIT(9), d BINARY(4), x TEXT)")
	from := logPosition(t, conn)
	exec(t, conn, "INSERT INTO t (id) VALUES (1)")
	var m *rowimage.TableMap
	for typ, body := range events(t, server, from, logPosition(t, conn)) {
		if typ == byte(replication.TABLE_MAP_EVENT) {
			var err error
			m, err = rowimage.ParseTableMap(body)
			require.NoError(t, err)
		}
	}
	require.Equal(t, []int{0}, m.PrimaryKey)
	for i, c := range []struct{ ddl, why string }{
		{"MODIFY price DECIMAL(12,2)", "column 2: the binlog has price decimal(10,2), the definition has price decimal(12,2): another type"},
		{"RENAME COLUMN name TO title", "column 3: the binlog has name varchar of 80 bytes, the definition has title varchar(20): another name"},
		{"MODIFY name VARCHAR(30)", "column 3: the binlog has name varchar of 80 bytes, the definition has name varchar(30): another type"},
		{"MODIFY at DATETIME(6)", "the binlog has at datetime(3), the definition has at datetime(6)"},
		{"MODIFY at TIMESTAMP(3)", "another type"},
		{"MODIFY n INT", "the binlog has n int unsigned, the definition has n int: another sign"},
		{"MODIFY b BIT(10)", "another type"},
		{"MODIFY d BINARY(5)", "another type"},
		{"MODIFY d VARBINARY(4)", "another type"},
		{"MODIFY x MEDIUMTEXT", "another type"},
		{"MODIFY n INT UNSIGNED NOT NULL", "only one may be NULL"},
		{"DROP COLUMN x", "the binlog has 8 columns (id, price, name, at, n, b, d, x), the definition has 7"},
		{"MODIFY price DECIMAL(10,2) AFTER name", "another name"},
	} {
		name := fmt.Sprintf("t%d", i)
		exec(t, conn, "CREATE TABLE "+name+" LIKE t", "ALTER TABLE "+name+" "+c.ddl)
		_, err := m.Decoder(load(t, conn, db, name))
		require.ErrorContains(t, err, c.why, c.ddl)
	}
	_, err := m.Decoder(load(t, conn, db, "t"))
	require.NoError(t, err)
}

func TestPartialImagesAreRefused(t *testing.T) {
	server, db := mysqldtest.Shared(t)
	conn := mysqldtest.Dial(t, server.Root().WithDB(db))
	writer := utf8Writer(t, server, db)
	exec(t, writer, "CREATE TABLE t (id INT PRIMARY KEY, a INT, doc JSON)", "INSERT INTO t VALUES (1, 1, '{\"a\": [1, 2, 3]}')")
	for _, options := range []string{"", "PARTIAL_JSON"} {
		exec(t, writer, "SET SESSION binlog_row_image = MINIMAL, SESSION binlog_row_value_options = '"+options+"'")
		from := logPosition(t, conn)
		exec(t, writer, "UPDATE t SET doc = JSON_SET(doc, '$.a[0]', 7), a = a + 1")
		var decoder *rowimage.Decoder
		var failure error
		for typ, body := range events(t, server, from, logPosition(t, conn)) {
			if typ == byte(replication.TABLE_MAP_EVENT) {
				m, err := rowimage.ParseTableMap(body)
				require.NoError(t, err)
				decoder, err = m.Decoder(load(t, conn, db, "t"))
				require.NoError(t, err)
				continue
			}
			failure = decoder.Decode(typ, body, func(_, _ rowimage.Row) error { return nil })
		}
		require.ErrorIs(t, failure, rowimage.ErrPartialImage, options)
		require.ErrorContains(t, failure, db+".t")
	}
}
