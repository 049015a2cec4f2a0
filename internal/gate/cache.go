package gate

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"braid/internal/schema"
	"braid/internal/vschema"
)

// vschemaCache keeps the VSchemas parsed. One that does not parse is as if it were not there; whoever writes it checks it.
type vschemaCache struct {
	mu      sync.Mutex
	version int64
	raw     map[string]string
	parsed  map[string]*vschema.Keyspace
}

func (c *vschemaCache) get(g *Gate) map[string]*vschema.Keyspace {
	c.mu.Lock()
	defer c.mu.Unlock()
	version := g.deps.Cache.VSchemaVersion()
	if c.parsed != nil && c.version == version {
		return c.parsed
	}
	parsed, raw := map[string]*vschema.Keyspace{}, map[string]string{}
	for ks, doc := range g.deps.Cache.VSchemas() {
		raw[ks] = string(doc)
		if old := c.parsed[ks]; old != nil && c.raw[ks] == raw[ks] {
			parsed[ks] = old
			continue
		}
		vs, err := vschema.Parse(doc)
		if err != nil {
			g.log.Error("VSchema is not valid and not used", "keyspace", ks, "error", err)
			continue
		}
		parsed[ks] = vs
	}
	c.version, c.raw, c.parsed = version, raw, parsed
	return parsed
}

// tableCache keeps definitions of tables. They are read again after a while, and at once when a statement through this gate
// may have changed one.
type tableCache struct {
	mu   sync.Mutex
	defs map[string]tableDef
}

type tableDef struct {
	table        *schema.Table
	read         time.Time
	unreferenced bool // no foreign key of another table refers to it
}

// tableTTL bounds how long a change of a table that was made behind this gate's back goes unnoticed. Statements name their
// columns, so that an outdated definition makes an error, not a wrong row; the order of columns matters to INSERT without a list.
const tableTTL = 10 * time.Second

func (c *tableCache) get(key string) *schema.Table {
	c.mu.Lock()
	defer c.mu.Unlock()
	if d, ok := c.defs[key]; ok && time.Since(d.read) < tableTTL {
		return d.table
	}
	return nil
}

func (c *tableCache) put(key string, t *schema.Table) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.defs == nil {
		c.defs = map[string]tableDef{}
	}
	c.defs[key] = tableDef{table: t, read: time.Now()}
}

func (c *tableCache) unreferenced(key string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.defs[key].unreferenced
}

func (c *tableCache) setUnreferenced(key string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if d, ok := c.defs[key]; ok {
		d.unreferenced = true
		c.defs[key] = d
	}
}

func (c *tableCache) forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.defs = nil
}

// padCache keeps what is known of collations; it never changes.
type padCache struct {
	mu   sync.Mutex
	pads map[string]padding
}

// padding asks a server how a collation treats the end of a text.
func (s *session) padding(ctx context.Context, keyspace string) func(string) (padding, error) {
	return func(name string) (padding, error) {
		c := &s.g.pads
		c.mu.Lock()
		pad, ok := c.pads[name]
		c.mu.Unlock()
		if ok || name == "binary" || name == "" || strings.HasPrefix(name, "utf8mb4_0900_") {
			return pad, nil
		}
		res, err := s.lookup(ctx, keyspace, "SELECT CHARACTER_SET_NAME, PAD_ATTRIBUTE FROM information_schema.COLLATIONS WHERE COLLATION_NAME = "+quote(name))
		if err != nil || len(res.Rows) == 0 {
			return pad, fmt.Errorf("collation %s: %w", name, orNotFound(err))
		}
		if string(res.Rows[0][1]) == "PAD SPACE" {
			weight, err := s.lookup(ctx, keyspace, fmt.Sprintf("SELECT WEIGHT_STRING(CONVERT(' ' USING %s) COLLATE %s)", res.Rows[0][0], name))
			if err != nil {
				return pad, fmt.Errorf("collation %s: %w", name, err)
			}
			pad.space = weight.Rows[0][0]
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.pads == nil {
			c.pads = map[string]padding{}
		}
		c.pads[name] = pad
		return pad, nil
	}
}
