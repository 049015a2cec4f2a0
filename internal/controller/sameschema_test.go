package controller

import (
	"testing"

	"github.com/stretchr/testify/require"

	controlpb "braid/api/control"
	"braid/internal/base/errs"
	"braid/internal/schema"
	"braid/internal/workflow"
)

func table(columns []string, unique ...[]int) *schema.Table {
	t := &schema.Table{DB: "d", Name: "t", PrimaryKey: []int{0}, UniqueKeys: unique}
	for _, c := range columns {
		t.Columns = append(t.Columns, schema.Column{Name: c, DataType: "bigint", ColumnType: "bigint"})
	}
	return t
}

// A definition that was changed on one side only stops a switch, and is named.
func TestDefinitionsMustBeTheSame(t *testing.T) {
	a, b := workflow.Shard{Keyspace: "d", Name: "0"}, workflow.Shard{Keyspace: "d", Name: "-80"}
	plain := table([]string{"id", "v"})
	require.NoError(t, sameTable("t", plain, table([]string{"id", "v"}), a, b))
	require.NoError(t, sameTable("t", table([]string{"id", "v"}, []int{0}, []int{1}), table([]string{"id", "v"}, []int{1}, []int{0}), a, b), "order of keys")
	for name, have := range map[string]*schema.Table{
		"a unique key on one side": table([]string{"id", "v"}, []int{1}),
		"a column on one side":     table([]string{"id", "v", "w"}),
		"a table on one side":      nil,
	} {
		require.ErrorIs(t, sameTable("t", plain, have, a, b), errs.TableDiffers, name)
		require.ErrorIs(t, sameTable("t", have, plain, a, b), errs.TableDiffers, name)
	}
	known := workflow.CompareSchema{Tables: []string{"t"}, All: true}
	require.NoError(t, allKnown(known, map[string]*schema.Table{"t": plain}, a))
	require.ErrorIs(t, allKnown(known, map[string]*schema.Table{"t": plain, "new": plain}, a), errs.TableDiffers)
}

// Rows may not get another home while they are served where they are, or copied by the VSchema that is.
func TestShardingDoesNotChangeUnderAWorkflow(t *testing.T) {
	e, _ := moved(t)
	w := e.show("m")
	apply := func(keyspace, doc string) error {
		_, err := e.control.ApplyVSchema(e.ctx, &controlpb.ApplyVSchemaRequest{Keyspace: keyspace, VschemaJson: doc})
		return err
	}
	before, err := e.control.ShowVSchema(e.ctx, &controlpb.ShowVSchemaRequest{Keyspace: w.TargetKeyspace})
	require.NoError(t, err)
	require.NoError(t, apply(w.TargetKeyspace, before.VschemaJson), "the same is no change")
	other := `{"sharded": true, "vindexes": {"x": {"type": "xxhash"}}, "tables": {}}`
	e.code(apply(w.TargetKeyspace, other), errs.WorkflowState, "2 shards of "+w.TargetKeyspace+" serve")
	e.code(apply(w.SourceKeyspace, other), errs.WorkflowBusy, "workflow m")
}
