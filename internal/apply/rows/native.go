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
	id := tableIDs.Add(1) % maxTableID
	n.encoder, err = m.Encoder(body, id+1, t.Target.DB, t.Target.Name, columns)
	return n, err
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
	mapped     map[*Table]bool

	// The row event under construction.
	table *Table
	typ   byte
	flags uint16
	start int // in rows; -1: none

	became map[string]bool // images that updates of tables without a key leave, since that was a question last
}

func (e *events) reset() {
	e.maps, e.rows = e.maps[:0], e.rows[:0]
	e.start, e.table = -1, nil
	if e.mapped == nil {
		e.mapped = map[*Table]bool{}
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
	if !e.mapped[t] {
		e.mapped[t] = true
		e.maps = t.native.encoder.AppendTableMap(e.maps, rowimage.EventHeader{}, false)
	}
	e.table, e.typ, e.flags, e.start = t, typ, flags, len(e.rows)
	if typ == rowimage.EventWriteRows || t.native.key == nil {
		e.rows = t.native.encoder.BeginRows(e.rows, rowimage.EventHeader{Type: typ}, flags)
	} else {
		e.rows = t.native.encoder.BeginKeyRows(e.rows, rowimage.EventHeader{Type: typ}, flags, t.native.key)
	}
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
