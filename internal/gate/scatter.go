package gate

import (
	"context"
	"fmt"
	"slices"

	"github.com/go-mysql-org/go-mysql/mysql"

	"braid/internal/base/errs"
	"braid/internal/mysqlproto"
)

// cursor reads the rows of one shard.
type cursor struct {
	b     *backend
	cells [][]byte // the row it stands at; nil after the last. Valid until the next advance.
	end   mysqlproto.OK
	ended bool // the answer was read to its end
}

// advance goes to the next row.
func (c *cursor) advance() error {
	if c.ended {
		return nil
	}
	row, end, serverErr, err := c.b.Row()
	switch {
	case err != nil:
		return err
	case serverErr != nil:
		c.ended, c.cells = true, nil
		return serverErr
	case row == nil:
		c.ended, c.end, c.cells = true, end, nil
		return nil
	case !mysqlproto.ParseRow(row, c.cells):
		return fmt.Errorf("%s: %w", c.b.dest, mysqlproto.ErrLost)
	}
	return nil
}

// scatter runs a query on several shards and merges the rows.
func (s *session) scatter(ctx context.Context, pl *plan) error {
	cursors, cols, err := s.openCursors(ctx, pl)
	if err != nil {
		return err
	}
	m := &merger{s: s, merge: pl.merge, cursors: cursors, cols: cols, visible: len(cols) - pl.merge.hidden}
	m.compare = &comparer{cols: cols, visible: m.visible, pads: s.padding(ctx, pl.parts[0].dest.keyspace)}
	var stops []func() bool
	for _, c := range cursors {
		stops = append(stops, c.b.Under(ctx))
	}
	err = m.run()
	for _, stop := range stops {
		stop()
	}
	for _, c := range cursors {
		if !c.ended { // the limit was reached, or something failed: what is left on the wire must not meet the next statement
			s.discard(c)
		}
	}
	if err == nil {
		s.warned = m.warnings > 0
	}
	return s.scatterError(err, m)
}

// scatterError says what became of a merge that failed: before the first row it may be tried again.
func (s *session) scatterError(err error, m *merger) error {
	switch {
	case err == nil || isClient(err):
		return err
	case m.lost != nil && !m.started:
		return s.failed(m.lost, err, false)
	case m.lost != nil:
		if ferr := s.failed(m.lost, err, false); !isHold(ferr) {
			return ferr
		}
		return errs.New(errs.NotServing, err, "the connection to %s was lost in the middle of the answer", m.lost.dest)
	}
	return err
}

// discard reads what is left of an answer, or closes the connection when that is too much.
func (s *session) discard(c *cursor) {
	const tooMuch = 1000
	for range tooMuch {
		if err := c.advance(); err != nil || c.ended {
			break
		}
	}
	if c.ended {
		return
	}
	if c.b.inTxn {
		for !c.ended { // closing it would lose the transaction
			if err := c.advance(); err != nil && !c.ended {
				break
			}
		}
		return
	}
	s.drop(c.b)
}

// openCursors sends the query everywhere and reads the columns. A refusal anywhere ends all of it before a row was read (G2).
func (s *session) openCursors(ctx context.Context, pl *plan) ([]*cursor, []mysqlproto.Column, error) {
	if err := s.connectAll(ctx, pl.parts); err != nil {
		return nil, nil, err
	}
	var sent []*backend
	var joined []bool
	var failure error
	for _, pt := range pl.parts {
		b, j, err := s.ready(ctx, pt.dest)
		if err == nil {
			if err = b.Send(mysql.COM_QUERY, tagged(nil, pl.epoch, pl.write, pt.dest, pl.tables, pt.sql)); err != nil {
				err = s.failed(b, err, pl.write)
			}
		}
		if err != nil {
			failure = err
			break
		}
		sent, joined = append(sent, b), append(joined, j)
	}
	var cursors []*cursor
	var cols []mysqlproto.Column
	for i, b := range sent {
		if s.backends[b.dest] != b {
			continue
		}
		c, first, err := s.openCursor(ctx, b, joined[i], pl)
		if err != nil && (failure == nil || isHold(failure) && !isHold(err)) {
			failure = err
		}
		if c != nil {
			cursors, cols = append(cursors, c), first
		}
	}
	if failure != nil {
		for _, c := range cursors {
			s.discard(c)
		}
		return nil, nil, failure
	}
	return cursors, cols, nil
}

func (s *session) openCursor(ctx context.Context, b *backend, joined bool, pl *plan) (*cursor, []mysqlproto.Column, error) {
	stop := b.Under(ctx)
	defer stop()
	resp, err := b.Response()
	if err != nil {
		return nil, nil, s.failed(b, err, pl.write)
	}
	if resp.Err != nil {
		return nil, nil, s.serverError(ctx, b, joined, resp.Err)
	}
	b.fresh, b.locked = false, b.locked || b.inTxn && pl.write
	if resp.Columns == 0 {
		return nil, nil, fmt.Errorf("%s: a query was answered without rows", b.dest)
	}
	cols, err := b.Columns()
	if err != nil {
		return nil, nil, s.failed(b, err, pl.write)
	}
	return &cursor{b: b, cells: make([][]byte, len(cols))}, cols, nil
}

// merger puts the rows of several cursors together and writes the answer.
type merger struct {
	s        *session
	merge    *merge
	cursors  []*cursor
	cols     []mysqlproto.Column
	visible  int
	compare  *comparer
	lost     *backend // whose connection failed
	started  bool     // something was written
	warnings uint16
}

func (m *merger) run() error {
	for _, c := range m.cursors {
		if err := m.advance(c); err != nil {
			return err
		}
	}
	var err error
	if m.merge.group {
		err = m.groups()
	} else {
		err = m.rows()
	}
	if err != nil {
		return err
	}
	if err := m.begin(); err != nil {
		return err
	}
	for _, c := range m.cursors {
		m.warnings += c.end.Warnings
	}
	return toClient(m.s.c.EndRows(mysqlproto.OK{Warnings: m.warnings}))
}

func (m *merger) advance(c *cursor) error {
	err := c.advance()
	if err != nil && mysqlproto.AsMySQL(err) == nil {
		m.lost = c.b
	}
	return err
}

// begin writes the columns, once.
func (m *merger) begin() error {
	if m.started {
		return nil
	}
	m.started = true
	return toClient(m.s.c.WriteColumns(m.outColumns()))
}

func (m *merger) outColumns() []mysqlproto.Column {
	cols := slices.Clone(m.cols[:m.visible])
	for i, it := range m.merge.items {
		if it.kind == avgOfGroup && cols[i].Type == mysql.MYSQL_TYPE_NEWDECIMAL {
			cols[i].Decimals += averageDigits
		}
	}
	return cols
}

// write sends one row unless OFFSET leaves it out. more is false when LIMIT is reached.
func (m *merger) write(cells [][]byte) (more bool, err error) {
	if m.merge.limit == 0 {
		return false, nil
	}
	if m.merge.offset > 0 {
		m.merge.offset--
		return true, nil
	}
	if err := m.begin(); err != nil {
		return false, err
	}
	if err := m.s.c.WriteRow(cells[:m.visible]); err != nil {
		return false, toClient(err)
	}
	if m.merge.limit != noLimit {
		m.merge.limit--
	}
	return m.merge.limit > 0, nil
}

// rows merges without grouping.
func (m *merger) rows() error {
	if m.merge.limit == 0 {
		return nil
	}
	for {
		c, err := m.least()
		if err != nil || c == nil {
			return err
		}
		more, err := m.write(c.cells)
		if err != nil || !more {
			return err
		}
		if err := m.advance(c); err != nil {
			return err
		}
	}
}

// least is the cursor with the first row by the order; without an order, the first that has one. nil when all are at their end.
func (m *merger) least() (*cursor, error) {
	var best *cursor
	for _, c := range m.cursors {
		if c.cells == nil {
			continue
		}
		if best == nil {
			best = c
			continue
		}
		n, err := m.order(c.cells, best.cells)
		if err != nil {
			return nil, err
		}
		if n < 0 {
			best = c
		}
	}
	return best, nil
}

func (m *merger) order(a, b [][]byte) (int, error) {
	for _, k := range m.merge.order {
		if n, err := m.compare.compare(k, a, b); n != 0 || err != nil {
			return n, err
		}
	}
	return 0, nil
}
