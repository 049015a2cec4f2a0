package rowimage_test

import (
	"encoding/base64"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/go-mysql-org/go-mysql/replication"
	"github.com/stretchr/testify/require"

	"braid/internal/binlog"
	"braid/internal/mysqld/mysqldtest"
	"braid/internal/rowimage"
	"braid/internal/schema"
	"braid/internal/sqlconn"
)

// nativeWriter applies events to a server with BINLOG statements.
type nativeWriter struct {
	t    *testing.T
	conn *sqlconn.Conn
}

func newNativeWriter(t *testing.T, cfg sqlconn.Config) *nativeWriter {
	conn, err := sqlconn.Dial(t.Context(), cfg)
	require.NoError(t, err)
	t.Cleanup(func() { conn.Close() })
	description, err := binlog.Description(t.Context(), cfg)
	require.NoError(t, err)
	w := &nativeWriter{t: t, conn: conn}
	w.apply("FORMAT_DESCRIPTION", description)
	exec(t, conn, "SET SESSION gtid_next='AUTOMATIC'") // the statement before has set it to something that no statement may have
	return w
}

func (w *nativeWriter) apply(what string, events []byte) {
	w.t.Helper()
	_, err := w.conn.Exec(w.t.Context(), "BINLOG '"+base64.StdEncoding.EncodeToString(events)+"'")
	if err != nil {
		warnings, _ := w.conn.Query(w.t.Context(), "SHOW WARNINGS")
		require.NoError(w.t, err, "%s: %q", what, warnings.Rows)
	}
}

// copyEvents makes the events of one table those of another, a row event of ours for each of the source's.
func copyEvents(t *testing.T, body []byte, m *rowimage.TableMap, d *rowimage.Decoder, e *rowimage.Encoder, dst []byte, typ byte) []byte {
	h := rowimage.EventHeader{Type: typ, ServerID: 77}
	if typ == rowimage.EventPartialUpdate { // the images are whole
		h.Type = rowimage.EventUpdateRows
	}
	start := len(dst)
	dst = e.BeginRows(dst, h, rowimage.StmtEnd|rowimage.NoForeignKeyChecks)
	require.NoError(t, d.Walk(typ, body, func(before, after *rowimage.Image) error {
		for _, im := range []*rowimage.Image{before, after} {
			if im != nil {
				dst = e.AppendImage(dst, im)
			}
		}
		return nil
	}), m.Name)
	return rowimage.EndEvent(dst, start, true)
}

// TestNativeWriter replays the row events of every type into a second database: with other names, and, of a table of all types, with
// half of the columns in reverse order. All events of a table go in one statement. Both sides are equal at the end, byte by byte.
func TestNativeWriter(t *testing.T) {
	server, db := mysqldtest.Shared(t)
	writer := utf8Writer(t, server, db)
	conn := mysqldtest.Dial(t, server.Root().WithDB(db))
	from := logPosition(t, conn)
	rng := rand.New(rand.NewPCG(3, 4))
	for i, c := range cases {
		c.fill(t, writer, rng, fmt.Sprintf("c%d", i))
	}
	fillWide(t, writer, rng)
	to := logPosition(t, conn)

	other := db + "_copy"
	exec(t, conn, "CREATE DATABASE "+other)
	tables, err := schema.Load(t.Context(), conn, db, nil)
	require.NoError(t, err)
	type target struct {
		def     *schema.Table
		columns []int
		encoder *rowimage.Encoder
		decoder *rowimage.Decoder
		m       *rowimage.TableMap
		events  []byte
	}
	targets, byID := map[string]*target{}, map[uint64]*target{}
	for _, def := range tables {
		exec(t, conn, fmt.Sprintf("CREATE TABLE %s.copy_%s LIKE %s.%s", other, def.Name, db, def.Name))
		targets[def.Name] = &target{def: def}
	}
	half := &target{def: targets["wide"].def}
	half.columns = []int{0}
	var dropped, moved []string
	for c := len(half.def.Columns) - 1; c > 0; c-- {
		if c%2 == 0 {
			dropped = append(dropped, "DROP COLUMN "+half.def.Columns[c].Name)
			continue
		}
		half.columns = append(half.columns, c)
		moved = append(moved, half.def.Columns[c].Name)
	}
	exec(t, conn, fmt.Sprintf("CREATE TABLE %s.half LIKE %s.wide", other, db), fmt.Sprintf("ALTER TABLE %s.half %s", other, strings.Join(dropped, ", ")))
	for i, name := range moved { // to the place that it has in the list
		after := "id"
		if i > 0 {
			after = moved[i-1]
		}
		c := half.def.Columns[half.columns[i+1]]
		definition := c.ColumnType
		if c.Charset != "" {
			definition += " CHARACTER SET " + c.Charset + " COLLATE " + c.Collation
		}
		if !c.Nullable {
			definition += " NOT NULL"
		}
		exec(t, conn, fmt.Sprintf("ALTER TABLE %s.half MODIFY COLUMN %s %s AFTER %s", other, name, definition, after))
	}

	for typ, body := range events(t, server, from, to) {
		id, err := rowimage.HeaderTableID(body)
		require.NoError(t, err)
		if typ == byte(replication.TABLE_MAP_EVENT) {
			m, err := rowimage.ParseTableMap(body)
			require.NoError(t, err)
			one := targets[m.Name]
			one.m = m
			one.decoder, err = m.Decoder(one.def)
			require.NoError(t, err)
			one.encoder, err = m.Encoder(body, 4711, other, "copy_"+m.Name, nil)
			require.NoError(t, err)
			byID[id] = one
			if m.Name == "wide" {
				half.m, half.decoder = m, one.decoder
				half.encoder, err = m.Encoder(body, 4712, other, "half", half.columns)
				require.NoError(t, err)
			}
			continue
		}
		both := []*target{byID[id]}
		if both[0].def.Name == "wide" {
			both = append(both, half)
		}
		for _, one := range both {
			one.events = one.encoder.AppendTableMap(one.events, rowimage.EventHeader{ServerID: 77}, true)
			one.events = copyEvents(t, body, one.m, one.decoder, one.encoder, one.events, typ)
		}
	}

	w := newNativeWriter(t, server.Root().WithDB(other))
	exec(t, w.conn, "SET foreign_key_checks=0")
	for _, one := range append(mapValues(targets), half) {
		exec(t, w.conn, "BEGIN")
		w.apply(fmt.Sprintf("%s with columns %v", one.def.Name, one.columns), one.events)
		exec(t, w.conn, "COMMIT")
	}
	for name, one := range targets {
		want := selectAll(t, conn, one.def)
		def := load(t, conn, other, "copy_"+name)
		copied := mysqldtest.Dial(t, server.Root().WithDB(other))
		compareStates(t, one.def, want, selectAll(t, copied, def))
	}
	checkHalf(t, server.Root().WithDB(other), half.def, half.columns, selectAll(t, conn, half.def))
}

func mapValues[K comparable, V any](m map[K]V) (values []V) {
	for _, v := range m {
		values = append(values, v)
	}
	return values
}

func compareStates(t *testing.T, def *schema.Table, want, have state) {
	t.Helper()
	require.Equal(t, len(want), len(have), def.Name)
	for key, row := range want {
		require.Equal(t, texts(def, row), texts(def, have[key]), def.Name)
	}
}

func checkHalf(t *testing.T, cfg sqlconn.Config, def *schema.Table, columns []int, want state) {
	conn := mysqldtest.Dial(t, cfg)
	have := selectAll(t, conn, load(t, conn, cfg.DB, "half"))
	require.Equal(t, len(want), len(have))
	for key, row := range want {
		for i, c := range columns {
			require.Equal(t, row[c], have[key][i], "%s of row %s", def.Columns[c].Name, key)
		}
	}
}

func TestEncoderRefuses(t *testing.T) {
	r := readRecording(t)
	body := unhex(t, r.TableMap)
	m, err := rowimage.ParseTableMap(body)
	require.NoError(t, err)
	for _, columns := range [][]int{{}, {-1}, {len(m.Columns)}} {
		_, err := m.Encoder(body, 1, "d", "t", columns)
		require.Error(t, err)
	}
	_, err = m.Encoder(body, 1<<48, "d", "t", nil)
	require.Error(t, err)
	_, err = m.Encoder(body, 1, strings.Repeat("d", 256), "t", nil)
	require.Error(t, err)
	_, err = m.Encoder(body[:12], 1, "d", "t", nil)
	require.Error(t, err)
}

// TestEncodedEventsDecode: what the encoder writes, a decoder of the written table map reads as the same cells.
func TestEncodedEventsDecode(t *testing.T) {
	r := readRecording(t)
	body := unhex(t, r.TableMap)
	m, err := rowimage.ParseTableMap(body)
	require.NoError(t, err)
	e, err := m.Encoder(body, 99, "other", "name", nil)
	require.NoError(t, err)
	written := e.AppendTableMap(nil, rowimage.EventHeader{ServerID: 1}, false)
	again, err := rowimage.ParseTableMap(written[19:])
	require.NoError(t, err)
	require.Equal(t, "other.name", again.DB+"."+again.Name)
	require.EqualValues(t, 99, again.ID)
	d := r.decoder(t)
	for _, ev := range r.Events {
		raw := unhex(t, ev.Body)
		copied := copyEvents(t, raw, m, d, e, nil, ev.Type)
		require.Equal(t, rowsOf(t, d, ev.Type, raw), rowsOf(t, d, ev.Type, copied[19:len(copied)-4]))
	}
}
