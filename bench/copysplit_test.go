package bench

import (
	"context"
	"fmt"
	"log/slog"
	"strconv"
	"time"

	"github.com/stretchr/testify/require"

	"braid/internal/filter"
	"braid/internal/mysqld"
	"braid/internal/topo"
	"braid/internal/vreplication"
	"braid/internal/vstream"
)

// split copies each half of the key space to a server of its own, as the tablets of a split do: two streams of one workflow read one source.
// What the source reads for them is its own count of rows.
func (c *copying) split() {
	if !c.ours() {
		return
	}
	const name = "split into two"
	src := c.serve(source, c.baseDir(c.base))
	defer src.remove()
	src.warm()
	local := vstream.NewLocal(vstream.LocalConfig{DB: src.Repl(), DBName: database}, slog.New(slog.DiscardHandler))
	defer local.Close()
	halves := []*half{c.half(src, "-80"), c.half(src, "80-")}
	before, start := src.rowsRead(), time.Now()
	for _, h := range halves {
		defer h.dst.remove()
		h.prepare(local)
	}
	for _, h := range halves {
		require.NoError(c.b, h.engine.Start(c.b.Context()))
		defer h.engine.Stop()
	}
	for _, h := range halves {
		h.finish()
	}
	o := c.show(name, "two engines", copied{wall: time.Since(start)})
	read := src.rowsRead() - before
	for _, table := range src.tables() {
		require.Equal(c.b, src.content(table), halves[0].dst.content(table)^halves[1].dst.content(table), "the halves of %s are the whole", table)
	}
	c.report.Add(Figure{Case: name, Metric: "rows read on the source", Ours: float64(read), Peer: "rows written", Value: float64(c.rows()), Most: 1.05})
	c.report.Add(Figure{Case: name, Metric: "rows/s", Ours: c.rate(o)})
}

// half is a target of one half of the key space.
type half struct {
	c      *copying
	dst    *server
	keys   string
	engine *vreplication.Engine
}

// half starts an empty server with the source's tables.
func (c *copying) half(src *server, keys string) *half {
	dst := c.serve(target, "", func(cfg *mysqld.Config) {
		cfg.Port = c.port()
		cfg.ServerID = uint32(cfg.Port)
	})
	dst.exec("CREATE DATABASE "+database, "USE "+database)
	for _, table := range src.tables() {
		res, err := src.conn.Query(c.b.Context(), "SHOW CREATE TABLE "+database+"."+table)
		require.NoError(c.b, err)
		dst.exec(string(res.Rows[0][1]))
	}
	require.NoError(c.b, vreplication.InitSidecar(c.b.Context(), dst.conn))
	return &half{c: c, dst: dst, keys: keys}
}

// prepare makes the stream; it runs when the engine does.
func (h *half) prepare(local *vstream.Local) {
	h.engine = vreplication.NewEngine(vreplication.Config{DBName: database}, vreplication.Deps{
		Admin:      h.dst.Admin(),
		OpenSource: func(context.Context, string, string, []topo.TabletType) (vstream.Source, error) { return local, nil },
		Log:        slog.New(slog.DiscardHandler),
	})
	rule := filter.Rule{Table: "/t[0-9]+", KeyRange: h.keys, Vindex: "xxhash", VindexColumns: []string{"id"}}
	_, err := h.engine.Put(h.c.b.Context(), vreplication.Spec{Workflow: "split", Keyspace: database, Shard: "0", Rules: filter.Rules{Rules: []filter.Rule{rule}}})
	require.NoError(h.c.b, err)
}

// finish waits until the half is copied.
func (h *half) finish() {
	require.Eventually(h.c.b, func() bool {
		list, err := h.engine.List(h.c.b.Context(), "split")
		require.NoError(h.c.b, err)
		require.Len(h.c.b, list, 1)
		require.NotEqual(h.c.b, vreplication.Error.String(), list[0].State, list[0].Message)
		return list[0].State == vreplication.Running.String()
	}, 10*time.Minute, 50*time.Millisecond, "the half %s is copied", h.keys)
}

// rowsRead is the server's count of rows that it has read from tables of users.
func (s *server) rowsRead() int {
	res, err := s.conn.Query(s.h.b.Context(), "SHOW GLOBAL STATUS LIKE 'Innodb_rows_read'")
	require.NoError(s.h.b, err)
	n, err := strconv.Atoi(string(res.Rows[0][1]))
	require.NoError(s.h.b, err)
	return n
}

// content is a sum of a table's rows. Those of its parts, added without carry, are that of the whole.
func (s *server) content(table string) uint64 {
	sum, err := strconv.ParseUint(s.cell(fmt.Sprintf("SELECT BIT_XOR(CRC32(CONCAT_WS('#', id, k, c)) * 4294967296 + CRC32(CONCAT_WS('|', c, id))) FROM %s.%s", database, table)), 10, 64)
	require.NoError(s.h.b, err)
	return sum
}
