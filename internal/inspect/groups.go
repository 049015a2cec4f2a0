package inspect

import (
	"cmp"
	"fmt"
	"time"

	"braid/internal/writeset"
)

// By says what makes transactions a group.
type By string

// The kinds of groups.
const (
	ByCommitOrder  By = "commit-order"  // they ran together on the source
	ByLogicalClock By = "logical-clock" // the log's last_committed lets a replica run them together
	ByWriteset     By = "writeset"      // their rows have nothing in common
)

// ParseBy reads a By.
func ParseBy(s string) (By, error) {
	for _, by := range []By{ByCommitOrder, ByLogicalClock, ByWriteset} {
		if s == string(by) {
			return by, nil
		}
	}
	return "", fmt.Errorf("%q is none of %s, %s, %s", s, ByCommitOrder, ByLogicalClock, ByWriteset)
}

// Member is a transaction and the group that it is in. Transactions of one group need nothing of each other.
type Member struct {
	Group         int       `json:"group"`
	GTID          string    `json:"gtid"`
	LastCommitted int64     `json:"last_committed"`
	Sequence      int64     `json:"sequence_number"`
	At            time.Time `json:"at"`
	Bytes         int64     `json:"bytes"`
	Rows          int64     `json:"rows"`
	Tables        []string  `json:"tables,omitempty"`
	DDL           string    `json:"ddl,omitempty"`
	// AllUpTo: it waits for this transaction and everything before it.
	AllUpTo string `json:"depends_on_all_up_to,omitempty"`
	// DependsOn: it waits for these.
	DependsOn []string `json:"depends_on,omitempty"`
}

// Groups is the Sink that finds groups; Emit gets each transaction with its group, in the order of the log.
type Groups struct {
	By   By
	Emit func(*Member) error

	order   *order
	tracked *tracked
	waves   waves
	coarse  map[string]string
	started bool
}

// Begin implements Sink.
func (g *Groups) Begin(t *Transaction) error {
	if !g.started {
		g.started = true
		g.coarse = map[string]string{}
		if g.By == ByWriteset {
			g.tracked = newTracked(writeset.Writeset)
		} else {
			g.order = &order{commits: g.By != ByLogicalClock}
		}
	}
	if g.tracked != nil {
		g.tracked.begin(t)
	}
	return nil
}

// Rows implements Sink.
func (g *Groups) Rows(_ *Transaction, e *RowEvent) error {
	if g.tracked == nil {
		return nil
	}
	err := feed(e, g.tracked)
	noteCoarse(g.coarse, g.tracked, e.Table)
	return err
}

// End implements Sink.
func (g *Groups) End(t *Transaction) error {
	var d writeset.Dependency
	if g.tracked != nil {
		d = g.tracked.end(t)
	} else {
		d = g.order.add(t)
	}
	m := &Member{
		GTID: t.GTID, LastCommitted: t.LastCommitted, Sequence: t.Sequence, At: t.At, Bytes: t.Bytes(), Rows: t.Rows,
	}
	for i := range t.Tables {
		m.Tables = append(m.Tables, t.Tables[i].Table.Name)
	}
	if t.DDL != nil {
		m.DDL = t.DDL.SQL
		for _, o := range t.DDL.Objects {
			if len(t.Tables) == 0 {
				m.Tables = append(m.Tables, o.DB+"."+cmp.Or(o.Table, "*"))
			}
		}
	}
	m.AllUpTo = g.waves.at(d.Floor).gtid
	for _, p := range d.Preds {
		if id := g.waves.at(p).gtid; id != "" {
			m.DependsOn = append(m.DependsOn, id)
		}
	}
	m.Group = g.waves.add(&d, t.GTID)
	return g.Emit(m)
}

// Coarse lists the tables whose rows could not be told apart.
func (g *Groups) Coarse() []CoarseTable { return coarseTables(g.coarse) }

const maxCoarse = 100

func noteCoarse(to map[string]string, k *tracked, t *Table) {
	if _, known := to[t.Name]; known || len(to) >= maxCoarse {
		return
	}
	switch why := k.tracker.Coarse(t.ID); {
	case t.Def == nil:
		to[t.Name] = t.Opaque
	case why != "":
		to[t.Name] = why
	case !t.Server:
		to[t.Name] = "only the primary key is known from the log: other unique keys and foreign keys are left out"
	}
}
