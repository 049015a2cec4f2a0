package writeset

import "slices"

// Graph collects the dependencies of a tracker's transactions, from the first on, to look at them as a whole. It keeps about 50 bytes a
// transaction and 4 a dependency.
type Graph struct {
	nodes  []graphNode
	preds  []uint32 // of all transactions, one after the other
	widths []int    // transactions per wave
}

type graphNode struct {
	floor uint32
	end   uint32 // of its part of preds
	wave  uint32 // from 1
	waves uint32 // highest wave up to here
	cost  int64
	path  int64 // cost of the most expensive chain that ends here
	paths int64 // highest path up to here
}

// Shape describes a graph. A wave has all transactions whose longest chain of predecessors has the same length: what could run at once if all took
// the same time and workers were free.
type Shape struct {
	Transactions int     `json:"transactions"`
	Waves        int     `json:"waves"` // the critical path in transactions
	AverageWidth float64 `json:"average_width"`
	P95Width     int     `json:"p95_width"` // 95 of 100 waves are not wider
	MaxWidth     int     `json:"max_width"`
	Cost         int64   `json:"cost"`
	CriticalCost int64   `json:"critical_cost"` // of the most expensive chain: no number of workers is faster
	Dependencies int     `json:"dependencies"`
	Barriers     int     `json:"barriers"` // transactions that wait for all before them
}

// Add adds the next transaction. Its cost is in any unit: rows, bytes, microseconds.
func (g *Graph) Add(d *Dependency, cost int64) {
	n := graphNode{floor: uint32(d.Floor), cost: max(cost, 0)}
	if d.Floor > 0 {
		n.wave, n.path = g.nodes[d.Floor-1].waves, g.nodes[d.Floor-1].paths
	}
	for _, p := range d.Preds {
		g.preds = append(g.preds, uint32(p))
		n.wave, n.path = max(n.wave, g.nodes[p-1].wave), max(n.path, g.nodes[p-1].path)
	}
	n.end = uint32(len(g.preds))
	n.wave++
	n.path += n.cost
	n.waves, n.paths = n.wave, n.path
	if len(g.nodes) > 0 {
		last := &g.nodes[len(g.nodes)-1]
		n.waves, n.paths = max(n.waves, last.waves), max(n.paths, last.paths)
	}
	g.nodes = append(g.nodes, n)
	if int(n.wave) > len(g.widths) {
		g.widths = append(g.widths, 0)
	}
	g.widths[n.wave-1]++
}

// Shape measures the graph.
func (g *Graph) Shape() Shape {
	s := Shape{Transactions: len(g.nodes), Waves: len(g.widths), Dependencies: len(g.preds)}
	if s.Transactions == 0 {
		return s
	}
	for i := range g.nodes {
		s.Cost += g.nodes[i].cost
		if i > 0 && int(g.nodes[i].floor) == i {
			s.Barriers++
		}
	}
	s.CriticalCost = g.nodes[len(g.nodes)-1].paths
	widths := slices.Sorted(slices.Values(g.widths))
	s.AverageWidth = float64(s.Transactions) / float64(s.Waves)
	s.P95Width, s.MaxWidth = widths[(len(widths)*95+99)/100-1], widths[len(widths)-1]
	return s
}

// Wave returns the wave of a transaction, from 1.
func (g *Graph) Wave(seq uint64) int { return int(g.nodes[seq-1].wave) }

// Groups lists the transactions of each wave.
func (g *Graph) Groups() [][]uint64 {
	groups := make([][]uint64, len(g.widths))
	for i := range g.nodes {
		w := g.nodes[i].wave - 1
		groups[w] = append(groups[w], uint64(i+1))
	}
	return groups
}

// predecessors returns those of the transaction with this index.
func (g *Graph) predecessors(i int) []uint32 {
	from := uint32(0)
	if i > 0 {
		from = g.nodes[i-1].end
	}
	return g.preds[from:g.nodes[i].end]
}
