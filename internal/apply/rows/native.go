package rows

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"

	"braid/internal/rowimage"
	"braid/internal/schema"
	"braid/internal/sqlconn"
)

// native is what the native writer needs of a table: an encoder of events for the target's table. It is immutable.
type native struct {
	encoder *rowimage.Encoder
	layout  *rowimage.TableMap // of the source's images, to find their cells
	key     []int              // places of the target's primary key: all that is sent of an image before; nil: all of it is
	partial bool               // of an image after only the columns that may have changed are sent
}

// tableIDs numbers the tables of all streams: within one statement, no two tables may have the same id.
var tableIDs atomic.Uint64

// maxTableID is where the numbers of BINLOG statements end.
const maxTableID = 1<<48 - 2

var errNoLayout = errors.New("the stream has not told how the binlog stores its rows")

// newNative compiles the writer of a table, from the body of the source's TABLE_MAP event. An error is the reason why there is none.
func newNative(t *Table, body []byte) (*native, error) {
	columns, err := places(t.Source, t.Target)
	if err != nil {
		return nil, err
	}
	if len(body) == 0 {
		return nil, errNoLayout
	}
	m, err := rowimage.ParseTableMap(body)
	if err != nil {
		return nil, err
	}
	if err := m.Fits(t.Source); err != nil {
		return nil, err
	}
	if old := m.OldTimes(); old != "" {
		return nil, fmt.Errorf("column %s has the time format of servers before 5.6", old)
	}
	n := &native{layout: m}
	for _, c := range t.Target.PrimaryKey {
		place := c // the source has all columns of the key, and in front of it no column is missing
		if columns != nil {
			place = slices.Index(columns, t.Source.Column(t.Target.Columns[c].Name))
		}
		n.key = append(n.key, place)
	}
	slices.Sort(n.key)
	n.partial = n.key != nil && !computes(t.Target)
	id := tableIDs.Add(1) % maxTableID
	n.encoder, err = m.Encoder(body, id+1, t.Target.DB, t.Target.Name, columns)
	return n, err
}

// computes says that the server derives something from the row that it would have to derive again for an image of some columns.
func computes(t *schema.Table) bool {
	if slices.ContainsFunc(t.Columns, func(c schema.Column) bool { return c.Generated }) {
		return true
	}
	return slices.ContainsFunc(t.Indexes, func(x schema.Index) bool {
		return slices.ContainsFunc(x.Parts, func(p schema.IndexPart) bool { return p.Expression != "" })
	})
}

// places says which column of the source stands at each place of the target; nil when each stands where it is. A server matches
// columns by their place alone, and only behind the last one may the target have more.
func places(source, target *schema.Table) ([]int, error) {
	columns := make([]int, 0, len(target.Columns))
	missing := ""
	for i := range target.Columns {
		name := target.Columns[i].Name
		c := source.Column(name)
		if c < 0 {
			missing = name
			continue
		}
		if missing != "" {
			return nil, fmt.Errorf("the target's column %s, which the source does not have, stands before %s", missing, name)
		}
		columns = append(columns, c)
	}
	if len(columns) == len(source.Columns) && slices.IsSorted(columns) {
		return nil, nil
	}
	return columns, nil
}

// Refusal prepares a session for row events: it gives the server a FORMAT_DESCRIPTION event, and takes back what that does to
// the session. A privilege that is missing is the reason that is returned; the session is good then all the same.
func Refusal(ctx context.Context, conn *sqlconn.Conn) (reason string, err error) {
	const automatic = "SET SESSION gtid_next='AUTOMATIC'" // the description sets it to something that no statement may have
	description := base64.StdEncoding.EncodeToString(rowimage.AppendDescription(nil, conn.ServerVersion()))
	for _, sql := range []string{automatic, "BINLOG '" + description + "'", automatic} {
		_, err := conn.Exec(ctx, sql)
		if code := sqlconn.ErrCode(err); code == erAccessDenied || code == erSpecificAccessDenied {
			return strings.TrimPrefix(fmt.Sprintf("the target's account may not use BINLOG statements (%s): GRANT BINLOG_ADMIN, SESSION_VARIABLES_ADMIN ON *.* TO it", err), "ERROR "), nil
		}
		if err != nil {
			return "", fmt.Errorf("prepare session for row events: %w", err)
		}
	}
	return "", nil
}

const (
	erAccessDenied         = 1227
	erSpecificAccessDenied = 1044
)

// events are those of one BINLOG statement under construction: the maps of all its tables first, so that the server opens and locks
// them once, then the row events.
type events struct {
	maps, rows []byte
	mapped     map[*Table]*changed

	// The row event under construction.
	table *Table
	typ   byte
	flags uint16
	start int // in rows; -1: none

	free []*changed // of earlier statements

	became map[string]bool // images that updates of tables without a key leave, since that was a question last
}

// changed are the places at which an update of the statement has changed a row of a table. They only become more, so a statement has few events.
type changed struct {
	is     []bool
	places []int
}

func (c *changed) reset() {
	clear(c.is)
	c.is, c.places = c.is[:0], c.places[:0]
}

// add notes a place, and reports whether it is new.
func (c *changed) add(place int) bool {
	for len(c.is) <= place {
		c.is = append(c.is, false)
	}
	if c.is[place] {
		return false
	}
	c.is[place] = true
	at, _ := slices.BinarySearch(c.places, place)
	c.places = slices.Insert(c.places, at, place)
	return true
}

func (e *events) reset() {
	e.maps, e.rows = e.maps[:0], e.rows[:0]
	e.start, e.table = -1, nil
	if e.mapped == nil {
		e.mapped = map[*Table]*changed{}
	}
	for _, c := range e.mapped {
		c.reset()
		e.free = append(e.free, c)
	}
	clear(e.mapped)
	clear(e.became)
}

func (e *events) size() int { return len(e.maps) + len(e.rows) }

// begin makes sure that the row event under construction is one of the table, the type and the flags.
func (e *events) begin(t *Table, typ byte, flags uint16) {
	if e.table == t && e.typ == typ && e.flags == flags {
		return
	}
	e.end()
	c := e.of(t)
	e.table, e.typ, e.flags, e.start = t, typ, flags, len(e.rows)
	if typ == rowimage.EventWriteRows || t.native.key == nil {
		e.rows = t.native.encoder.BeginRows(e.rows, rowimage.EventHeader{Type: typ}, flags)
	} else {
		e.rows = t.native.encoder.BeginKeyRows(e.rows, rowimage.EventHeader{Type: typ}, flags, t.native.key, t.native.sent(c))
	}
}

// of are the changed places of a table, whose map the statement has from then on.
func (e *events) of(t *Table) *changed {
	c := e.mapped[t]
	if c == nil {
		if n := len(e.free); n > 0 {
			c, e.free = e.free[n-1], e.free[:n-1]
		} else {
			c = &changed{}
		}
		e.mapped[t] = c
		e.maps = t.native.encoder.AppendTableMap(e.maps, rowimage.EventHeader{}, false)
	}
	return c
}

// sent are the places that an image after has; nil is all.
func (n *native) sent(c *changed) []int {
	if !n.partial {
		return nil
	}
	return c.places
}

// widen makes room for what an update has changed: an event has the same columns in all its rows.
func (e *events) widen(t *Table, before, after *rowimage.Image) (places []int) {
	c, wider := e.of(t), false
	t.native.encoder.Changes(before, after, func(place int) { wider = c.add(place) || wider })
	if len(c.places) == 0 { // an image has at least one
		wider = c.add(t.native.key[0])
	}
	if wider && e.table == t && e.typ == rowimage.EventUpdateRows {
		e.end()
	}
	return c.places
}

func (e *events) end() {
	if e.table != nil {
		e.rows = rowimage.EndEvent(e.rows, e.start, false)
		e.table = nil
	}
}

// appendStatement appends the BINLOG statement. Its literal is two pieces of base64, each of whole events.
func (e *events) appendStatement(dst []byte) []byte {
	e.end()
	rowimage.EndStatement(e.rows, e.start)
	dst = append(dst, "BINLOG '"...)
	dst = base64.StdEncoding.AppendEncode(dst, e.maps)
	dst = append(dst, '\n')
	dst = base64.StdEncoding.AppendEncode(dst, e.rows)
	return append(dst, '\'')
}
