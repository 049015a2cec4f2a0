package rowimage_test

import (
	"math/rand/v2"

	"braid/internal/rowimage/rowimagetest"
)

// typeCase is a column type with values as SQL.
type typeCase struct {
	typ         string
	values      []string
	random      func(*rand.Rand) string
	notWide     bool // too long for a row of many columns
	noWriteBack bool // has no text form that stores it exactly
}

var cases = allCases()

func allCases() []typeCase {
	out := make([]typeCase, len(rowimagetest.Cases))
	for i, c := range rowimagetest.Cases {
		out[i] = typeCase{c.Type, c.Values, c.Random, c.NotWide, c.NoWriteBack}
	}
	return out
}
