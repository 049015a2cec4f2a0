package vreplication

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	tabletpb "braid/api/tablet"
)

// diff runs a diff to its end.
func (w *world) diff(uuid string, tables ...string) *tabletpb.DiffResponse {
	w.t.Helper()
	_, err := w.engine.StartDiff(w.t.Context(), &tabletpb.StartDiffRequest{Uuid: uuid, Workflow: "w", Tables: tables})
	require.NoError(w.t, err)
	return w.awaitDiff(uuid)
}

func (w *world) awaitDiff(uuid string) *tabletpb.DiffResponse {
	w.t.Helper()
	var resp *tabletpb.DiffResponse
	require.Eventually(w.t, func() bool {
		var err error
		resp, err = w.engine.ShowDiff(w.t.Context(), &tabletpb.ShowDiffRequest{Uuid: uuid})
		require.NoError(w.t, err)
		return resp.State == "completed" || resp.State == "error"
	}, time.Minute, 20*time.Millisecond)
	return resp
}

// requireClean is a diff that found nothing.
func requireClean(t testing.TB, d *tabletpb.DiffResponse) {
	t.Helper()
	require.Equal(t, "completed", d.State, d.Error)
	for _, table := range d.Tables {
		require.True(t, table.Done)
		require.Zero(t, table.Mismatched+table.ExtraSource+table.ExtraTarget, "%s: %v", table.Table, table.Rows)
	}
}

func plant(w *world) {
	w.target.exec(
		"UPDATE item SET note='wrong' WHERE id=(SELECT * FROM (SELECT MIN(id) FROM item WHERE id>=900001) x)",
		"DELETE FROM item WHERE id=900005",
		"INSERT INTO item (id,name,note) VALUES (950000,'extra',NULL)",
		"UPDATE event SET body=NULL WHERE region='still' AND seq=3",
		"INSERT INTO event VALUES ('still',77,NULL,0x00FF)")
}

// plantable makes rows that the writers leave alone.
func plantable(src *side) {
	for i := range 10 {
		src.exec(fmt.Sprintf("INSERT INTO item (id,name,note) VALUES (%d,'plant%d','ok')", 900000+i, i), fmt.Sprintf("INSERT INTO event VALUES ('still',%d,NULL,'b')", i))
	}
}

func TestDiffUnderStorm(t *testing.T) {
	w := newWorld(t, nil, source1)
	src := w.sources["src/0"]
	bothTables(w, "src/0")
	fill(src, 20000)
	plantable(src)
	w.create(w.spec("src/0", rule("item"), rule("event")))
	w.await(Running)
	stop := storm(t, src, 3, 22000)
	for i := range 3 {
		d := w.diff(fmt.Sprintf("%s-clean-%d", w.target.db, i))
		requireClean(t, d)
		require.Len(t, d.Tables, 2)
		require.Greater(t, d.Tables[0].RowsCompared, int64(5000))
	}
	plant(w)
	d := w.diff(w.target.db + "-planted")
	stop()
	require.Equal(t, "completed", d.State)
	event, item := d.Tables[0], d.Tables[1]
	require.Equal(t, [3]int64{1, 1, 1}, [3]int64{item.Mismatched, item.ExtraSource, item.ExtraTarget}, "%v", item.Rows)
	require.Equal(t, [3]int64{1, 0, 1}, [3]int64{event.Mismatched, event.ExtraSource, event.ExtraTarget}, "%v", event.Rows)
	kinds := map[string]*tabletpb.RowDiff{}
	for _, r := range item.Rows {
		kinds[r.Kind] = r
	}
	require.Equal(t, "900001", kinds["mismatched"].Key[0].Value)
	require.Equal(t, "note", kinds["mismatched"].Columns[0].Column)
	require.Equal(t, "ok", kinds["mismatched"].Columns[0].Source.Value)
	require.Equal(t, "wrong", kinds["mismatched"].Columns[0].Target.Value)
	require.Equal(t, "900005", kinds["missing_on_target"].Key[0].Value)
	require.Equal(t, "950000", kinds["extra_on_target"].Key[0].Value)
	require.True(t, kinds["extra_on_target"].Columns[0].Source.Null)

	// The last diff of the workflow, after a restart.
	w.restart()
	last, err := w.engine.ShowDiff(t.Context(), &tabletpb.ShowDiffRequest{Workflow: "w"})
	require.NoError(t, err)
	require.Equal(t, d.Uuid, last.Uuid)
	require.Equal(t, item.Rows[0].Key[0].Value, last.Tables[1].Rows[0].Key[0].Value)
}

// A row that never rests is settled by the images of its changes.
func TestDiffOfHotRow(t *testing.T) {
	w := newWorld(t, nil, source1)
	src := w.sources["src/0"]
	bothTables(w, "src/0")
	fill(src, 10)
	w.create(w.spec("src/0", rule("item"), rule("event")))
	w.await(Running)
	stop := storm(t, src, 2, 2)
	requireClean(t, w.diff(w.target.db+"-hot"))
	stop()
}

// Restarts in the middle of a diff: it goes on by itself, and finds the same.
func TestDiffSurvivesRestarts(t *testing.T) {
	w := newWorld(t, nil, source1)
	src := w.sources["src/0"]
	bothTables(w, "src/0")
	fill(src, 30000)
	plantable(src)
	w.create(w.spec("src/0", rule("item"), rule("event")))
	w.await(Running)
	plant(w)
	stop := storm(t, src, 1, 31000)
	uuid := w.target.db + "-restarts"
	_, err := w.engine.StartDiff(t.Context(), &tabletpb.StartDiffRequest{Uuid: uuid, Workflow: "w"})
	require.NoError(t, err)
	for range 4 {
		time.Sleep(60 * time.Millisecond)
		w.restart()
	}
	d := w.awaitDiff(uuid)
	stop()
	require.Equal(t, "completed", d.State, d.Error)
	event, item := d.Tables[0], d.Tables[1]
	require.Equal(t, [3]int64{1, 1, 1}, [3]int64{item.Mismatched, item.ExtraSource, item.ExtraTarget}, "%v", item.Rows)
	require.Equal(t, [3]int64{1, 0, 1}, [3]int64{event.Mismatched, event.ExtraSource, event.ExtraTarget}, "%v", event.Rows)
}
