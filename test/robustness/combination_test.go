package robustness

import (
	"fmt"
	"math/rand/v2"
)

// combination is what one round runs with.
type combination struct {
	mode, order, writer string
}

func (c combination) String() string { return c.mode + "-" + c.order + "-" + c.writer }

// combinations are all of them.
var combinations = func() (all []combination) {
	for _, mode := range []string{"writeset", "logical_clock", "database", "serial"} {
		for _, order := range []string{"preserve", "relaxed"} {
			for _, writer := range []string{"native", "sql"} {
				all = append(all, combination{mode, order, writer})
			}
		}
	}
	return all
}()

// few are the combinations of the normal tests: the default, its opposite, and one that the seed chooses.
func few(seed uint64) []combination {
	r := rand.New(rand.NewPCG(seed, 0))
	return []combination{{"writeset", "preserve", "native"}, {"writeset", "relaxed", "sql"}, combinations[r.IntN(len(combinations))]}
}

// find returns the combination of a name.
func find(name string) (combination, error) {
	for _, c := range combinations {
		if c.String() == name {
			return c, nil
		}
	}
	return combination{}, fmt.Errorf("no combination %q; there are %v", name, combinations)
}
