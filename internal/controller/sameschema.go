package controller

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	tabletpb "braid/api/tablet"
	"braid/internal/base/errs"
	"braid/internal/schema"
	"braid/internal/topo"
	"braid/internal/vschema"
	"braid/internal/workflow"
)

// compareSchema finds tables whose definition was changed since the workflow was made. Streams carry rows, not DDL: a column
// would stop them, but a unique key, or a table that is new, would be lost with the switch and nobody would notice.
func (x *executor) compareSchema(ctx context.Context, e workflow.CompareSchema) error {
	var reference map[string]*schema.Table
	var where workflow.Shard
	for _, at := range slices.Concat(e.From, e.To) {
		tables, err := x.definitions(ctx, at)
		if err != nil {
			return err
		}
		if reference == nil {
			reference, where = tables, at
			if err := allKnown(e, tables, at); err != nil {
				return err
			}
			continue
		}
		for _, name := range e.Tables {
			if err := sameTable(name, reference[name], tables[name], where, at); err != nil {
				return err
			}
		}
	}
	return nil
}

func (x *executor) definitions(ctx context.Context, at workflow.Shard) (map[string]*schema.Table, error) {
	resp, err := call(ctx, x.tablets, at, func(ctx context.Context, c tabletpb.TabletClient) (*tabletpb.SchemaResponse, error) {
		return c.Schema(ctx, &tabletpb.SchemaRequest{DbName: at.Keyspace})
	})
	if err != nil {
		return nil, err
	}
	tables := make(map[string]*schema.Table, len(resp.Tables))
	for _, t := range resp.Tables {
		def := new(schema.Table)
		if err := json.Unmarshal(t.Definition, def); err != nil {
			return nil, fmt.Errorf("definition of %s on %s: %w", t.Name, at, err)
		}
		tables[t.Name] = def
	}
	return tables, nil
}

// allKnown: a reshard is of all tables, also of those that were created after it.
func allKnown(e workflow.CompareSchema, tables map[string]*schema.Table, at workflow.Shard) error {
	if !e.All {
		return nil
	}
	for name := range tables {
		if !slices.Contains(e.Tables, name) {
			return errs.New(errs.TableDiffers, nil, "table %s on %s was created after the workflow, which does not copy it", name, at).
				With("Cancel the workflow and create it again, or drop the table.")
		}
	}
	return nil
}

func sameTable(name string, want, have *schema.Table, wantAt, haveAt workflow.Shard) error {
	if want == nil || have == nil {
		missing := haveAt
		if want == nil {
			missing = wantAt
		}
		return errs.New(errs.TableDiffers, nil, "table %s is not on %s", name, missing)
	}
	diffs := schema.Compare(want, have)
	if len(diffs) > 0 {
		return errs.New(errs.TableDiffers, nil, "table %s is not the same on %s and on %s: %s", name, wantAt, haveAt, diffs[0]).
			With("Make the same change on both sides; then switch again.")
	}
	if w, h := uniqueKeys(want), uniqueKeys(have); !slices.Equal(w, h) {
		return errs.New(errs.TableDiffers, nil, "table %s has unique keys %s on %s, and %s on %s", name, listKeys(w), wantAt, listKeys(h), haveAt).
			With("Make the same change on both sides; then switch again.")
	}
	return nil
}

// uniqueKeys are the columns of each unique key, in an order that does not depend on names of indexes.
func uniqueKeys(t *schema.Table) []string {
	var keys []string
	for _, key := range t.UniqueKeys {
		names := make([]string, len(key))
		for i, c := range key {
			names[i] = t.Columns[c].Name
		}
		keys = append(keys, "("+strings.Join(names, ", ")+")")
	}
	slices.Sort(keys)
	return keys
}

func listKeys(keys []string) string {
	if len(keys) == 0 {
		return "none"
	}
	return strings.Join(keys, ", ")
}

// shardingMayChange refuses a VSchema that would make rows belong to other shards than those they are on, or than those that
// a workflow is bringing them to.
func (a *api) shardingMayChange(ctx context.Context, keyspace string, have []byte, want *vschema.Keyspace) error {
	before := &vschema.Keyspace{}
	if len(have) > 0 {
		var err error
		if before, err = vschema.Parse(have); err != nil {
			return errs.New(errs.BadVSchema, err, "present VSchema of %s", keyspace)
		}
	}
	table := ""
	for name := range before.Tables {
		if shardedBy(before, name) != shardedBy(want, name) {
			table = name
		}
	}
	if table == "" && before.Sharded == want.Sharded {
		return nil
	}
	what := "whether it is sharded"
	if table != "" {
		what = fmt.Sprintf("how table %s is sharded (%s, not %s)", table, shardedBy(want, table), shardedBy(before, table))
	}
	routing, err := a.topo.Routing(ctx)
	if err != nil {
		return err
	}
	if shards := routing.ServingShards(keyspace, topo.Primary); len(shards) > 1 {
		return errs.New(errs.WorkflowState, nil, "the VSchema changes %s while %d shards of %s serve: rows would not be found where they are", what, len(shards), keyspace).
			With("Move the table to another keyspace that is sharded as you want it.")
	}
	states, err := a.states(ctx)
	if err != nil {
		return err
	}
	for _, s := range states {
		if !s.Phase.Ended() && (s.Spec.SourceKeyspace == keyspace || s.Spec.TargetKeyspace == keyspace) {
			return errs.New(errs.WorkflowBusy, nil, "the VSchema changes %s while workflow %s copies by it", what, s.Name).
				With("Complete or cancel the workflow first: `braid workflow show " + s.Name + "`.")
		}
	}
	return nil
}

// shardedBy says in words by what a table is sharded.
func shardedBy(vs *vschema.Keyspace, table string) string {
	v, columns, ok := vs.PrimaryVindex(table)
	if !ok {
		return "not at all"
	}
	return v.Type() + " of " + strings.Join(columns, ", ")
}
