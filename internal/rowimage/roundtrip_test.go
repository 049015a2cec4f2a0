package rowimage_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/go-mysql-org/go-mysql/mysql"
	"github.com/go-mysql-org/go-mysql/replication"
	"github.com/stretchr/testify/require"

	"braid/internal/mysqld"
	"braid/internal/mysqld/mysqldtest"
	"braid/internal/rowimage"
	"braid/internal/schema"
	"braid/internal/sqlconn"
)

// The round trip, against a real server, for every type: what a row event decodes to is what a SELECT returns, and writing a
// cell as a literal and selecting it gives the cell again. The binlog is replayed from the first event on, so that before
// images are checked against the state that they claim.
func TestRoundTrip(t *testing.T) {
	server, db := mysqldtest.Shared(t)
	conn := mysqldtest.Dial(t, server.Root().WithDB(db))
	writer := utf8Writer(t, server, db)
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	for _, metadata := range []string{"FULL", "MINIMAL"} {
		t.Run(metadata, func(t *testing.T) {
			exec(t, conn, "SET GLOBAL binlog_row_metadata = "+metadata)
			defer exec(t, conn, "SET GLOBAL binlog_row_metadata = FULL")
			from := logPosition(t, conn)
			rng := rand.New(rand.NewPCG(seed, 0))
			for i, c := range cases {
				c.fill(t, writer, rng, fmt.Sprintf("c%d", i))
			}
			fillWide(t, writer, rng)
			replayed := replay(t, server, conn, db, from)
			for i, c := range cases {
				name := fmt.Sprintf("c%d", i)
				compare(t, conn, db, name, c.typ, replayed[name])
				if !c.noWriteBack {
					writeBack(t, conn, db, name, c.typ)
				}
				exec(t, conn, "DROP TABLE "+name)
			}
			compare(t, conn, db, "wide", "all types", replayed["wide"])
			exec(t, conn, "DROP TABLE wide")
		})
	}
}

// utf8Writer connects as an application does. Under NAMES binary, literals in column definitions would be binary strings.
func utf8Writer(t *testing.T, server *mysqld.Server, db string) *sqlconn.Conn {
	t.Helper()
	conn := mysqldtest.Dial(t, server.Root().WithDB(db))
	exec(t, conn, "SET NAMES utf8mb4")
	return conn
}

// fill makes a table of one type, inserts its edge values, random ones and NULL, updates all rows and deletes some.
func (c typeCase) fill(t *testing.T, conn *sqlconn.Conn, rng *rand.Rand, table string) {
	t.Helper()
	exec(t, conn, fmt.Sprintf("CREATE TABLE %s (id INT AUTO_INCREMENT PRIMARY KEY, n INT DEFAULT 7, c %s)", table, c.typ))
	values := append([]string{}, c.values...)
	if !strings.Contains(c.typ, "NOT NULL") && !strings.Contains(c.typ, "GENERATED") {
		values = append(values, "NULL")
	}
	for range 20 {
		if c.random != nil {
			values = append(values, c.random(rng))
		}
	}
	for _, v := range values {
		if strings.Contains(c.typ, "GENERATED") {
			exec(t, conn, fmt.Sprintf("INSERT INTO %s (n) VALUES (%s)", table, v))
			continue
		}
		exec(t, conn, fmt.Sprintf("INSERT INTO %s (c) VALUES (%s)", table, v))
	}
	exec(t, conn, fmt.Sprintf("UPDATE %s SET id = id + 100000", table), fmt.Sprintf("DELETE FROM %s WHERE id %% 7 = 3", table))
}

// fillWide makes a table with a column of each type, for the bitmaps and for cells behind cells.
func fillWide(t *testing.T, conn *sqlconn.Conn, rng *rand.Rand) {
	t.Helper()
	var columns, names []string
	var used []typeCase
	for i, c := range cases {
		if c.notWide || strings.Contains(c.typ, "GENERATED") {
			continue
		}
		columns = append(columns, fmt.Sprintf("c%d %s", i, c.typ))
		names, used = append(names, fmt.Sprintf("c%d", i)), append(used, c)
	}
	exec(t, conn, "CREATE TABLE wide (id INT AUTO_INCREMENT PRIMARY KEY, "+strings.Join(columns, ", ")+")")
	row := func(assign string) string {
		var values []string
		for i, c := range used {
			v := c.values[rng.IntN(len(c.values))]
			if rng.IntN(4) == 0 && !strings.Contains(c.typ, "NOT NULL") {
				v = "NULL"
			}
			if assign != "" {
				v = names[i] + assign + v
			}
			values = append(values, v)
		}
		return strings.Join(values, ", ")
	}
	for range 30 {
		exec(t, conn, "INSERT INTO wide ("+strings.Join(names, ", ")+") VALUES ("+row("")+")")
	}
	for range 10 {
		exec(t, conn, fmt.Sprintf("UPDATE wide SET %s WHERE id %% 5 = %d", row(" = "), rng.IntN(5)))
	}
}

// state is what a replay of the events leaves of a table: rows by their first cell.
type state map[string]rowimage.Row

// replay reads the binlog from a position to its end and applies the events to an empty model.
func replay(t *testing.T, server *mysqld.Server, conn *sqlconn.Conn, db string, from mysql.Position) map[string]state {
	t.Helper()
	tables, err := schema.Load(t.Context(), conn, db, nil)
	require.NoError(t, err)
	defs := make(map[string]*schema.Table)
	states := make(map[string]state)
	for _, def := range tables {
		defs[def.Name], states[def.Name] = def, make(state)
	}
	decoders, names := make(map[uint64]*rowimage.Decoder), make(map[uint64]string)
	for typ, body := range events(t, server, from, logPosition(t, conn)) {
		id, err := rowimage.HeaderTableID(body)
		require.NoError(t, err)
		if typ == byte(replication.TABLE_MAP_EVENT) {
			m, err := rowimage.ParseTableMap(body)
			require.NoError(t, err)
			require.Equal(t, db, m.DB)
			decoders[id], err = m.Decoder(defs[m.Name])
			require.NoError(t, err)
			names[id] = m.Name
			continue
		}
		require.NoError(t, decoders[id].Decode(typ, body, states[names[id]].apply(t, defs[names[id]])), names[id])
	}
	return states
}

func (s state) apply(t *testing.T, def *schema.Table) func(before, after rowimage.Row) error {
	return func(before, after rowimage.Row) error {
		if before != nil {
			have := s[string(before[0])]
			require.Equal(t, texts(def, have), texts(def, before), "before image of %s", def.Name)
			delete(s, string(before[0]))
		}
		if after != nil {
			s[string(after[0])] = after.Clone()
		}
		return nil
	}
}

// events yields the TABLE_MAP and row events between two positions.
func events(t *testing.T, server *mysqld.Server, from, to mysql.Position) func(yield func(byte, []byte) bool) {
	return func(yield func(byte, []byte) bool) {
		host, port, err := net.SplitHostPort(server.Addr())
		require.NoError(t, err)
		portNumber, err := strconv.ParseUint(port, 10, 16)
		require.NoError(t, err)
		repl := server.Repl()
		syncer := replication.NewBinlogSyncer(replication.BinlogSyncerConfig{
			ServerID: 4711, Host: host, Port: uint16(portNumber), User: repl.User, Password: repl.Password, RawModeEnabled: true,
		})
		defer syncer.Close()
		streamer, err := syncer.StartSync(from)
		require.NoError(t, err)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		for {
			ev, err := streamer.GetEvent(ctx)
			require.NoError(t, err)
			switch typ := ev.Header.EventType; typ {
			case replication.TABLE_MAP_EVENT, replication.WRITE_ROWS_EVENTv2, replication.UPDATE_ROWS_EVENTv2, replication.DELETE_ROWS_EVENTv2,
				replication.PARTIAL_UPDATE_ROWS_EVENT:
				if !yield(byte(typ), ev.RawData[replication.EventHeaderSize:len(ev.RawData)-4]) {
					return
				}
			}
			if ev.Header.LogPos >= to.Pos {
				return
			}
		}
	}
}

func logPosition(t *testing.T, conn *sqlconn.Conn) mysql.Position {
	t.Helper()
	res, err := conn.Query(t.Context(), "SHOW BINARY LOG STATUS")
	require.NoError(t, err)
	pos, err := strconv.ParseUint(string(res.Rows[0][1]), 10, 32)
	require.NoError(t, err)
	return mysql.Position{Name: string(res.Rows[0][0]), Pos: uint32(pos)}
}

func load(t *testing.T, conn *sqlconn.Conn, db, table string) *schema.Table {
	t.Helper()
	tables, err := schema.Load(t.Context(), conn, db, []string{table})
	require.NoError(t, err)
	return tables[0]
}

// selectAll reads the cells of a table.
func selectAll(t *testing.T, conn *sqlconn.Conn, def *schema.Table) state {
	t.Helper()
	exprs := make([]string, len(def.Columns))
	for i, c := range def.Columns {
		exprs[i] = rowimage.SelectExpr(c)
	}
	res, err := conn.Query(t.Context(), "SELECT "+strings.Join(exprs, ", ")+" FROM "+sqlconn.QuoteIdent(def.Name))
	require.NoError(t, err)
	rows := make(state)
	for _, row := range res.Rows {
		for i, c := range def.Columns {
			row[i] = rowimage.Canonical(c, row[i])
		}
		rows[string(row[0])] = row
	}
	return rows
}

func compare(t *testing.T, conn *sqlconn.Conn, db, table, what string, replayed state) {
	t.Helper()
	def := load(t, conn, db, table)
	selected := selectAll(t, conn, def)
	require.NotEmpty(t, selected, what)
	require.Len(t, replayed, len(selected), what)
	for id, want := range selected {
		require.Equal(t, texts(def, want), texts(def, replayed[id]), "%s: row %s: a SELECT and the binlog differ", what, id)
	}
}

// writeBack stores every row as literals in a second table.
func writeBack(t *testing.T, conn *sqlconn.Conn, db, table, what string) {
	t.Helper()
	def := load(t, conn, db, table)
	selected := selectAll(t, conn, def)
	copied := table + "_copy"
	exec(t, conn, "CREATE TABLE "+copied+" LIKE "+table)
	var columns []string
	for _, c := range def.Columns {
		if !c.Generated {
			columns = append(columns, sqlconn.QuoteIdent(c.Name))
		}
	}
	for _, row := range selected {
		sql := []byte("INSERT INTO " + copied + " (" + strings.Join(columns, ", ") + ") VALUES (")
		for i, c := range def.Columns {
			if c.Generated {
				continue
			}
			if i > 0 {
				sql = append(sql, ", "...)
			}
			sql = rowimage.AppendLiteral(sql, c, row[i])
		}
		exec(t, conn, string(append(sql, ')')))
	}
	compareLiterals(t, conn, def, selected)
	copiedDef := load(t, conn, db, copied)
	require.Empty(t, schema.Compare(def, copiedDef))
	again := selectAll(t, conn, copiedDef)
	require.Len(t, again, len(selected))
	for id, want := range selected {
		require.Equal(t, texts(def, want), texts(def, again[id]), "%s: row %s: what was written back differs", what, id)
	}
	exec(t, conn, "DROP TABLE "+copied)
}

// compareLiterals finds every row by its cell.
func compareLiterals(t *testing.T, conn *sqlconn.Conn, def *schema.Table, rows state) {
	t.Helper()
	c := def.Column("c")
	if c < 0 || def.Columns[c].DataType == "json" || def.Columns[c].DataType == "vector" { // MySQL does not compare a VECTOR at all
		return
	}
	for id, row := range rows {
		if def.Columns[c].DataType == "set" && len(row[c]) >= 19 { // the 64th member is the sign in a comparison
			continue
		}
		literal := rowimage.AppendLiteral(nil, def.Columns[c], row[c])
		res, err := conn.Query(t.Context(), fmt.Sprintf("SELECT COUNT(*) FROM %s WHERE id = %s AND c <=> %s", def.Name, id, literal))
		require.NoError(t, err)
		require.Equal(t, "1", string(res.Rows[0][0]), "%s <=> %.100s", def.Columns[c].ColumnType, literal)
	}
}

// A literal compares by the column's collation, not by bytes, and can use the column's index.
func TestLiteralsCompareByTheColumnsCollation(t *testing.T) {
	server, db := mysqldtest.Shared(t)
	conn := mysqldtest.Dial(t, server.Root().WithDB(db))
	exec(t, conn, "CREATE TABLE t (c VARCHAR(20) COLLATE utf8mb4_0900_ai_ci PRIMARY KEY)", "INSERT INTO t VALUES ('a'), ('B'), ('c'), ('é')", "ANALYZE TABLE t")
	column := load(t, conn, db, "t").Columns[0]
	for cell, want := range map[string]string{"b": "B", "E": "é"} {
		literal := string(rowimage.AppendLiteral(nil, column, []byte(cell)))
		res, err := conn.Query(t.Context(), "SELECT c FROM t WHERE c = "+literal)
		require.NoError(t, err)
		require.Len(t, res.Rows, 1)
		require.Equal(t, want, string(res.Rows[0][0]))
		plan, err := conn.Query(t.Context(), "EXPLAIN FORMAT=TRADITIONAL SELECT c FROM t WHERE c = "+literal)
		require.NoError(t, err)
		require.Equal(t, "const", string(plan.Rows[0][4]))
	}
	res, err := conn.Query(t.Context(), "SELECT COUNT(*) FROM t WHERE c > "+string(rowimage.AppendLiteral(nil, column, []byte("b"))))
	require.NoError(t, err)
	require.Equal(t, "2", string(res.Rows[0][0]), "c and é; by bytes a would count, too")
}

// texts makes a row readable in a failure.
func texts(def *schema.Table, row rowimage.Row) []string {
	out := make([]string, len(row))
	for i, cell := range row {
		out[i] = def.Columns[i].Name + " NULL"
		if cell != nil {
			out[i] = fmt.Sprintf("%s %q", def.Columns[i].Name, cell)
		}
	}
	return out
}

func exec(t *testing.T, conn *sqlconn.Conn, statements ...string) {
	t.Helper()
	for _, sql := range statements {
		if _, err := conn.Exec(t.Context(), sql); err != nil {
			t.Fatalf("%.300s: %v", sql, err)
		}
	}
}
