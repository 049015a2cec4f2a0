package vreplication

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"braid/internal/schema"
	"braid/internal/sqlconn"
)

// TableWriter is how the changes of a table are written.
type TableWriter struct {
	Table  string `json:"table"`            // of the source
	Writer string `json:"writer"`           // native or sql
	Reason string `json:"reason,omitempty"` // why it is not native
}

// written is how each table is written, as far as it is known: with the first row of a table that is to have row events.
type written struct {
	mu     sync.Mutex
	tables map[string]TableWriter
	told   map[string]bool // it is in the sidecar
}

func newWritten() written {
	return written{tables: map[string]TableWriter{}, told: map[string]bool{}}
}

// set says whether that is new.
func (w *written) set(t TableWriter) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.tables[t.Table] == t {
		return false
	}
	w.tables[t.Table], w.told[t.Table] = t, false
	return true
}

func (w *written) forget(tables ...string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, table := range tables {
		delete(w.tables, table)
		delete(w.told, table)
	}
}

// all are those that are known, or those of them that are not in the sidecar, by name.
func (w *written) all(untold bool) []TableWriter {
	w.mu.Lock()
	defer w.mu.Unlock()
	var all []TableWriter
	for table, t := range w.tables {
		if !untold || !w.told[table] {
			all = append(all, t)
		}
	}
	slices.SortFunc(all, func(a, b TableWriter) int { return cmp.Compare(a.Table, b.Table) })
	return all
}

func (w *written) tell(all []TableWriter) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, t := range all {
		w.told[t.Table] = true
	}
}

// Writers is how the tables of a stream are written.
func (e *Engine) Writers(id int64) []TableWriter {
	if c := e.stream(id); c != nil {
		return c.written.all(false)
	}
	return nil
}

// explainWriter tells how the table's changes are written, and why, when that is known and was not told before.
func (r *run) explainWriter(p *tablePlan) {
	if p.Undecided() {
		return
	}
	writer, reason := p.Writer()
	if triggers := p.Triggers(); len(triggers) > 0 && writer != "native" {
		r.log.Warn("the target's triggers fire for what is written, though the source's have done their work already: drop them",
			"table", p.Name(), "triggers", strings.Join(triggers, ", "))
	}
	if r.c.written.set(TableWriter{r.name(p.Source), writer, reason}) {
		r.log.Info("table is written", "table", p.Name(), "writer", writer, "reason", reason)
	}
}

// writersAtOnce bounds a statement: with the longest reasons it is below the least max_allowed_packet.
const writersAtOnce = 200

// saveWriters writes down what is new, for who looks at the target alone.
func (r *run) saveWriters(ctx context.Context) error {
	r.writersAt = time.Now()
	for some := range slices.Chunk(r.c.written.all(true), writersAtOnce) {
		values := make([]string, len(some))
		for i, t := range some {
			values[i] = fmt.Sprintf("(%d,%s,%s,%s)", r.row.ID, sqlconn.Quote(t.Table), sqlconn.Quote(t.Writer), quoteText(t.Reason))
		}
		if err := r.c.e.exec(ctx, "REPLACE INTO _braid.writers (vrepl_id, table_name, writer, reason) VALUES "+strings.Join(values, ",")); err != nil {
			return fmt.Errorf("how tables are written: %w", err)
		}
		r.c.written.tell(some)
	}
	return nil
}

// forgetWriters is the statement that takes back what is said of tables which have gone, or have other names.
func (r *run) forgetWriters(tables ...string) string {
	r.c.written.forget(tables...)
	names := make([]string, len(tables))
	for i, t := range tables {
		names[i] = sqlconn.Quote(t)
	}
	return fmt.Sprintf("DELETE FROM _braid.writers WHERE vrepl_id=%d AND table_name IN (%s)", r.row.ID, strings.Join(names, ","))
}

// loadWriters reads what streams have written down. A sidecar that an older version has made does not have it.
func loadWriters(ctx context.Context, conn *sqlconn.Conn, id int64) ([]TableWriter, error) {
	all := []TableWriter{}
	if found, err := schema.Exists(ctx, conn, Sidecar, "writers"); err != nil || !found {
		return all, err
	}
	res, err := conn.Query(ctx, fmt.Sprintf("SELECT table_name, writer, reason FROM _braid.writers WHERE vrepl_id=%d ORDER BY 1", id))
	if err != nil {
		return nil, fmt.Errorf("read how tables are written: %w", err)
	}
	for _, c := range res.Rows {
		all = append(all, TableWriter{string(c[0]), string(c[1]), string(c[2])})
	}
	return all, nil
}
