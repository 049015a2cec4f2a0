package vstream

import (
	"context"
	"fmt"
	"math/big"
	"slices"
	"strconv"
	"time"

	"braid/internal/rowimage"
	"braid/internal/schema"
	"braid/internal/sqlconn"
)

// sampler finds keys that cut a table into ranges of about the same number of rows, on any key, at a cost that does not grow with the table.
//
// It asks the optimizer: EXPLAIN of a range dives into the index and estimates how many rows lie there, in a fraction of a millisecond. From one
// key on, the next is searched by halving: a value of the first column is tried, then one before or behind it, until about as many rows
// as wanted lie between. If so many rows have one value that no other fits, the search goes on in the next column among
// these. At last the first row at or behind the value is looked up: it gives the key.
//
// The values that are tried need be nothing but values of the column's type; a bad guess costs a step. So their order here does not matter: that
// the keys ascend is made sure by the server, which looks each up behind the one before.
//
// Rejected: max minus min by the number of ranges (keys have gaps), and steps of LIMIT 1 OFFSET n, which read the whole table.
type sampler struct {
	ctx   context.Context
	conn  *sqlconn.Conn
	def   *schema.Table
	index keyIndex
	want  float64 // rows of a range
}

// sampleTime bounds the search. What was found by then makes fewer ranges.
const sampleTime = 15 * time.Second

// finer is how many steps a range has: an estimate may be wrong by a factor of two or so (InnoDB doubles those of some depth), but those of one
// table are wrong alike. So the table is walked to its end in small steps, and every so many steps a range ends.
const finer = 4

func (p *sampler) sample(n int) (keys []rowimage.Row, err error) {
	deadline := time.Now().Add(sampleTime)
	var steps []rowimage.Row
	var last rowimage.Row
	for len(steps) < 4*finer*n && time.Now().Before(deadline) {
		if last, err = p.next(last); err != nil {
			return nil, fmt.Errorf("split %s.%s: %w", p.def.DB, p.def.Name, err)
		}
		if last == nil {
			break
		}
		steps = append(steps, last)
	}
	n = min(n, len(steps)+1)
	for i := 1; i < n; i++ {
		keys = append(keys, steps[i*(len(steps)+1)/n-1])
	}
	return keys, nil
}

// next finds the key behind which the next range begins; nil if there is none.
func (p *sampler) next(from rowimage.Row) (rowimage.Row, error) {
	var prefix rowimage.Row
	for {
		first, last, err := p.ends(from, prefix)
		if first == nil || err != nil {
			return nil, err
		}
		depth := len(prefix)
		d := domainOf(&p.def.Columns[p.index.columns[depth]], first[depth], last[depth])
		at, exact, err := p.search(from, prefix, d)
		if err != nil {
			return nil, err
		}
		if rest, err := p.rest(from, at, last, depth); rest || err != nil {
			return nil, err
		}
		key, err := p.lookUp(from, append(slices.Clip(prefix), at))
		if exact || err != nil || depth == len(p.index.columns)-1 {
			return key, err
		}
		// Many rows have one value: that of the last row before this one.
		if before, err := p.before(from, append(slices.Clip(prefix), at)); err != nil {
			return nil, err
		} else if before != nil {
			key = before
		}
		if key == nil {
			return nil, nil
		}
		prefix = append(slices.Clip(prefix), key[depth])
	}
}

// rest reports whether what lies behind from is no more than one range: the search has come to the last value.
func (p *sampler) rest(from rowimage.Row, at []byte, last rowimage.Row, depth int) (bool, error) {
	if depth > 0 || string(at) != string(last[0]) {
		return false, nil
	}
	rows, err := p.estimate(from, nil)
	return rows < p.want*5/4, err
}

// search finds the value up to which the wanted number of rows lies. exact says that about as many do; otherwise the value is the first
// with more.
func (p *sampler) search(from, prefix rowimage.Row, d *domain) (at []byte, exact bool, err error) {
	descending := p.index.descending[len(prefix)]
	low, high := new(big.Int), new(big.Int).Set(d.size)
	for low.Cmp(high) < 0 {
		mid := new(big.Int).Add(low, high)
		mid.Rsh(mid, 1)
		at = d.at(mid, descending)
		rows, err := p.estimate(from, append(slices.Clip(prefix), at))
		switch {
		case err != nil:
			return nil, false, err
		case rows > p.want*7/8 && rows < p.want*9/8:
			return at, true, nil
		case rows >= p.want:
			high = mid
		default:
			low = mid.Add(mid, big.NewInt(1))
		}
	}
	return d.at(low, descending), false, nil
}

// where writes the condition: behind from, and before the bound, a prefix of a key, or at or behind it.
func (p *sampler) where(b []byte, from, bound rowimage.Row, behind bool) []byte {
	word := " WHERE ("
	if from != nil {
		b = append(p.index.appendBound(append(b, word...), p.def, from, false), ')')
		word = " AND ("
	}
	if bound == nil {
		return b
	}
	b = append(b, word...)
	for n := range bound {
		if n > 0 {
			b = append(b, " OR "...)
		}
		b = append(b, '(')
		for i := range n {
			b = append(appendCompare(b, p.def, p.index.columns[i], "=", bound[i]), " AND "...)
		}
		op := "<"
		if behind != p.index.descending[n] {
			op = ">"
		}
		if behind && n == len(bound)-1 {
			op += "="
		}
		b = append(appendCompare(b, p.def, p.index.columns[n], op, bound[n]), ')')
	}
	return append(b, ')')
}

// estimate is about how many rows lie behind from and before the bound.
func (p *sampler) estimate(from, bound rowimage.Row) (float64, error) {
	// With FORCE INDEX it would not be estimated.
	sql := p.where(p.index.appendTable([]byte("EXPLAIN FORMAT=TRADITIONAL SELECT 1"), p.def, " USE INDEX ("), from, bound, false)
	res, err := p.conn.Query(p.ctx, string(sql))
	if err != nil {
		return 0, fmt.Errorf("estimate: %w", err)
	}
	i := slices.Index(res.Columns, "rows")
	if i < 0 || len(res.Rows) == 0 || res.Rows[0][i] == nil {
		return 0, nil // no row can match
	}
	return strconv.ParseFloat(string(res.Rows[0][i]), 64)
}

// ends are the first and the last key behind from, among those that begin with the prefix.
func (p *sampler) ends(from, prefix rowimage.Row) (first, last rowimage.Row, err error) {
	if first, err = p.key(from, p.equal(prefix), false); first == nil || err != nil {
		return nil, nil, err
	}
	last, err = p.key(from, p.equal(prefix), true)
	return first, last, err
}

// lookUp is the first key behind from that is at or behind the bound.
func (p *sampler) lookUp(from, bound rowimage.Row) (rowimage.Row, error) {
	return p.key(nil, string(p.where(nil, from, bound, true)), false)
}

// before is the last key behind from that is before the bound.
func (p *sampler) before(from, bound rowimage.Row) (rowimage.Row, error) {
	return p.key(nil, string(p.where(nil, from, bound, false)), true)
}

func (p *sampler) equal(prefix rowimage.Row) string {
	var b []byte
	for i, cell := range prefix {
		b = appendCompare(append(b, " AND "...), p.def, p.index.columns[i], "=", cell)
	}
	return string(b)
}

// key reads one key: the first in the index's order, or the last.
func (p *sampler) key(from rowimage.Row, condition string, last bool) (rowimage.Row, error) {
	b := []byte("SELECT ")
	for i, c := range p.index.columns {
		if i > 0 {
			b = append(b, ", "...)
		}
		b = append(b, rowimage.SelectExpr(p.def.Columns[c])...)
	}
	b = p.index.appendFrom(b, p.def)
	if from != nil {
		b = p.where(b, from, nil, false)
	} else if len(condition) > 0 && condition[:5] == " AND " {
		b = append(b, " WHERE TRUE"...)
	}
	b = append(b, condition...)
	order := p.index
	if last {
		order.descending = slices.Clone(order.descending)
		for i := range order.descending {
			order.descending[i] = !order.descending[i]
		}
	}
	res, err := p.conn.Query(p.ctx, string(append(order.appendOrder(b, p.def), " LIMIT 1"...)))
	if err != nil {
		return nil, fmt.Errorf("look up a key: %w", err)
	}
	if len(res.Rows) == 0 {
		return nil, nil
	}
	key := rowimage.Row(res.Rows[0])
	for i, c := range p.index.columns {
		key[i] = rowimage.Canonical(p.def.Columns[c], key[i])
	}
	return key, nil
}
