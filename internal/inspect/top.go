package inspect

import (
	"cmp"
	"encoding/binary"
	"slices"

	"braid/internal/binlog"
	"braid/internal/rowimage"
)

const (
	maxTables  = 10_000 // counted by name; the rest is one
	maxHot     = 4096   // rows that compete for being hot
	maxBiggest = 10
	restTables = "(other tables)"
)

// Top is the Sink that counts what made the volume of a span.
type Top struct {
	tables  map[string]*tableCount
	kinds   map[string]*Count
	sizes   [len(sizeBounds) + 1]Count
	hot     *sketch
	keys    map[string]*Table // by the prefix of a sketch's key
	biggest []Big             // ascending
	keyless map[string]bool
	total   Count
	key     []byte
	cells   rowimage.Row
}

// Count is a volume.
type Count struct {
	Transactions int64 `json:"transactions"`
	Rows         int64 `json:"rows"`
	Bytes        int64 `json:"bytes"`
}

type tableCount struct {
	Count
	inserts, updates, deletes, ddl int64
}

// Big is a big transaction.
type Big struct {
	GTID   string   `json:"gtid"`
	At     string   `json:"at"`
	Rows   int64    `json:"rows"`
	Bytes  int64    `json:"bytes"`
	Tables []string `json:"tables"`
}

// sizeBounds are the upper bounds of the classes of transaction sizes, in bytes.
var sizeBounds = [...]int64{1 << 10, 4 << 10, 16 << 10, 64 << 10, 256 << 10, 1 << 20, 16 << 20, 256 << 20}

// NewTop returns an empty count.
func NewTop() *Top {
	return &Top{tables: map[string]*tableCount{}, kinds: map[string]*Count{}, hot: newSketch(maxHot), keys: map[string]*Table{}, keyless: map[string]bool{}}
}

// Begin implements Sink.
func (c *Top) Begin(*Transaction) error { return nil }

// Rows implements Sink.
func (c *Top) Rows(t *Transaction, e *RowEvent) error {
	n := c.table(e.Table.Name)
	switch e.Kind {
	case binlog.Insert:
		n.inserts += e.Count
	case binlog.Update:
		n.updates += e.Count
	case binlog.Delete:
		n.deletes += e.Count
	}
	c.kind(e.Kind.String(), e.Count, e.Bytes)
	key := e.Table.Key()
	if len(key) == 0 {
		if e.Table.Keyless && len(c.keyless) < maxTables {
			c.keyless[e.Table.Name] = true
		}
		return nil
	}
	return c.rows(t, e, key)
}

// rows finds hot rows. A row is its key before the change.
func (c *Top) rows(t *Transaction, e *RowEvent, key []int) error {
	c.key = binary.BigEndian.AppendUint32(c.key[:0], e.Table.ID)
	if c.keys[string(c.key)] != e.Table {
		c.keys[string(c.key)] = e.Table
	}
	if cap(c.cells) < len(key) {
		c.cells = make(rowimage.Row, len(key))
	}
	cells, each := c.cells[:len(key)], e.Bytes/max(e.Count, 1)
	return e.Walk(func(before, after *rowimage.Image) error {
		if before == nil {
			before = after
		}
		if err := before.Cells(cells, key); err != nil {
			return err
		}
		c.key = rowimage.AppendRow(c.key[:4], cells)
		c.hot.add(c.key, each, t.Number)
		return nil
	})
}

// End implements Sink.
func (c *Top) End(t *Transaction) error {
	for i := range t.Tables {
		u := &t.Tables[i]
		n := c.table(u.Table.Name)
		n.Transactions++
		n.Rows += u.Rows
		n.Bytes += u.Bytes
	}
	switch {
	case t.DDL != nil:
		c.ddl(t)
	case len(t.Statements) > 0:
		c.kind("statement", 0, max(t.Bytes()-t.RowBytes, 0))
	}
	size := t.Bytes()
	class := 0
	for class < len(sizeBounds) && size >= sizeBounds[class] {
		class++
	}
	for _, n := range []*Count{&c.total, &c.sizes[class]} {
		n.Transactions++
		n.Rows += t.Rows
		n.Bytes += size
	}
	c.big(t, size)
	return nil
}

func (c *Top) ddl(t *Transaction) {
	c.kind("ddl", 0, max(t.Bytes()-t.RowBytes, 0))
	for _, o := range t.DDL.Objects {
		if o.Table != "" {
			c.table(o.DB+"."+o.Table).ddl++
		}
	}
}

func (c *Top) big(t *Transaction, size int64) {
	if len(c.biggest) == maxBiggest && size <= c.biggest[0].Bytes {
		return
	}
	b := Big{GTID: t.GTID, At: stamp(t.At), Rows: t.Rows, Bytes: size, Tables: []string{}}
	for i := range t.Tables[:min(len(t.Tables), maxBiggest)] {
		b.Tables = append(b.Tables, t.Tables[i].Table.Name)
	}
	at, _ := slices.BinarySearchFunc(c.biggest, size, func(b Big, size int64) int { return cmp.Compare(b.Bytes, size) })
	c.biggest = slices.Insert(c.biggest, at, b)
	if len(c.biggest) > maxBiggest {
		c.biggest = c.biggest[1:]
	}
}

func (c *Top) table(name string) *tableCount {
	n := c.tables[name]
	if n == nil {
		if len(c.tables) >= maxTables {
			name = restTables
		}
		if n = c.tables[name]; n == nil {
			n = &tableCount{}
			c.tables[name] = n
		}
	}
	return n
}

func (c *Top) kind(name string, rows, bytes int64) {
	n := c.kinds[name]
	if n == nil {
		n = &Count{}
		c.kinds[name] = n
	}
	n.Transactions++ // events, here
	n.Rows += rows
	n.Bytes += bytes
}
