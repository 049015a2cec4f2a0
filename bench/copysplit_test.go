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

// split copies each half of the key space to a server of its own, then each quarter.
func (c *copying) split() {
	if c.ours() {
		c.splitInto("split into two", "-80", "80-")
		c.splitInto("split into four", "-40", "40-80", "80-c0", "c0-")
	}
}

// splitInto copies parts of the key space, as the tablets of a split do: streams of one workflow read one source. What the source reads for them is
// its own count of rows.
func (c *copying) splitInto(name string, keys ...string) {
	src := c.serve(source, c.baseDir(c.base))
	defer src.remove()
	src.warm()
	local := vstream.NewLocal(vstream.LocalConfig{DB: src.Repl(), DBName: database}, slog.New(slog.DiscardHandler))
	defer local.Close()
	var parts []*piece
	for _, k := range keys {
		parts = append(parts, c.piece(src, k))
	}
	before, start := src.rowsRead(), time.Now()
	for _, p := range parts {
		defer p.dst.remove()
		p.prepare(local)
	}
	for _, p := range parts {
		require.NoError(c.b, p.engine.Start(c.b.Context()))
		defer p.engine.Stop()
	}
	for _, p := range parts {
		p.finish()
	}
	o := c.show(name, "an engine for each part", copied{wall: time.Since(start)})
	read := src.rowsRead() - before
	for _, table := range src.tables() {
		var content uint64
		for _, p := range parts {
			content ^= p.dst.content(table)
		}
		require.Equal(c.b, src.content(table), content, "the parts of %s are the whole", table)
	}
	c.report.Add(Figure{Case: name, Metric: "rows read on the source", Ours: float64(read), Peer: "rows written", Value: float64(c.rows()), Most: 1.05})
	c.report.Add(Figure{Case: name, Metric: "rows/s", Ours: c.rate(o)})
}

// piece is a target of a part of the key space.
type piece struct {
	c      *copying
	dst    *server
	keys   string
	engine *vreplication.Engine
}

// piece starts an empty server with the source's tables.
func (c *copying) piece(src *server, keys string) *piece {
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
	return &piece{c: c, dst: dst, keys: keys}
}

// prepare makes the stream; it runs when the engine does.
func (p *piece) prepare(local *vstream.Local) {
	p.engine = vreplication.NewEngine(vreplication.Config{DBName: database}, vreplication.Deps{
		Admin:      p.dst.Admin(),
		OpenSource: func(context.Context, string, string, []topo.TabletType) (vstream.Source, error) { return local, nil },
		Log:        slog.New(slog.DiscardHandler),
	})
	rule := filter.Rule{Table: "/t[0-9]+", KeyRange: p.keys, Vindex: "xxhash", VindexColumns: []string{"id"}}
	_, err := p.engine.Put(p.c.b.Context(), vreplication.Spec{Workflow: "split", Keyspace: database, Shard: "0", Rules: filter.Rules{Rules: []filter.Rule{rule}}})
	require.NoError(p.c.b, err)
}

// finish waits until the part is copied.
func (p *piece) finish() {
	require.Eventually(p.c.b, func() bool {
		list, err := p.engine.List(p.c.b.Context(), "split")
		require.NoError(p.c.b, err)
		require.Len(p.c.b, list, 1)
		require.NotEqual(p.c.b, vreplication.Error.String(), list[0].State, list[0].Message)
		return list[0].State == vreplication.Running.String()
	}, 10*time.Minute, 50*time.Millisecond, "the part %s is copied", p.keys)
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
