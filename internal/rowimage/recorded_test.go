package rowimage_test

import (
	"encoding/hex"
	"encoding/json"
	"flag"
	"os"
	"testing"

	"github.com/go-mysql-org/go-mysql/replication"
	"github.com/stretchr/testify/require"

	"braid/internal/mysqld/mysqldtest"
	"braid/internal/rowimage"
	"braid/internal/schema"
)

var update = flag.Bool("update", false, "record testdata/events.json again (needs MySQL)")

const recording = "testdata/events.json"

// recorded is a table and the events of a few statements, as a server has sent them.
type recorded struct {
	Definition *schema.Table `json:"definition"`
	TableMap   string        `json:"table_map"` // hex
	Events     []struct {
		Type byte     `json:"type"`
		Body string   `json:"body"` // hex
		Rows [][2]any `json:"rows"` // what the decoder must say: before and after, cells as text
	} `json:"events"`
}

func readRecording(t testing.TB) recorded {
	t.Helper()
	raw, err := os.ReadFile(recording)
	require.NoError(t, err)
	var r recorded
	require.NoError(t, json.Unmarshal(raw, &r))
	return r
}

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	require.NoError(t, err)
	return b
}

func (r recorded) decoder(t testing.TB) *rowimage.Decoder {
	t.Helper()
	m, err := rowimage.ParseTableMap(unhex(t, r.TableMap))
	require.NoError(t, err)
	d, err := m.Decoder(r.Definition)
	require.NoError(t, err)
	return d
}

func record(t *testing.T) {
	server, db := mysqldtest.Shared(t)
	conn := mysqldtest.Dial(t, server.Root().WithDB(db))
	writer := utf8Writer(t, server, db)
	exec(t, writer, `CREATE TABLE orders (id BIGINT UNSIGNED AUTO_INCREMENT PRIMARY KEY, customer INT NOT NULL, price DECIMAL(12,2), paid BIT(1), state ENUM('new','sent'),
		placed DATETIME(3), changed TIMESTAMP(6) NULL, took TIME(1), name VARCHAR(100), note TEXT, token BINARY(16), ratio DOUBLE, doc JSON, year YEAR)`)
	from := logPosition(t, conn)
	exec(t, writer,
		`INSERT INTO orders VALUES (1, -7, -1234.50, 1, 'sent', '2024-02-29 12:34:56.789', '2024-03-31 01:00:00.000001', '-00:00:01.5', 'Zoë', repeat('x', 300),
			x'00112233445566778899aabbccddee00', 0.1, '{"b": [1, 2.50, null], "a": "q\\"x"}', 2024), (2, 2147483647, NULL, 0, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL)`,
		"UPDATE orders SET customer = 8, note = NULL, doc = '[]', price = 0.01 WHERE id = 1", "DELETE FROM orders")
	r := recorded{Definition: load(t, conn, db, "orders")}
	for typ, body := range events(t, server, from, logPosition(t, conn)) {
		if typ == byte(replication.TABLE_MAP_EVENT) {
			r.TableMap = hex.EncodeToString(body)
			continue
		}
		r.Events = append(r.Events, struct {
			Type byte     `json:"type"`
			Body string   `json:"body"`
			Rows [][2]any `json:"rows"`
		}{typ, hex.EncodeToString(body), rowsOf(t, r.decoder(t), typ, body)})
	}
	r.Definition.DB, r.Definition.Rows, r.Definition.CreateStatement = "shop", 0, ""
	raw, err := json.MarshalIndent(r, "", " ")
	require.NoError(t, err)
	require.NoError(t, os.MkdirAll("testdata", 0o755))
	require.NoError(t, os.WriteFile(recording, append(raw, '\n'), 0o644))
}

func rowsOf(t testing.TB, d *rowimage.Decoder, typ byte, body []byte) (rows [][2]any) {
	t.Helper()
	require.NoError(t, d.Decode(typ, body, func(before, after rowimage.Row) error {
		rows = append(rows, [2]any{cells(before), cells(after)})
		return nil
	}))
	return rows
}

func cells(row rowimage.Row) any {
	if row == nil {
		return nil
	}
	out := make([]any, len(row))
	for i, c := range row {
		if c != nil {
			out[i] = string(c)
		}
		if i == 10 && c != nil {
			out[i] = hex.EncodeToString(c) // the binary column; JSON is no place for bytes
		}
	}
	return out
}

func TestRecordedEvents(t *testing.T) {
	if *update {
		record(t)
	}
	r := readRecording(t)
	d := r.decoder(t)
	for _, e := range r.Events {
		require.Equal(t, e.Rows, rowsOf(t, d, e.Type, unhex(t, e.Body)))
	}
}

// Every proper prefix of an event is an error, not a panic, and not a shorter list of rows with a strange end.
func TestTruncatedEvents(t *testing.T) {
	r := readRecording(t)
	d := r.decoder(t)
	for _, e := range r.Events {
		body := unhex(t, e.Body)
		for n := range body {
			rows := 0
			err := d.Decode(e.Type, body[:n], func(_, _ rowimage.Row) error { rows++; return nil })
			if err == nil { // cut between two rows
				require.Less(t, rows, len(e.Rows))
			}
		}
	}
	tableMap := unhex(t, r.TableMap)
	accepted := 0
	for n := range tableMap {
		if _, err := rowimage.ParseTableMap(tableMap[:n]); err == nil {
			accepted++ // cut between two optional fields
		}
	}
	require.Less(t, accepted, 10)
}

func TestWalkDoesNotAllocate(t *testing.T) {
	r := readRecording(t)
	d := r.decoder(t)
	for _, e := range r.Events {
		body := unhex(t, e.Body)
		key, columns := make(rowimage.Row, 2), []int{0, 1}
		allocs := testing.AllocsPerRun(100, func() {
			err := d.Walk(e.Type, body, func(before, after *rowimage.Image) error {
				image := after
				if image == nil {
					image = before
				}
				return image.Cells(key, columns)
			})
			if err != nil {
				t.Fatal(err)
			}
		})
		require.Zero(t, allocs)
	}
}

func BenchmarkRows(b *testing.B) {
	r := readRecording(b)
	d := r.decoder(b)
	body := unhex(b, r.Events[0].Body)
	b.Run("walk", func(b *testing.B) {
		b.ReportAllocs()
		b.SetBytes(int64(len(body)))
		for b.Loop() {
			if err := d.Walk(rowimage.EventWriteRows, body, func(_, _ *rowimage.Image) error { return nil }); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("decode", func(b *testing.B) {
		b.ReportAllocs()
		b.SetBytes(int64(len(body)))
		for b.Loop() {
			if err := d.Decode(rowimage.EventWriteRows, body, func(_, _ rowimage.Row) error { return nil }); err != nil {
				b.Fatal(err)
			}
		}
	})
}
