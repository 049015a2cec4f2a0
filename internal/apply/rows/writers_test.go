package rows

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"braid/internal/rowimage/rowimagetest"
)

// TestWritersAllTypes: both writers leave every type as the source has it.
func TestWritersAllTypes(t *testing.T) {
	s := newSite(t)
	rng := rand.New(rand.NewPCG(5, 6))
	var fill []string
	for i, pack := range packs(rowimagetest.Cases) {
		name := fmt.Sprintf("t%d", i)
		var columns, names []string
		rows := 0
		for j, c := range pack {
			columns = append(columns, fmt.Sprintf("c%d %s", j, c.Type))
			rows = max(rows, len(c.Values)+3)
			if !strings.Contains(c.Type, "GENERATED") {
				names = append(names, fmt.Sprintf("c%d", j))
			}
		}
		s.exec(fmt.Sprintf("CREATE TABLE %s (id INT AUTO_INCREMENT PRIMARY KEY, n INT DEFAULT 7, %s)", name, strings.Join(columns, ", ")))
		for r := range rows {
			values := []string{fmt.Sprint(r)}
			for _, c := range pack {
				switch {
				case strings.Contains(c.Type, "GENERATED"):
					values[0] = c.Values[r%len(c.Values)]
				case r < len(c.Values):
					values = append(values, c.Values[r])
				case r == len(c.Values) && !strings.Contains(c.Type, "NOT NULL"):
					values = append(values, "NULL")
				case c.Random != nil:
					values = append(values, c.Random(rng))
				default:
					values = append(values, c.Values[0])
				}
			}
			fill = append(fill, fmt.Sprintf("INSERT INTO %s (%s) VALUES (%s)", name, strings.Join(append([]string{"n"}, names...), ","), strings.Join(values, ",")))
		}
		fill = append(fill, fmt.Sprintf("UPDATE %s SET id = id + 100000", name), fmt.Sprintf("UPDATE %s SET n = 8", name),
			fmt.Sprintf("DELETE FROM %s WHERE id %% 7 = 3", name))
	}
	var copies []string
	for range ways() {
		copies = append(copies, s.copyOf())
	}
	items := s.record(func() { s.exec(fill...) })
	for i, w := range ways() {
		t.Run(w.String(), func(t *testing.T) {
			to := s.open(t, copies[i], w)
			require.NoError(t, to.apply(items, w.group))
			to.equal()
			ok, reason := to.session.Native()
			require.Equal(t, !w.sql, ok, reason)
			for name, table := range to.bound {
				writer, reason := table.Writer()
				require.Equal(t, "native", writer, "%s: %s", name, reason)
			}
		})
	}
}

// packs puts several types into one table, but for those that need a row for themselves.
func packs(cases []rowimagetest.Case) (all [][]rowimagetest.Case) {
	var pack []rowimagetest.Case
	for _, c := range cases {
		if c.NotWide || strings.Contains(c.Type, "GENERATED") {
			all = append(all, []rowimagetest.Case{c})
			continue
		}
		if pack = append(pack, c); len(pack) == 8 {
			all, pack = append(all, pack), nil
		}
	}
	if len(pack) > 0 {
		all = append(all, pack)
	}
	return all
}
