package vstream

import (
	"cmp"
	"context"
	"fmt"
	"strconv"
	"sync"
	"time"

	"braid/internal/rowimage"
	"braid/internal/schema"
	"braid/internal/sqlconn"
)

const (
	firstRows = 64 // of a table of whose rows nothing is known
	growth    = 8  // at most, from one chunk of a table to the next
	// slowRead is how long a SELECT may take. A longer one keeps its read view, and with it old versions of rows, for as long.
	slowRead = time.Second
)

// chunkSizes is what earlier chunks tell about the next ones. Readers share it.
type chunkSizes struct {
	mu struct {
		sync.Mutex
		tables map[string]chunkSize
	}
}

type chunkSize struct {
	bytes int64 // average of a row
	rows  int   // that the next chunk may have at most
}

func newChunkSizes() *chunkSizes {
	s := &chunkSizes{}
	s.mu.tables = map[string]chunkSize{}
	return s
}

// limit is how many rows to ask for: what the bytes allow for by the size of earlier rows, growing slowly, fewer after a spoiled read.
func (s *chunkSizes) limit(ctx context.Context, conn *sqlconn.Conn, cmd *command, maxBytes int64) (int, error) {
	s.mu.Lock()
	size, known := s.mu.tables[cmd.req.Table]
	s.mu.Unlock()
	if !known {
		var err error
		if size, err = estimate(ctx, conn, cmd.table.def, maxBytes); err != nil {
			return 0, err
		}
	}
	n := min(int(maxBytes/max(size.bytes, 1)), size.rows, cmp.Or(cmd.req.MaxRows, defaultChunkRows))
	return max(n>>(2*min(cmd.attempt, 15)), 1), nil
}

// estimate takes what the server's statistics say, which may be old, or nothing. Half of what would fit is asked for, so that being wrong by
// a factor of four costs no more than a shorter chunk.
func estimate(ctx context.Context, conn *sqlconn.Conn, def *schema.Table, maxBytes int64) (chunkSize, error) {
	res, err := conn.Query(ctx, "SELECT AVG_ROW_LENGTH FROM information_schema.TABLES WHERE TABLE_SCHEMA="+sqlconn.Quote(def.DB)+" AND TABLE_NAME="+sqlconn.Quote(def.Name))
	if err != nil {
		return chunkSize{}, fmt.Errorf("statistics of %s.%s: %w", def.DB, def.Name, err)
	}
	if len(res.Rows) == 1 {
		if n, err := strconv.ParseInt(string(res.Rows[0][0]), 10, 64); err == nil && n > 0 {
			return chunkSize{bytes: n, rows: max(int(maxBytes/n/2), 1)}, nil
		}
	}
	return chunkSize{bytes: 1, rows: firstRows}, nil
}

// learn takes what a chunk has shown; full: it ended at its limit.
func (s *chunkSizes) learn(table string, rows int, size int64, full bool, took time.Duration) {
	if rows == 0 {
		return
	}
	next := chunkSize{bytes: max(size/int64(rows), 1), rows: rows * growth}
	if took > slowRead {
		next.rows = max(int(int64(rows)*int64(slowRead)/int64(took)*3/4), 1)
	} else if took > slowRead/2 {
		next.rows = rows
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if was, known := s.mu.tables[table]; known && !full {
		next.rows = max(next.rows, was.rows) // the end of a range says nothing about how much a chunk may have
	}
	s.mu.tables[table] = next
}

// slab makes rows of what a SELECT returns: copied, and canonical. Rows share memory, so that one costs no allocation of its own.
type slab struct {
	columns []schema.Column
	convert []bool // columns whose text is not the cell
	rows    []rowimage.Row
	size    int64 // bytes of all rows
	bytes   []byte
	grown   int // the last size of bytes
	cells   [][]byte
}

const (
	slabBytes = 256 << 10
	slabCells = 8 << 10
)

func newSlab(def *schema.Table) *slab {
	s := &slab{columns: def.Columns, convert: make([]bool, len(def.Columns))}
	for i := range def.Columns {
		s.convert[i] = !rowimage.IsCanonical(&def.Columns[i])
	}
	return s
}

func (s *slab) add(cells [][]byte) {
	size := 0
	for _, cell := range cells {
		size += len(cell)
	}
	s.size += int64(size + 8*len(cells))
	data := s.room(size)
	row := s.row(len(cells))
	for i, cell := range cells {
		if cell == nil {
			continue
		}
		from := len(data)
		data = append(data, cell...)
		row[i] = data[from:len(data):len(data)]
		if s.convert[i] {
			row[i] = rowimage.Canonical(s.columns[i], row[i])
		}
	}
	s.rows = append(s.rows, row)
}

// room returns an empty slice with room for n bytes.
func (s *slab) room(n int) []byte {
	if n > slabBytes/4 {
		return make([]byte, 0, n)
	}
	if n >= len(s.bytes) { // also for n = 0: an empty cell is not nil
		s.grown = min(max(2*s.grown, 4*n, 512), slabBytes)
		s.bytes = make([]byte, s.grown)
	}
	data := s.bytes[:0:n]
	s.bytes = s.bytes[n:]
	return data
}

func (s *slab) row(n int) rowimage.Row {
	if n > len(s.cells) {
		s.cells = make([][]byte, min(max(n, n*len(s.rows)), max(slabCells, n)))
	}
	row := s.cells[:n:n]
	s.cells = s.cells[n:]
	return rowimage.Row(row)
}

// canonicalRow copies a row of a SELECT and makes its cells canonical.
func canonicalRow(def *schema.Table, cells [][]byte) rowimage.Row {
	s := newSlab(def)
	s.add(cells)
	return s.rows[0]
}
