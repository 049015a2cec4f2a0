package writeset

import (
	"regexp"
	"strings"

	"vitess.io/vitess/go/mysql/collations"
	"vitess.io/vitess/go/mysql/collations/charset"
	"vitess.io/vitess/go/mysql/collations/colldata"
)

// collation makes weight strings: two strings are equal in the collation only if their weights are equal.
type collation struct {
	name    string
	data    colldata.Collation
	charset charset.Charset
	pad     []byte // weight of a space, in PAD SPACE collations; nil in NO PAD ones
	wide    bool   // characters may have several bytes
	// ascii has the weights of the ASCII characters one by one, in collations whose iterator would allocate for each text. nil: not to be used.
	ascii *[128][]byte
}

// legacy are the collations of older versions of the Unicode Collation Algorithm that no language has tailored: a text weighs what
// its characters weigh.
var legacy = regexp.MustCompile(`^utf8(mb[34])?_unicode(_520)?_ci$`)

// lookupCollation returns nil for a collation whose weights are not known.
func lookupCollation(name string) *collation {
	env := collations.NewEnvironment("8.0.30")
	data := colldata.Lookup(env.LookupByName(strings.ToLower(name)))
	if data == nil {
		return nil
	}
	c := &collation{name: data.Name(), data: data, charset: data.Charset()}
	_, eight := c.charset.(*charset.Charset_8bit)
	_, latin1 := c.charset.(charset.Charset_latin1)
	_, binary := c.charset.(charset.Charset_binary)
	c.wide = !eight && !latin1 && !binary
	if binary || strings.Contains(c.name, "_0900_") {
		return c // of the rest all pad; stripping the weight of spaces where it is not needed would only make a token coarser
	}
	var space [8]byte
	n := c.charset.EncodeRune(space[:], ' ')
	if n <= 0 {
		return nil
	}
	if c.pad = data.WeightString(nil, space[:n], 0); len(c.pad) == 0 {
		return nil
	}
	if legacy.MatchString(c.name) {
		c.ascii = new([128][]byte)
		for i := range c.ascii {
			c.ascii[i] = data.WeightString(nil, []byte{byte(i)}, 0)
		}
	}
	return c
}

// prefix cuts text after n characters.
func (c *collation) prefix(text []byte, n int) []byte {
	if len(text) <= n {
		return text
	}
	if !c.wide {
		return text[:n]
	}
	return charset.Slice(c.charset, text, 0, n)
}

// append appends the weights of text. It returns false for text that is not valid in the character set: MySQL compares it by other rules.
//
// Padding is taken off the weights, not the text: other characters may weigh as much as a space, or nothing.
func (c *collation) append(dst, text []byte) ([]byte, bool) {
	if c.wide && !charset.Validate(c.charset, text) {
		return dst, false
	}
	from := len(dst)
	dst = c.weights(dst, text)
	if n := len(c.pad); n > 0 {
		for len(dst)-from >= n && string(dst[len(dst)-n:]) == string(c.pad) {
			dst = dst[:len(dst)-n]
		}
	}
	return dst, true
}

func (c *collation) weights(dst, text []byte) []byte {
	if c.ascii == nil {
		return c.data.WeightString(dst, text, 0)
	}
	from := len(dst)
	for _, b := range text {
		if b >= 128 {
			return c.data.WeightString(dst[:from], text, 0)
		}
		dst = append(dst, c.ascii[b]...)
	}
	return dst
}
