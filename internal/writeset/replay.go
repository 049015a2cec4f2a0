package writeset

import "container/heap"

// Replay is what a simulated run with some workers took.
type Replay struct {
	Workers int     `json:"workers"`
	Time    int64   `json:"time"` // in the unit of costs
	SpeedUp float64 `json:"speed_up"`
	Busy    float64 `json:"busy"` // share of the workers' time that was work
}

// Replay simulates workers that each take, as soon as they are free, the first transaction in source order that has nothing left to wait for.
func (g *Graph) Replay(workers int) Replay {
	r := Replay{Workers: max(workers, 1)}
	run := newRun(g)
	var total int64
	for run.started < len(g.nodes) {
		for len(run.running) < r.Workers && run.ready.Len() > 0 {
			run.start(g)
		}
		r.Time = run.finish(g)
	}
	for len(run.running) > 0 {
		r.Time = run.finish(g)
	}
	for i := range g.nodes {
		total += g.nodes[i].cost
	}
	if r.Time > 0 {
		r.SpeedUp = float64(total) / float64(r.Time)
		r.Busy = r.SpeedUp / float64(r.Workers)
	} else {
		r.SpeedUp = 1
	}
	return r
}

// run is the state of a simulation.
type run struct {
	followers [][]uint32 // of each transaction
	missing   []int32    // predecessors that are not done
	done      []bool
	low       int        // everything before this index is done
	floors    [][]uint32 // transactions that wait for low to pass an index
	ready     queue
	running   queue
	now       int64
	started   int
}

func newRun(g *Graph) *run {
	n := len(g.nodes)
	r := &run{followers: make([][]uint32, n), missing: make([]int32, n), done: make([]bool, n), floors: make([][]uint32, n+1)}
	for i := range g.nodes {
		for _, p := range g.predecessors(i) {
			r.followers[p-1] = append(r.followers[p-1], uint32(i))
			r.missing[i]++
		}
		if f := g.nodes[i].floor; f > 0 {
			r.floors[f] = append(r.floors[f], uint32(i))
			r.missing[i]++
		}
		if r.missing[i] == 0 {
			heap.Push(&r.ready, item{int64(i), uint32(i)})
		}
	}
	return r
}

func (r *run) start(g *Graph) {
	i := heap.Pop(&r.ready).(item).index
	heap.Push(&r.running, item{r.now + g.nodes[i].cost, i})
	r.started++
}

// finish moves the time to the next end of a transaction.
func (r *run) finish(g *Graph) int64 {
	it := heap.Pop(&r.running).(item)
	r.now = it.at
	r.done[it.index] = true
	for _, f := range r.followers[it.index] {
		r.less(f)
	}
	for r.low < len(r.done) && r.done[r.low] {
		r.low++
		for _, f := range r.floors[r.low] {
			r.less(f)
		}
	}
	return r.now
}

func (r *run) less(i uint32) {
	if r.missing[i]--; r.missing[i] == 0 {
		heap.Push(&r.ready, item{int64(i), i})
	}
}

type item struct {
	at    int64
	index uint32
}

// queue is a heap: the earliest first, then the first in source order.
type queue []item

func (q queue) Len() int { return len(q) }
func (q queue) Less(i, j int) bool {
	return q[i].at < q[j].at || q[i].at == q[j].at && q[i].index < q[j].index
}
func (q queue) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *queue) Push(x any)   { *q = append(*q, x.(item)) }
func (q *queue) Pop() any {
	last := (*q)[len(*q)-1]
	*q = (*q)[:len(*q)-1]
	return last
}
