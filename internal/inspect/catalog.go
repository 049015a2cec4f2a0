package inspect

import (
	"context"
	"reflect"
	"strings"

	"braid/internal/binlog"
	"braid/internal/rowimage"
	"braid/internal/schema"
)

// Table is a table at one definition. After a change of it another Table with the same id comes.
type Table struct {
	ID     uint32
	Name   string // db.table
	Def    *schema.Table
	Server bool // the definition is the server's; else the log's own, which lacks unique keys beside the primary key
	// Keyless: nothing identifies a row, as far as the definition tells.
	Keyless bool
	Opaque  string // why its rows cannot be read; Def is nil then
	// Unnamed: the log has no column names. Those of Def are the server's, as the table is now, and fit by their types.
	Unnamed bool

	decoder *rowimage.Decoder
}

// Key are the columns that identify a row; none where that is not known.
func (t *Table) Key() []int {
	if t.Def == nil {
		return nil
	}
	return t.Def.KeyColumns()
}

// maxMaps bounds the cache of compiled table maps.
const maxMaps = 4096

// catalog finds the definitions that rows are read with.
type catalog struct {
	load   func(ctx context.Context, db, table string) (*schema.Table, error) // nil: no server to ask
	loaded map[string]*schema.Table                                           // nil: the server does not have it
	maps   map[*binlog.TableMap]*Table
	latest map[string]*Table
	ids    map[string]uint32
}

func newCatalog(load func(ctx context.Context, db, table string) (*schema.Table, error)) *catalog {
	return &catalog{load: load, loaded: map[string]*schema.Table{}, maps: map[*binlog.TableMap]*Table{}, latest: map[string]*Table{}, ids: map[string]uint32{}}
}

func (c *catalog) table(ctx context.Context, tm *binlog.TableMap) (*Table, error) {
	if t := c.maps[tm]; t != nil {
		return t, nil
	}
	if len(c.maps) >= maxMaps {
		clear(c.maps)
	}
	t, err := c.compile(ctx, tm)
	if err != nil {
		return nil, err
	}
	c.maps[tm] = t
	return t, nil
}

func (c *catalog) compile(ctx context.Context, tm *binlog.TableMap) (*Table, error) {
	name := tm.DB + "." + tm.Table
	t := &Table{Name: name, ID: c.id(name)}
	parsed, err := rowimage.ParseTableMap(tm.Body)
	if err != nil { // a column type that is not known
		t.Opaque = err.Error()
		return t, nil
	}
	if t.Def, err = c.definition(ctx, tm); err != nil {
		return nil, err
	}
	if t.Server = t.Def != nil && parsed.Fits(t.Def) == nil; !t.Server {
		t.Def = define(parsed)
	}
	t.Unnamed = t.Server && !parsed.Named
	t.Keyless = len(t.Def.KeyColumns()) == 0 && (t.Server || parsed.Named)
	if old := c.latest[name]; old != nil && old.Server == t.Server && old.Unnamed == t.Unnamed && (old.Def == t.Def || reflect.DeepEqual(old.Def, t.Def)) {
		return old, nil
	}
	if t.decoder, err = parsed.Decoder(t.Def); err != nil {
		t.Opaque, t.Def = err.Error(), nil
	}
	c.latest[name] = t
	return t, nil
}

// definition is the server's, or nil. Failing to get it is no error: the table may be gone, or not the account's to see.
func (c *catalog) definition(ctx context.Context, tm *binlog.TableMap) (*schema.Table, error) {
	if c.load == nil {
		return nil, nil
	}
	name := tm.DB + "." + tm.Table
	def, known := c.loaded[name]
	if !known {
		def, _ = c.load(ctx, tm.DB, tm.Table) //nolint:errcheck // see above
		if err := context.Cause(ctx); err != nil {
			return nil, err
		}
		c.loaded[name] = def
	}
	return def, nil
}

func (c *catalog) id(name string) uint32 {
	id, known := c.ids[name]
	if !known {
		id = uint32(len(c.ids) + 1)
		c.ids[name] = id
	}
	return id
}

// changed forgets the definitions of what a DDL touched.
func (c *catalog) changed(objects []binlog.Object) {
	for _, o := range objects {
		if o.Table != "" {
			delete(c.loaded, o.DB+"."+o.Table)
			continue
		}
		for name := range c.loaded {
			if strings.HasPrefix(name, o.DB+".") {
				delete(c.loaded, name)
			}
		}
	}
	if len(objects) > 0 {
		clear(c.maps)
	}
}
