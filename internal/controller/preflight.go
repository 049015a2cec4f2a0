package controller

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	controlpb "braid/api/control"
	tabletpb "braid/api/tablet"
	"braid/internal/base/errs"
	"braid/internal/keyrange"
	"braid/internal/schema"
	"braid/internal/throttle"
	"braid/internal/topo"
	"braid/internal/vreplication"
	"braid/internal/vschema"
	"braid/internal/workflow"
)

// preflight finds out whether a workflow can be created, and fills in what its request left open. It changes nothing.
type preflight struct {
	api     *api
	req     *controlpb.CreateWorkflowRequest
	spec    workflow.Spec
	routing *topo.Routing
	source  *vschema.Keyspace
	target  *vschema.Keyspace
	tables  []*schema.Table // of the source
}

func (a *api) preflight(ctx context.Context, req *controlpb.CreateWorkflowRequest) (workflow.Spec, error) {
	p := &preflight{api: a, req: req}
	for _, check := range []func(context.Context) error{p.names, p.shards, p.primaries, p.vschemas, p.pickTables, p.others, p.shardings, p.targetTables} {
		if err := check(ctx); err != nil {
			return workflow.Spec{}, err
		}
	}
	return p.spec, nil
}

func (p *preflight) names(ctx context.Context) error {
	r := p.req
	if err := topo.CheckName("workflow", r.Name); err != nil {
		return err
	}
	if strings.HasSuffix(r.Name, workflow.ReverseSuffix) {
		return errs.New(errs.BadInput, nil, "workflow name %q: names that end in %s are those of reverse streams", r.Name, workflow.ReverseSuffix)
	}
	p.spec = workflow.Spec{Type: workflow.Type(r.Type), SourceKeyspace: r.SourceKeyspace, TargetKeyspace: r.TargetKeyspace}
	if t := r.Throttle; t != nil {
		p.spec.Throttle = throttle.Limits{SourceHistory: t.SourceHistory, ReplicaLag: time.Duration(t.ReplicaLagMs) * time.Millisecond,
			CommitLatency: time.Duration(t.CommitLatencyMs) * time.Millisecond, Threads: t.ThreadsRunning, Query: t.Query, QueryMax: t.QueryMax}
		if err := p.spec.Throttle.ValidateBounds(); err != nil {
			return errs.New(errs.BadInput, err, "bounds of the copy")
		}
	}
	if err := p.reading(); err != nil {
		return err
	}
	switch p.spec.Type {
	case workflow.Move:
		if r.SourceKeyspace == r.TargetKeyspace {
			return errs.New(errs.BadInput, nil, "move from %s to itself: use reshard to change the shards of a keyspace", r.SourceKeyspace)
		}
	case workflow.Reshard:
		if r.TargetKeyspace == "" {
			p.spec.TargetKeyspace = r.SourceKeyspace
		}
		if p.spec.TargetKeyspace != r.SourceKeyspace || len(r.Tables) > 0 {
			return errs.New(errs.BadInput, nil, "reshard works within one keyspace and on all its tables: use move for some tables or another keyspace")
		}
	default:
		return errs.New(errs.BadInput, nil, "workflow type %q: one of move, reshard", r.Type)
	}
	for _, ks := range []string{p.spec.SourceKeyspace, p.spec.TargetKeyspace} {
		if _, err := p.api.topo.Keyspace(ctx, ks); err != nil {
			return err
		}
	}
	return nil
}

func (p *preflight) shards(ctx context.Context) error {
	var err error
	if p.routing, err = p.api.topo.Routing(ctx); err != nil {
		return err
	}
	if p.spec.Type == workflow.Move {
		return p.moveShards()
	}
	return p.reshardShards(ctx)
}

// moveShards: a move takes place between all serving shards.
func (p *preflight) moveShards() error {
	for _, side := range []struct {
		keyspace string
		asked    []string
		shards   *[]string
	}{{p.spec.SourceKeyspace, p.req.SourceShards, &p.spec.SourceShards}, {p.spec.TargetKeyspace, p.req.TargetShards, &p.spec.TargetShards}} {
		serving := p.routing.ServingShards(side.keyspace, topo.Primary)
		if len(serving) == 0 {
			return errs.New(errs.ShardUnknown, nil, "keyspace %s has no serving shard", side.keyspace)
		}
		if len(side.asked) > 0 && !sameSet(side.asked, serving) {
			return errs.New(errs.BadInput, nil, "a move works on all serving shards of %s: %s", side.keyspace, strings.Join(serving, ","))
		}
		*side.shards = slices.Clone(serving)
	}
	return nil
}

// reshardShards: both sides hold the same key range, and only the source serves.
func (p *preflight) reshardShards(ctx context.Context) error {
	ks := p.spec.SourceKeyspace
	p.spec.SourceShards, p.spec.TargetShards = slices.Clone(p.req.SourceShards), slices.Clone(p.req.TargetShards)
	if len(p.spec.SourceShards) == 0 || len(p.spec.TargetShards) == 0 {
		return errs.New(errs.BadInput, nil, "reshard needs the shards that serve now and those that shall serve")
	}
	for _, shard := range slices.Concat(p.spec.SourceShards, p.spec.TargetShards) {
		if _, err := p.api.topo.Shard(ctx, ks, shard); err != nil {
			return err
		}
	}
	serving := p.routing.ServingShards(ks, topo.Primary)
	after := slices.Clone(serving)
	for _, shard := range p.spec.SourceShards {
		i := slices.Index(after, shard)
		if i < 0 {
			return errs.New(errs.BadInput, nil, "shard %s/%s is not among those that serve: %s", ks, shard, strings.Join(serving, ","))
		}
		after = slices.Delete(after, i, i+1)
	}
	for _, shard := range p.spec.TargetShards {
		if len(p.routing.Serves(ks, shard)) > 0 {
			return errs.New(errs.BadInput, nil, "shard %s/%s serves already", ks, shard)
		}
	}
	if err := keyrange.CheckPartition(append(after, p.spec.TargetShards...)); err != nil {
		return errs.New(errs.ShardsDoNotPartition, err, "%s in place of %s", strings.Join(p.spec.TargetShards, ","), strings.Join(p.spec.SourceShards, ","))
	}
	return nil
}

func sameSet(a, b []string) bool {
	a, b = slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b))
	return slices.Equal(a, b)
}

func (p *preflight) primaries(ctx context.Context) error {
	s := workflow.New(p.req.Name, p.spec, false)
	var effects []workflow.Effect
	for _, side := range []workflow.Side{workflow.Source, workflow.Target} {
		for _, shard := range s.Shards(side) {
			effects = append(effects, workflow.CheckTablet{At: shard})
		}
	}
	for _, r := range p.api.exec.runAll(ctx, effects, false, p.api.exec.run) {
		if r.Err != nil {
			return r.Err
		}
	}
	return nil
}

func (p *preflight) vschemas(ctx context.Context) error {
	var err error
	if p.source, err = p.api.exec.vschema(ctx, p.spec.SourceKeyspace); err != nil {
		return err
	}
	p.target, err = p.api.exec.vschema(ctx, p.spec.TargetKeyspace)
	return err
}

// pickTables finds the tables on the source, in the order in which they can be created.
func (p *preflight) pickTables(ctx context.Context) error {
	all, err := p.api.tables(ctx, workflow.Shard{Keyspace: p.spec.SourceKeyspace, Name: p.spec.SourceShards[0]}, nil)
	if err != nil {
		return err
	}
	wanted := p.req.Tables
	p.spec.AllTables = len(wanted) == 0
	if p.spec.AllTables {
		wanted = p.allTables(all)
	}
	refs := map[string][]string{}
	byName := map[string]*schema.Table{}
	for _, t := range all {
		byName[t.Name] = t
	}
	for _, name := range wanted {
		if err := p.checkTable(name, byName[name]); err != nil {
			return err
		}
		refs[name] = workflow.References(byName[name].CreateStatement)
	}
	if err := p.checkReferences(wanted, refs, byName); err != nil {
		return err
	}
	for _, name := range workflow.CreationOrder(slices.Compact(slices.Sorted(slices.Values(wanted))), refs) {
		p.spec.Tables = append(p.spec.Tables, workflow.Table{Name: name})
		p.tables = append(p.tables, byName[name])
	}
	if len(p.spec.Tables) == 0 {
		return errs.New(errs.TableUnknown, nil, "keyspace %s has no table to take", p.spec.SourceKeyspace)
	}
	return nil
}

// allTables leaves out what a move of everything leaves behind: sequences, and what has moved away already.
func (p *preflight) allTables(all []*schema.Table) []string {
	var names []string
	for _, t := range all {
		sequence := p.isSequence(t.Name)
		away := p.routing.TableKeyspace(p.spec.SourceKeyspace, t.Name, topo.Primary) != p.spec.SourceKeyspace
		if p.spec.Type == workflow.Move && (sequence || away) {
			continue
		}
		names = append(names, t.Name)
	}
	return names
}

// reading is where the copy reads, and with how many sessions.
func (p *preflight) reading() error {
	if n := p.req.CopyReaders; n < 0 || n > vreplication.MaxCopyReaders {
		return errs.New(errs.BadInput, nil, "%d copy readers: from 1 to %d, or 0 for the default", n, vreplication.MaxCopyReaders)
	}
	p.spec.CopyReaders, p.spec.TabletTypes = int(p.req.CopyReaders), topo.ServingTypes
	if len(p.req.TabletTypes) > 0 {
		p.spec.TabletTypes = nil
	}
	for _, name := range p.req.TabletTypes {
		t, err := topo.ParseTabletType(name)
		if err != nil {
			return err
		}
		if !slices.Contains(topo.ServingTypes, t) || slices.Contains(p.spec.TabletTypes, t) {
			return errs.New(errs.BadInput, nil, "tablet types %s: each of RDONLY, REPLICA and PRIMARY at most once", strings.Join(p.req.TabletTypes, ","))
		}
		p.spec.TabletTypes = append(p.spec.TabletTypes, t)
	}
	return nil
}

func (p *preflight) isSequence(table string) bool {
	t := p.source.Table(table)
	return t != nil && t.Type == vschema.TypeSequence
}

func (p *preflight) checkTable(name string, t *schema.Table) error {
	ks := p.spec.SourceKeyspace
	if t == nil {
		return errs.New(errs.TableUnknown, nil, "table %s.%s", ks, name)
	}
	if p.isSequence(name) {
		return errs.New(errs.BadInput, nil, "table %s.%s is a sequence: sequences stay where they are, gates and workflows find them by the VSchema", ks, name)
	}
	if len(t.PrimaryKey) == 0 {
		return errs.New(errs.NoPrimaryKey, nil, "table %s.%s has no primary key", ks, name)
	}
	if at := p.routing.TableKeyspace(ks, name, topo.Primary); at != ks {
		return errs.New(errs.WorkflowState, nil, "table %s.%s has been moved: keyspace %s serves it", ks, name, at).
			With("Name the keyspace that serves it as the source.")
	}
	return nil
}

// checkReferences: a foreign key to a table that stays behind cannot be kept on the target.
func (p *preflight) checkReferences(wanted []string, refs map[string][]string, known map[string]*schema.Table) error {
	if p.spec.Type == workflow.Reshard {
		return nil
	}
	for _, name := range wanted {
		for _, ref := range refs[name] {
			if known[ref] != nil && !slices.Contains(wanted, ref) {
				return errs.New(errs.BadInput, nil, "table %s has a foreign key to %s, which is not moved: move it too", name, ref)
			}
		}
	}
	return nil
}

// shardings finds how rows find their shard, on both sides.
func (p *preflight) shardings(context.Context) error {
	for i := range p.spec.Tables {
		t := &p.spec.Tables[i]
		var err error
		if t.OnTarget, err = sharding(p.target, p.spec.TargetKeyspace, p.spec.TargetShards, p.tables[i]); err != nil {
			return err
		}
		if t.OnSource, err = sharding(p.source, p.spec.SourceKeyspace, p.spec.SourceShards, p.tables[i]); err != nil {
			return err
		}
	}
	return nil
}

// sharding reads the primary vindex of a table; a keyspace whose shards do not hold everything needs one.
func sharding(vs *vschema.Keyspace, keyspace string, shards []string, t *schema.Table) (workflow.Sharding, error) {
	if v, columns, ok := vs.PrimaryVindex(t.Name); ok {
		for _, c := range columns {
			if t.Column(c) < 0 {
				return workflow.Sharding{}, errs.New(errs.BadVSchema, nil, "VSchema of %s: table %s has no column %q", keyspace, t.Name, c)
			}
		}
		return workflow.Sharding{Vindex: v.Type(), Columns: columns}, nil
	}
	if entry := vs.Table(t.Name); entry != nil && entry.Type == vschema.TypeReference {
		return workflow.Sharding{}, errs.New(errs.BadInput, nil, "table %s.%s is a reference table: it is in every shard and cannot be split", keyspace, t.Name)
	}
	if r, err := keyrange.Parse(shards[0]); vs.Sharded || len(shards) > 1 || err == nil && !r.IsFull() {
		return workflow.Sharding{}, errs.New(errs.BadVSchema, nil, "table %s has no vindex in the VSchema of %s, whose shards are %s", t.Name, keyspace, strings.Join(shards, ",")).
			With("Add it under \"tables\" with its \"column_vindexes\" and \"sharded\": true, and apply it with `braid vschema apply`.")
	}
	return workflow.Sharding{}, nil
}

// targetTables: a table that is on the target already must be the same, and empty.
func (p *preflight) targetTables(ctx context.Context) error {
	for _, name := range p.spec.TargetShards {
		at := workflow.Shard{Keyspace: p.spec.TargetKeyspace, Name: name}
		present, err := p.api.tables(ctx, at, nil)
		if err != nil {
			return err
		}
		for _, have := range present {
			i := slices.IndexFunc(p.tables, func(t *schema.Table) bool { return t.Name == have.Name })
			if i < 0 {
				continue
			}
			if diffs := schema.Compare(p.tables[i], have); len(diffs) > 0 {
				return errs.New(errs.TableDiffers, nil, "table %s on %s: %s", have.Name, at, diffs[0])
			}
			if have.Rows > 0 {
				return errs.New(errs.TableDiffers, nil, "table %s on %s has rows (about %d)", have.Name, at, have.Rows)
			}
		}
	}
	return nil
}

// others: no other workflow works on the same tables or shards. It also finds the names that earlier moves left.
func (p *preflight) others(ctx context.Context) error {
	states, err := p.api.states(ctx)
	if err != nil {
		return err
	}
	mine := workflow.New(p.req.Name, p.spec, false)
	for _, s := range states {
		if s.Name != p.req.Name && !s.Phase.Ended() && overlap(&mine, &s) {
			return errs.New(errs.WorkflowBusy, nil, "workflow %s (%s) works on the same tables", s.Name, s.Phase).
				With("Complete or cancel it first: `braid workflow show " + s.Name + "`.")
		}
	}
	if p.spec.Type != workflow.Move {
		return nil
	}
	for name, rule := range p.routing.Tables {
		ks, table, _ := strings.Cut(name, ".")
		if ks != p.spec.SourceKeyspace && rule[topo.Primary] == p.spec.SourceKeyspace && slices.Contains(mine.TableNames(), table) {
			p.spec.Aliases = append(p.spec.Aliases, name)
		}
	}
	slices.Sort(p.spec.Aliases)
	return nil
}

// overlap: two workflows are in each other's way if they share a keyspace and either reshards it, or they share a table.
func overlap(a, b *workflow.State) bool {
	keyspaces := []string{b.Spec.SourceKeyspace, b.Spec.TargetKeyspace}
	if !slices.Contains(keyspaces, a.Spec.SourceKeyspace) && !slices.Contains(keyspaces, a.Spec.TargetKeyspace) {
		return false
	}
	if a.Spec.Type == workflow.Reshard && b.Spec.Type == workflow.Reshard {
		return slices.ContainsFunc(slices.Concat(a.Spec.SourceShards, a.Spec.TargetShards), func(s string) bool {
			return slices.Contains(b.Spec.SourceShards, s) || slices.Contains(b.Spec.TargetShards, s)
		})
	}
	if a.Spec.Type == workflow.Reshard || b.Spec.Type == workflow.Reshard {
		return true
	}
	return slices.ContainsFunc(a.TableNames(), func(t string) bool { return slices.Contains(b.TableNames(), t) })
}

// tables reads table definitions from a shard's primary.
func (a *api) tables(ctx context.Context, at workflow.Shard, names []string) ([]*schema.Table, error) {
	resp, err := call(ctx, a.exec.tablets, at, func(ctx context.Context, c tabletpb.TabletClient) (*tabletpb.SchemaResponse, error) {
		return c.Schema(ctx, &tabletpb.SchemaRequest{DbName: at.Keyspace, Tables: names})
	})
	if err != nil {
		return nil, err
	}
	tables := make([]*schema.Table, 0, len(resp.Tables))
	for _, t := range resp.Tables {
		def := &schema.Table{}
		if err := json.Unmarshal(t.Definition, def); err != nil {
			return nil, fmt.Errorf("definition of %s from %s: %w", t.Name, at, err)
		}
		def.Name, def.CreateStatement, def.Rows = t.Name, t.CreateStatement, t.Rows
		tables = append(tables, def)
	}
	return tables, nil
}
