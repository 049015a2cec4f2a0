package writeset

import (
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"braid/internal/mysqld/mysqldtest"
	"braid/internal/sqlconn"
)

// letters are chosen to be equal to each other in some collation and not in another, or to be nothing, or to contract.
var letters = strings.Split("a A á à ä Ä å æ AE ae b B c ch CH ç d đ e é i ı İ I j ij ĳ l ll LL ł n ñ nj ǌ o ö ø oe œ s ss ß ẞ ſ t þ th u ü v w y ij "+
	"z ž 0 ０ ² 2 - _ あ ア ァ ｱ か が カ ガ ー 日 本 中 가 각 ᄀ ш щ Ш ё е ا أ ב ي ى ก ไ क ş ŝ ș ğ", " ")

var spaces = []string{" ", "  ", "\t", "\x00", "\x01", "\x00\x00", "\u00ad", "\u00a0", "\u3000", "\u0301", "", ""}

// TestCollations: for every collation of a real server, values that it holds equal have equal weights here, or none. And those
// that it tells apart are told apart here, in the collations that schemas mostly use.
func TestCollations(t *testing.T) {
	server, _ := mysqldtest.Shared(t)
	conn := mysqldtest.Dial(t, server.Root())
	res, err := conn.Query(t.Context(), "SELECT COLLATION_NAME, CHARACTER_SET_NAME FROM information_schema.COLLATIONS ORDER BY 1")
	require.NoError(t, err)
	known := 0
	for _, r := range res.Rows {
		name, charset := string(r[0]), string(r[1])
		c := lookupCollation(name)
		if c == nil {
			t.Logf("%s: not known", name)
			continue
		}
		known++
		t.Run(name, func(t *testing.T) { compareWithServer(t, conn, c, charset) })
	}
	require.Greater(t, known, 200)
}

// exactCollations are those of which a needless dependency would be a surprise.
var exactCollations = map[string]bool{
	"binary": true, "latin1_swedish_ci": true, "utf8mb4_bin": true, "utf8mb4_0900_bin": true, "utf8mb4_general_ci": true, "utf8mb4_unicode_ci": true,
	"utf8mb4_0900_ai_ci": true, "utf8mb4_0900_as_ci": true, "utf8mb4_0900_as_cs": true, "utf8mb3_general_ci": true, "ascii_general_ci": true,
}

func compareWithServer(t *testing.T, conn *sqlconn.Conn, c *collation, charset string) {
	rng := rand.New(rand.NewPCG(1, uint64(len(c.name))))
	cast := func(s string) string { return fmt.Sprintf("CONVERT(_utf8mb4 x'%x' USING %s)", s, charset) }
	var exprs []string
	for range 150 {
		a := word(rng)
		b := similar(rng, a)
		x, y := cast(a), cast(b)
		exprs = append(exprs, fmt.Sprintf("(SELECT CONCAT(%s COLLATE `%s` = %s, ' ', HEX(%s), ' ', HEX(%s)))", x, c.name, y, x, y))
	}
	res, err := conn.Query(t.Context(), "SELECT "+strings.Join(exprs, ", "))
	require.NoError(t, err)
	for _, cell := range res.Rows[0] {
		parts := strings.Split(string(cell), " ")
		equal := parts[0] == "1"
		a, err := hex.DecodeString(parts[1])
		require.NoError(t, err)
		b, err := hex.DecodeString(parts[2])
		require.NoError(t, err)
		wa, okA := c.append([]byte{}, a)
		wb, okB := c.append([]byte{}, b)
		if equal && okA && okB {
			require.Equal(t, wa, wb, "%x and %x are equal on the server", a, b)
		}
		if !equal && exactCollations[c.name] {
			require.NotEqual(t, wa, wb, "%x and %x differ on the server", a, b)
		}
	}
}

func word(rng *rand.Rand) string {
	var b strings.Builder
	for range rng.IntN(4) {
		b.WriteString(letters[rng.IntN(len(letters))])
	}
	return b.String() + spaces[rng.IntN(len(spaces))]
}

// similar changes a letter or the end, or draws anew.
func similar(rng *rand.Rand, s string) string {
	switch rng.IntN(4) {
	case 0:
		return word(rng)
	case 1:
		return s + spaces[rng.IntN(len(spaces))]
	case 2:
		return strings.ToUpper(s)
	}
	r := []rune(s + "a")
	i := rng.IntN(len(r))
	return string(r[:i]) + letters[rng.IntN(len(letters))] + string(r[i+1:])
}

// TestASCII: the table of weights gives what the collation gives.
func TestASCII(t *testing.T) {
	for _, name := range []string{"utf8mb4_unicode_ci", "utf8mb3_unicode_ci", "utf8mb4_unicode_520_ci"} {
		c := lookupCollation(name)
		require.NotNil(t, c.ascii, name)
		slow := *c
		slow.ascii = nil
		rng := rand.New(rand.NewPCG(1, 2))
		for range 10_000 {
			text := make([]byte, rng.IntN(8))
			for i := range text {
				text[i] = byte(rng.IntN(128))
			}
			fast, _ := c.append(nil, text)
			want, _ := slow.append(nil, text)
			require.Equal(t, string(want), string(fast), "%q", text)
		}
	}
	require.Nil(t, lookupCollation("utf8mb4_spanish2_ci").ascii, "ch and ll are letters")
}
