package vstream

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"braid/internal/schema"
	"braid/internal/sqlconn"
)

const (
	defaultRangeBytes = 256 << 20
	defaultRanges     = 64
)

// splitCall is a split that was asked for: the streams of a workflow get the same answer, so that they ask for the same chunks.
type splitCall struct {
	result  *Split // nil: under way
	waiting []func(*Split, error)
}

// split asks the readers for the keys. A table without a key is one range.
func (s *stream) split(r *SplitRequest) error {
	t, err := s.catalog.named(s.ctx, r.Table)
	if errors.Is(err, schema.ErrNoTable) { // the DDL is still to come on the stream; a window of it says that the table is gone
		s.emit(&Split{ID: r.ID})
		return nil
	}
	if err != nil {
		return err
	}
	s.readers.split(t, r, func(result *Split, err error) {
		if err != nil {
			s.member.tell(note{kind: noteSplit, err: err})
			return
		}
		own := *result
		own.ID = r.ID
		s.member.tell(note{kind: noteSplit, split: &own})
	})
	return nil
}

func (r *readers) split(t *table, req *SplitRequest, answer func(*Split, error)) {
	name := fmt.Sprintf("%s\x00%d\x00%d\x00%s", req.Table, req.Bytes, req.Most, t.def.KeyOrder())
	r.mu.Lock()
	defer r.mu.Unlock()
	if call := r.mu.splits[name]; call != nil {
		if call.result != nil {
			answer(call.result, nil)
		} else {
			call.waiting = append(call.waiting, answer)
		}
		return
	}
	call := &splitCall{waiting: []func(*Split, error){answer}}
	r.mu.splits[name] = call
	r.done.Go(func() {
		var result *Split
		err := r.with(r.ctx, func(src readerSource) (err error) {
			result, err = src.split(r.ctx, t, req)
			return err
		})
		r.mu.Lock()
		defer r.mu.Unlock()
		if call.result = result; err != nil {
			delete(r.mu.splits, name)
		} else {
			r.mu.scans.cut(req.Table, result.Keys)
		}
		for _, answer := range call.waiting {
			answer(result, err)
		}
	})
}

func (r *chunkReader) split(ctx context.Context, t *table, req *SplitRequest) (*Split, error) {
	conn, err := r.session(ctx)
	if err != nil {
		return nil, err
	}
	s := &Split{}
	if s.Rows, s.Size, err = tableSize(ctx, conn, t.def); err != nil {
		return nil, err
	}
	n := min(s.Size/cmp.Or(req.Bytes, defaultRangeBytes), int64(cmp.Or(req.Most, defaultRanges)))
	if n > 1 && len(t.key) > 0 {
		p := sampler{ctx: ctx, conn: conn, def: t.def, index: indexOf(t.def, t.key), want: float64(s.Rows) / float64(n*finer)}
		s.Keys, err = p.sample(int(n))
	}
	if slices.Contains(staleErrors, sqlconn.ErrCode(err)) { // a DDL is still to come on the stream: the table stays in one piece
		return &Split{Rows: s.Rows, Size: s.Size}, nil
	}
	return s, err
}

// tableSize is the server's estimate of a table's rows and bytes.
func tableSize(ctx context.Context, conn *sqlconn.Conn, def *schema.Table) (rows, size int64, err error) {
	res, err := conn.Query(ctx, "SELECT COALESCE(TABLE_ROWS, 0), COALESCE(DATA_LENGTH, 0) FROM information_schema.TABLES WHERE TABLE_SCHEMA="+
		sqlconn.Quote(def.DB)+" AND TABLE_NAME="+sqlconn.Quote(def.Name))
	if err != nil {
		return 0, 0, fmt.Errorf("statistics of %s.%s: %w", def.DB, def.Name, err)
	}
	if len(res.Rows) == 0 {
		return 0, 0, nil
	}
	if rows, err = strconv.ParseInt(string(res.Rows[0][0]), 10, 64); err == nil {
		size, err = strconv.ParseInt(string(res.Rows[0][1]), 10, 64)
	}
	if err != nil {
		return 0, 0, fmt.Errorf("statistics of %s.%s: %w", def.DB, def.Name, err)
	}
	return rows, size, nil
}
