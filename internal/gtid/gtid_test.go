package gtid_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/go-mysql-org/go-mysql/mysql"
	"github.com/stretchr/testify/require"

	"braid/internal/gtid"
)

const (
	a = "3e11fa47-71ca-11e1-9e33-c80aa9429562"
	b = "aaaaaaaa-71ca-11e1-9e33-c80aa9429562"
)

func TestParseGivesTheCanonicalForm(t *testing.T) {
	for in, want := range map[string]string{
		"":                                     "",
		" \n ":                                 "",
		a + ":1":                               a + ":1",
		a + ":1-1":                             a + ":1",
		strings.ToUpper(a) + ":1-5":            a + ":1-5",
		a + ":1-5:6-9:4":                       a + ":1-9",
		a + ":7:1-3:5":                         a + ":1-3:5:7",
		b + ":1,\n" + a + ":2-3":               a + ":2-3," + b + ":1",
		a + ":1," + a + ":2":                   a + ":1-2",
		a + ":1:TAG:5-6:other:1":               a + ":1:other:1:tag:5-6",
		a + ":tag:1," + a + ":9":               a + ":9:tag:1",
		a + ":_x:1 , " + b + ": 1 - 2 ":        a + ":_x:1," + b + ":1-2",
		a + ":9223372036854775806":             a + ":9223372036854775806",
		a + ":1-9223372036854775806":           a + ":1-9223372036854775806",
		a + ":tag:1:2:tag:3-4:another_1:7:8-9": a + ":another_1:7-9:tag:1-4",
	} {
		s, err := gtid.Parse(in)
		require.NoError(t, err, in)
		require.Equal(t, want, s.String(), in)
	}
}

func TestParseRefuses(t *testing.T) {
	for in, why := range map[string]string{
		"x":                                      `"x" is not a UUID`,
		a:                                        "no interval follows",
		a + ":":                                  `"" is not a transaction number`,
		a + ":0":                                 `"0" is not a transaction number`,
		a + ":9223372036854775807":               "is not a transaction number",
		a + ":5-3":                               "ends before it begins",
		a + ":1-":                                `"" is not a transaction number`,
		a + ":-1":                                `"" is not a transaction number`,
		a + ":+1":                                `"+1" is not a transaction number`,
		a + ":tag":                               "no interval follows",
		a + ":tag:other:1":                       `no interval follows tag "tag"`,
		a + ":1:tag":                             "no interval follows",
		a + ":ta-g:1":                            "is not a tag",
		a + ":" + strings.Repeat("x", 33) + ":1": "neither a tag nor an interval",
		"{" + a + "}:1":                          "is not a UUID",
		"3e11fa4771ca11e19e33c80aa9429562:1":     "is not a UUID",
		a + ":1;" + b + ":1":                     "is not a transaction number",
	} {
		_, err := gtid.Parse(in)
		require.ErrorContains(t, err, why, in)
		require.ErrorContains(t, err, "GTID set", in)
	}
}

func TestGTIDs(t *testing.T) {
	g, err := gtid.ParseGTID(a + ":Tag:7")
	require.NoError(t, err)
	require.Equal(t, a+":tag:7", g.String())
	for _, bad := range []string{"", a, a + ":1-2", a + ":tag", a + ":tag:1:2", a + ":0"} {
		_, err := gtid.ParseGTID(bad)
		require.Error(t, err, bad)
	}
	var s gtid.Set
	require.NoError(t, s.Add(a+":tag:7"))
	require.Error(t, s.Add(a+":tag"))
	require.True(t, s.ContainsGTID(a+":TAG:7"))
	require.False(t, s.ContainsGTID(a+":7"))
	require.False(t, s.ContainsGTID("nonsense"))
	require.True(t, s.HasServer(g.UUID))
	other, err := gtid.ParseUUID(b)
	require.NoError(t, err)
	require.False(t, s.HasServer(other))
}

// A copy keeps what it had, whatever is added to either side, in place or not.
func TestSetsAreValues(t *testing.T) {
	s := gtid.MustParse(a + ":1-3:5:7")
	one := s
	require.NoError(t, one.Add(a+":9"))
	two := one
	require.NoError(t, one.Add(a+":11"))
	require.NoError(t, two.Add(a+":20"))
	three := two
	require.NoError(t, two.Add(a+":21"))
	require.NoError(t, two.Add(a+":4"))
	require.NoError(t, two.Add(b+":1"))
	require.Equal(t, a+":1-3:5:7", s.String())
	require.Equal(t, a+":1-3:5:7:9:11", one.String())
	require.Equal(t, a+":1-5:7:9:20-21,"+b+":1", two.String())
	require.Equal(t, a+":1-3:5:7:9:20", three.String())
}

func TestJSON(t *testing.T) {
	s := gtid.MustParse(a + ":1-3:tag:5")
	raw, err := json.Marshal(map[string]gtid.Set{"position": s})
	require.NoError(t, err)
	require.JSONEq(t, `{"position": "`+a+`:1-3:tag:5"}`, string(raw))
	var back struct{ Position gtid.Set }
	require.NoError(t, json.Unmarshal(raw, &back))
	require.True(t, s.Equal(back.Position))
	require.Error(t, json.Unmarshal([]byte(`{"position": "x"}`), &back))
}

// The binary form is the one that go-mysql sends to servers.
func TestBinaryForm(t *testing.T) {
	for _, text := range []string{"", a + ":1-3:5", a + ":1-3," + b + ":1:7", a + ":1:tag:5-6:x:1," + b + ":y:1"} {
		s := gtid.MustParse(text)
		theirs, err := mysql.ParseMysqlGTIDSet(text)
		require.NoError(t, err)
		require.Equal(t, theirs.Encode(), s.Encode(), text)
		back, err := gtid.Decode(s.Encode())
		require.NoError(t, err)
		require.Equal(t, text, back.String())
		for n := range s.Encode() {
			_, err := gtid.Decode(s.Encode()[:n])
			require.Error(t, err)
		}
		_, err = gtid.Decode(append(s.Encode(), 0))
		require.ErrorContains(t, err, "too many")
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"", a + ":1-5:7", a + ":1:tag:5-6," + b + ":1", a + ":tag", a + ":5-3"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, in string) {
		s, err := gtid.Parse(in)
		if err != nil {
			return
		}
		again, err := gtid.Parse(s.String())
		require.NoError(t, err)
		require.True(t, s.Equal(again))
		require.Equal(t, s.String(), again.String())
		back, err := gtid.Decode(s.Encode())
		require.NoError(t, err)
		require.True(t, s.Equal(back))
	})
}

func FuzzDecode(f *testing.F) {
	for _, s := range []string{"", a + ":1-5:7", a + ":1:tag:5-6," + b + ":1"} {
		f.Add(gtid.MustParse(s).Encode())
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		s, err := gtid.Decode(in)
		if err != nil {
			return
		}
		again, err := gtid.Parse(s.String())
		require.NoError(t, err)
		require.True(t, s.Equal(again))
	})
}

func BenchmarkAdd(b *testing.B) {
	source := gtid.MustParse(a + ":1")
	many := source
	for n := int64(3); n < 20_000; n += 2 { // 10,000 intervals
		many.AddGTID(gtid.GTID{Source: sourceOf(source), Number: n})
	}
	for name, start := range map[string]gtid.Set{"one interval": source, "10000 intervals": many} {
		b.Run("next/"+name, func(b *testing.B) {
			b.ReportAllocs()
			s, n := start, int64(20_000)
			for b.Loop() {
				s.AddGTID(gtid.GTID{Source: sourceOf(source), Number: n})
				n++
			}
		})
		b.Run("gap/"+name, func(b *testing.B) {
			b.ReportAllocs()
			s, n := start, int64(20_000)
			for b.Loop() {
				s.AddGTID(gtid.GTID{Source: sourceOf(source), Number: n})
				n += 2
			}
		})
	}
}

func sourceOf(s gtid.Set) (source gtid.Source) {
	for source := range s.All {
		return source
	}
	return source
}
