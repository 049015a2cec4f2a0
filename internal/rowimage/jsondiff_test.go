package rowimage_test

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/go-mysql-org/go-mysql/replication"
	"github.com/stretchr/testify/require"

	"braid/internal/mysqld/mysqldtest"
	"braid/internal/rowimage"
)

// documents makes random JSON documents, and random changes of them, as SQL expressions. Scalars are of all kinds, those of SQL types that
// JSON lacks included; some documents have more than 64 KiB, where the layout changes.
type documents struct{ rng *rand.Rand }

var documentKeys = []string{"a", "b", "key", "with space", `quo"te`, `back\slash`, "line\nfeed", "é", "ключ", "$", "a.b", "c[0]", "", "_x1", "last", "日本", "tab\t", "\x01"}

func (d documents) pick(values ...string) string { return values[d.rng.IntN(len(values))] }

// quoteSQL quotes for the default sql_mode.
func quoteSQL(s string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`, "\n", `\n`).Replace(s) + "'"
}

func (d documents) value(depth int) string {
	n := d.rng.IntN(10)
	switch {
	case n < 2 && depth > 0:
		var members []string
		for _, k := range d.rng.Perm(len(documentKeys))[:d.rng.IntN(5)] {
			members = append(members, quoteSQL(documentKeys[k])+", "+d.value(depth-1))
		}
		return "JSON_OBJECT(" + strings.Join(members, ", ") + ")"
	case n < 4 && depth > 0:
		var members []string
		for range d.rng.IntN(6) {
			members = append(members, d.value(depth-1))
		}
		return "JSON_ARRAY(" + strings.Join(members, ", ") + ")"
	case n == 4 && d.rng.IntN(6) == 0:
		return fmt.Sprintf("REPEAT('%c', %d)", 'a'+d.rng.IntN(26), d.rng.IntN(100_000))
	}
	return d.pick("NULL", "TRUE", "FALSE", "0", "-1", "32767", "32768", "-32769", "65536", "4294967296", "-2147483649", "18446744073709551615",
		"1.5e0", "1e300", "12.50", "-0.001", "'text'", `'q"\\\\'`, "''", "CAST('2024-02-29' AS DATE)", "CAST('-12:34:56.789' AS TIME(3))",
		"CAST('2024-02-29 01:02:03.000004' AS DATETIME(6))", "x'00ff10'", fmt.Sprint(d.rng.IntN(100000)), "CAST('{\"in\": [1, {\"x\": null}]}' AS JSON)")
}

// path is some place that may or may not be in a document.
func (d documents) path() string {
	path := "$"
	for range 1 + d.rng.IntN(4) {
		switch d.rng.IntN(5) {
		case 0, 1, 2:
			key := documentKeys[d.rng.IntN(len(documentKeys))]
			if d.rng.IntN(2) == 0 { // which many documents have
				key = d.pick("a", "key", "in", "x")
			}
			quoted := strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`, "\t", `\t`, "\x01", `\u0001`).Replace(key)
			path += `."` + quoted + `"`
		case 3:
			path += fmt.Sprintf("[%d]", d.rng.IntN(8))
		case 4:
			path += d.pick("[last]", "[last-1]", "[last - 3]", "[0]")
		}
	}
	return quoteSQL(path)
}

// change is an expression that the server can log as differences.
func (d documents) change(column string) string {
	expr := column
	for range 1 + d.rng.IntN(3) {
		switch d.rng.IntN(3) {
		case 0:
			expr = fmt.Sprintf("JSON_SET(%s, %s, %s, %s, %s)", expr, d.path(), d.value(2), d.path(), d.value(1))
		case 1:
			expr = fmt.Sprintf("JSON_REPLACE(%s, %s, %s)", expr, d.path(), d.value(2))
		default:
			expr = fmt.Sprintf("JSON_REMOVE(%s, %s, %s)", expr, d.path(), d.path())
		}
	}
	return expr
}

// TestPartialJSON changes random documents in random ways while the server logs differences. The replay of the events, whose before images
// are checked on the way, ends with what a SELECT returns; and the events that are made of the images, applied by the server itself
// to a second table, leave documents that are equal in their types, too.
func TestPartialJSON(t *testing.T) {
	server, db := mysqldtest.Shared(t)
	conn := mysqldtest.Dial(t, server.Root().WithDB(db))
	writer := utf8Writer(t, server, db)
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	d := documents{rand.New(rand.NewPCG(seed, 0))}
	exec(t, writer, "CREATE TABLE doc (id INT PRIMARY KEY, a JSON, n INT, b JSON NOT NULL, c VARCHAR(10), d JSON)", "CREATE TABLE other LIKE doc",
		"SET SESSION binlog_row_value_options = PARTIAL_JSON", "SET SESSION sql_mode = ''")
	from := logPosition(t, conn)
	const rows, changes = 40, 400
	for id := range rows {
		exec(t, writer, fmt.Sprintf("INSERT INTO doc VALUES (%d, JSON_OBJECT('a', %s, 'key', JSON_ARRAY(%s, %s, %s)), 1, %s, 'x', NULL)", id,
			d.value(4), d.value(3), d.value(2), d.value(1), "JSON_ARRAY("+d.value(3)+", "+d.value(3)+")"))
	}
	for range changes {
		sets := []string{"n = n + 1"}
		for _, column := range []string{"a", "b"} {
			if d.rng.IntN(3) > 0 {
				sets = append(sets, column+" = "+d.change(column))
			}
		}
		switch d.rng.IntN(8) {
		case 0:
			sets = append(sets, "d = "+d.pick("NULL", "JSON_ARRAY(1)", "JSON_SET(d, '$[3]', 1)"))
		case 1:
			sets = append(sets, "id = id + 1000")
		}
		where := fmt.Sprintf("id %% 7 = %d", d.rng.IntN(7))
		if d.rng.IntN(3) > 0 {
			where = fmt.Sprintf("id %% 1000 = %d", d.rng.IntN(rows))
		}
		exec(t, writer, "UPDATE doc SET "+strings.Join(sets, ", ")+" WHERE "+where)
	}
	to := logPosition(t, conn)
	def := load(t, conn, db, "doc")
	replayed := replay(t, server, conn, db, from)
	compare(t, conn, db, "doc", "documents", replayed["doc"])

	native := newNativeWriter(t, server.Root().WithDB(db))
	var m *rowimage.TableMap
	var decoder *rowimage.Decoder
	var encoder *rowimage.Encoder
	partial := 0
	for typ, body := range events(t, server, from, to) {
		if typ == byte(replication.TABLE_MAP_EVENT) {
			var err error
			m, err = rowimage.ParseTableMap(body)
			require.NoError(t, err)
			decoder, err = m.Decoder(def)
			require.NoError(t, err)
			encoder, err = m.Encoder(body, 4711, db, "other", nil)
			require.NoError(t, err)
			continue
		}
		whole := encoder.AppendTableMap(nil, rowimage.EventHeader{ServerID: 77}, true)
		if typ == rowimage.EventPartialUpdate {
			partial++
		}
		native.apply("rows", copyEvents(t, body, m, decoder, encoder, whole, typ))
	}
	require.Greater(t, partial, changes/2, "the server must have logged differences")
	res, err := conn.Query(t.Context(), `SELECT COUNT(*) FROM doc JOIN other USING (id) WHERE doc.a <=> other.a AND doc.b <=> other.b AND doc.d <=> other.d
		AND CAST(doc.a AS CHAR) = CAST(other.a AS CHAR) AND CAST(doc.b AS CHAR) = CAST(other.b AS CHAR)`)
	require.NoError(t, err)
	require.Equal(t, fmt.Sprint(rows), string(res.Rows[0][0]))
	compareStates(t, def, selectAll(t, conn, def), selectAll(t, conn, load(t, conn, db, "other")))
}

// diff is one difference in its binary form, with lengths below 251.
func diff(op byte, path, value string) string {
	out := []byte{op, byte(len(path))}
	out = append(out, path...)
	if op != 2 {
		raw, err := hex.DecodeString(value)
		if err != nil {
			panic(err)
		}
		out = append(append(out, byte(len(raw))), raw...)
	}
	return string(out)
}

const (
	docEmptyObject = "0000000400"
	docEmptyArray  = "0200000400"
	docA1          = "0001000c000b00010005010061" // {"a": 1}
	docArray       = "0202000a00040100050100"     // [true, 1]
)

func TestApplyJSONDiffs(t *testing.T) {
	deep := "$" + strings.Repeat("[0]", 129)
	for _, c := range []struct{ name, doc, diffs, want, err string }{
		{name: "nothing", doc: docA1, want: `{"a": 1}`},
		{name: "no document is null", doc: "", diffs: diff(0, "$", docA1), want: `{"a": 1}`},
		{name: "the whole", doc: docA1, diffs: diff(0, "$", docArray), want: `[true, 1]`},
		{name: "member", doc: docA1, diffs: diff(0, "$.a", "0c0161"), want: `{"a": "a"}`},
		{name: "every difference counts", doc: docA1, diffs: diff(1, "$.b", docArray) + diff(2, "$.a", "") + diff(0, "$.b[1]", "050700") + diff(1, "$.b[2]", "0401"),
			want: `{"b": [true, 7, true]}`},
		{name: "keys by length, then bytes", doc: docEmptyObject, diffs: diff(1, "$.bb", "0401") + diff(1, "$.c", "0401") + diff(1, "$.aa", "0401") + diff(1, `$.""`, "0401"),
			want: `{"": true, "c": true, "aa": true, "bb": true}`},
		{name: "quoted keys", doc: docEmptyObject, diffs: diff(1, `$."a.b\"\\\n\u0001"`, "0400"), want: `{"a.b\"\\\n\u0001": null}`},
		{name: "array: insert moves", doc: docArray, diffs: diff(1, "$[0]", "050200"), want: `[2, true, 1]`},
		{name: "array: insert beyond the end", doc: docArray, diffs: diff(1, "$[9]", "050200"), want: `[true, 1, 2]`},
		{name: "array: from the end", doc: docArray, diffs: diff(0, "$[last]", "050200") + diff(2, "$[last-1]", ""), want: `[2]`},
		{name: "inside of what came", doc: docEmptyArray, diffs: diff(1, "$[0]", docA1) + diff(0, "$[0].a", "0402"), want: `[{"a": false}]`},
		{name: "replace what is not there", doc: docA1, diffs: diff(0, "$.b", "0402"), err: `at "$.b": the document has nothing there`},
		{name: "remove what is not there", doc: docArray, diffs: diff(2, "$[2]", ""), err: "nothing there"},
		{name: "insert what is there", doc: docA1, diffs: diff(1, "$.a", "0402"), err: "something there already"},
		{name: "a member of an array", doc: docArray, diffs: diff(1, "$.a", "0402"), err: "nothing there"},
		{name: "a cell of an object", doc: docA1, diffs: diff(1, "$[0]", "0402"), err: "nothing there"},
		{name: "below a scalar", doc: docA1, diffs: diff(0, "$.a[0]", "0402"), err: "nothing there"},
		{name: "below nothing", doc: docA1, diffs: diff(1, "$.b.c", "0402"), err: "nothing there"},
		{name: "remove the whole", doc: docA1, diffs: diff(2, "$", ""), err: "operation 2 on the whole document"},
		{name: "operation", doc: docA1, diffs: diff(3, "$.a", "0402"), err: "unknown operation 3"},
		{name: "wildcard", doc: docArray, diffs: diff(0, "$[*]", "0402"), err: "not a path"},
		{name: "no root", doc: docArray, diffs: diff(0, "[0]", "0402"), err: "not a path"},
		{name: "second difference", doc: docA1, diffs: diff(0, "$.a", "0402") + diff(0, "$.", "0402"), err: "difference 2"},
		{name: "cut path", doc: docA1, diffs: "\x00\x09$.a", err: "ends too early"},
		{name: "cut value", doc: docA1, diffs: "\x00\x03$.a\x09\x04", err: "ends too early"},
		{name: "no value", doc: docA1, diffs: "\x00\x03$.a", err: "ends too early"},
		{name: "unknown type", doc: docA1, diffs: diff(0, "$.a", "0d00"), err: "unknown type"},
		{name: "too deep", doc: docArray, diffs: string([]byte{2, 0xfc, byte(len(deep)), byte(len(deep) >> 8)}) + deep, err: "too deep"},
	} {
		t.Run(c.name, func(t *testing.T) {
			doc, err := rowimage.ApplyJSONDiffs([]byte("before"), unhex(t, c.doc), []byte(c.diffs))
			if c.err != "" {
				require.ErrorContains(t, err, c.err)
				return
			}
			require.NoError(t, err)
			doc, ok := bytes.CutPrefix(doc, []byte("before"))
			require.True(t, ok)
			text, err := rowimage.AppendJSON(nil, doc)
			require.NoError(t, err)
			require.Equal(t, c.want, string(text))
		})
	}
}

// A document that grows beyond 64 KiB, and one that shrinks, change their layout.
func TestJSONLayoutChanges(t *testing.T) {
	doc := unhex(t, docEmptyArray)
	long := "0c" + hex.EncodeToString([]byte{0xe8, 0x01}) + strings.Repeat("61", 232) // a string of 232 bytes
	n := 0
	for ; len(doc) <= 1<<16+500; n++ {
		var err error
		doc, err = rowimage.ApplyJSONDiffs(nil, doc, []byte(diff(1, "$[last]", long)+diff(1, "$[0]", "0700000080")))
		require.NoError(t, err)
	}
	require.EqualValues(t, 3, doc[0], "a large array")
	text, err := rowimage.AppendJSON(nil, doc)
	require.NoError(t, err)
	require.Equal(t, 2*n, strings.Count(string(text), ",")+1)
	for range n {
		doc, err = rowimage.ApplyJSONDiffs(nil, doc, []byte(diff(2, "$[0]", "")))
		require.NoError(t, err)
	}
	require.EqualValues(t, 2, doc[0], "a small array")
	for range n {
		doc, err = rowimage.ApplyJSONDiffs(nil, doc, []byte(diff(2, "$[0]", "")))
		require.NoError(t, err)
	}
	require.Equal(t, unhex(t, docEmptyArray), doc)
}

// FuzzApplyJSONDiffs: whatever comes out is a document that can be read if the parts could be, and in proportion to them.
func FuzzApplyJSONDiffs(f *testing.F) {
	for _, c := range binaryJSON {
		f.Add(unhex(f, c.binary), []byte(diff(0, "$.a", "0c0161")+diff(1, "$[1]", docA1)+diff(2, "$[last-1]", "")))
	}
	f.Add(unhex(f, docA1), []byte(diff(1, "$.b", docArray)+diff(0, "$.b[1]", docA1)+diff(2, `$.b[1]."a"`, "")))
	f.Fuzz(func(t *testing.T, doc, diffs []byte) {
		after, err := rowimage.ApplyJSONDiffs(nil, doc, diffs)
		if err != nil {
			return
		}
		require.LessOrEqual(t, len(after), 2*(len(doc)+len(diffs))+65)
		if _, err := rowimage.AppendJSON(nil, after); err != nil {
			// What nobody looked into is copied as it was, sound or not; but the path to it must be.
			return
		}
		again, err := rowimage.ApplyJSONDiffs(nil, after, []byte(diff(0, "$", "0400")))
		require.NoError(t, err)
		require.Equal(t, []byte{4, 0}, again)
	})
}
