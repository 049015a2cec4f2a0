package rowimage_test

import (
	"encoding/hex"
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"braid/internal/rowimage"
	"braid/internal/schema"
)

func FuzzParseTableMap(f *testing.F) {
	f.Add(unhex(f, readRecording(f).TableMap))
	f.Fuzz(func(_ *testing.T, body []byte) {
		m, err := rowimage.ParseTableMap(body)
		if err != nil {
			return
		}
		_ = m.Fits(&schema.Table{Columns: make([]schema.Column, len(m.Columns))})
	})
}

// FuzzDecode gives a decoder whose map and definition agree any body.
func FuzzDecode(f *testing.F) {
	r := readRecording(f)
	for _, e := range r.Events {
		f.Add(e.Type, unhex(f, e.Body))
	}
	d := r.decoder(f)
	f.Fuzz(func(t *testing.T, eventType byte, body []byte) {
		_ = d.Decode(eventType, body, func(before, after rowimage.Row) error {
			for _, row := range []rowimage.Row{before, after} {
				if row != nil {
					checkEncoding(t, row)
				}
			}
			return nil
		})
	})
}

func checkEncoding(t *testing.T, row rowimage.Row) {
	again, rest, err := rowimage.DecodeRow(rowimage.AppendRow(nil, row), len(row))
	require.NoError(t, err)
	require.Empty(t, rest)
	require.True(t, row.Equal(again))
	require.True(t, row.Equal(row.Clone()))
}

// binaryJSON are documents as a server stores them, with their text.
var binaryJSON = []struct{ binary, text string }{
	{"", "null"},
	{"0400", "null"}, {"0401", "true"}, {"0402", "false"},
	{"05ffff", "-1"}, {"06ffff", "65535"}, {"0700000080", "-2147483648"}, {"0affffffffffffffff", "18446744073709551615"},
	{"0b000000000000f03f", "1.0"}, {"0b9a9999999999b93f", "0.1"}, {"0b0000000000000080", "-0.0"}, {"0b00003426f56b0c43", "1e15"},
	{"0c0161", `"a"`}, {"0c03220a01", `"\"\n\u0001"`},
	{"0000000400", "{}"}, {"0200000400", "[]"},
	{"0202000a00040100050100", "[true, 1]"},
	{"0001000c000b00010005010061", `{"a": 1}`},
	{"0ff60403028132", "1.50"},
	{"0f0a080000000000b2b419", `"2024-10-25"`},
	{"0ffc020001", `"base64:type252:AAE="`},
}

func TestAppendJSON(t *testing.T) {
	for _, c := range binaryJSON {
		got, err := rowimage.AppendJSON(nil, unhex(t, c.binary))
		require.NoError(t, err, c.binary)
		require.Equal(t, c.text, string(got), c.binary)
	}
}

// An array whose members are all the array itself, or whose members share one long string, must not make an endless text.
func TestJSONThatRefersToItself(t *testing.T) {
	for _, doc := range []string{"02" + "0200" + "0a00" + "020000" + "020000", "00" + "0100" + "0b00" + "0b000000" + "000000"} {
		_, err := rowimage.AppendJSON(nil, unhex(t, doc))
		require.Error(t, err)
	}
	shared := "02" + "e803" + "ffff" + strings.Repeat("0cbc0b", 1000) + "ff7f" + strings.Repeat("61", 0x3fff)
	_, err := rowimage.AppendJSON(nil, unhex(t, shared+strings.Repeat("00", 1<<16)))
	require.ErrorContains(t, err, "overlap")
}

func FuzzAppendJSON(f *testing.F) {
	for _, c := range binaryJSON {
		doc, err := hex.DecodeString(c.binary)
		require.NoError(f, err)
		f.Add(doc)
	}
	f.Fuzz(func(t *testing.T, doc []byte) {
		text, err := rowimage.AppendJSON(nil, doc)
		if err != nil {
			return
		}
		require.Less(t, len(text), 40*len(doc)+64, "the text must be in proportion to the document")
		require.True(t, json.Valid(text), "%q", text)
	})
}

func FuzzDecodeRow(f *testing.F) {
	f.Add([]byte{0xfb, 0, 1, 'a', 0xfc, 1, 0, 'b'}, uint8(4))
	f.Fuzz(func(t *testing.T, src []byte, n uint8) {
		row, rest, err := rowimage.DecodeRow(src, int(n))
		if err != nil {
			return
		}
		require.LessOrEqual(t, len(rest), len(src))
		again, _, err := rowimage.DecodeRow(rowimage.AppendRow(nil, row), int(n))
		require.NoError(t, err)
		require.True(t, row.Equal(again))
	})
}
