package vstream

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"braid/internal/gtid"
	"braid/internal/rowimage"
	"braid/internal/rowimage/rowimagetest"
	"braid/internal/writeset"
)

// recorded is what a stream has brought, in the order of the transactions.
type recorded struct {
	maps map[uint32]*Table // latest
	txs  []*Transaction
	from map[*Transaction]map[uint32]*Table
}

func record(t *testing.T, source Source, from, until gtid.Set) *recorded {
	st, err := source.Open(t.Context(), Start{Position: from.String(), Rules: allTables()})
	require.NoError(t, err)
	defer st.Close()
	r := &recorded{maps: map[uint32]*Table{}, from: map[*Transaction]map[uint32]*Table{}}
	for pos := from; !pos.Contains(until); {
		items, err := st.Recv()
		require.NoError(t, err)
		for _, item := range items {
			switch it := item.(type) {
			case *Table:
				r.maps[it.ID] = it
			case *Transaction:
				r.from[it] = map[uint32]*Table{}
				for _, c := range it.Changes {
					r.from[it][c.TableID] = r.maps[c.TableID]
				}
				r.txs = append(r.txs, it)
				require.NoError(t, it.Reach(&pos))
			case *Heartbeat:
				pos = pos.Union(gtid.MustParse(it.Position))
			}
		}
	}
	return r
}

// TestCreateTableSelectOfNothing: the end of a statement whose rows would follow is told before anything that came later. Else a stream that
// begins again in between would bring the statement again, behind what came later.
func TestCreateTableSelectOfNothing(t *testing.T) {
	srv := sharedServer(t)
	srv.exec("CREATE TABLE bare (id INT PRIMARY KEY)")
	from := srv.executed()
	srv.exec("CREATE TABLE made (PRIMARY KEY (id)) SELECT id FROM bare")
	created := srv.executed()
	srv.exec("INSERT INTO made VALUES (1)")
	r := record(t, srv.local(), from, srv.executed())
	require.Len(t, r.txs, 2)
	require.Empty(t, r.txs[0].Changes)
	require.True(t, r.txs[0].Last)
	require.Equal(t, created.Subtract(from).String(), r.txs[0].GTID)
	require.Len(t, r.txs[1].Changes, 1)
}

// TestRawImages: with every change come the binlog's own images, in the form that the table's map describes, and they decode to the canonical
// cells; over gRPC, where only they travel, everything arrives bit by bit as it is here.
func TestRawImages(t *testing.T) {
	srv := sharedServer(t)
	srv.exec("SET NAMES utf8mb4")
	from := srv.executed()
	rng := rand.New(rand.NewPCG(1, 2))
	for i, c := range rowimagetest.Cases {
		if strings.Contains(c.Type, "GENERATED") {
			continue
		}
		srv.exec(fmt.Sprintf("CREATE TABLE c%d (id INT AUTO_INCREMENT PRIMARY KEY, c %s)", i, c.Type))
		for _, v := range c.Values {
			srv.exec(fmt.Sprintf("INSERT INTO c%d (c) VALUES (%s)", i, v))
		}
		if c.Random != nil {
			srv.exec(fmt.Sprintf("INSERT INTO c%d (c) VALUES (%s)", i, c.Random(rng)))
		}
		srv.exec(fmt.Sprintf("UPDATE c%d SET id = id + 1000", i))
		srv.exec(fmt.Sprintf("DELETE FROM c%d WHERE id %% 3 = 0", i))
	}
	srv.exec("CREATE TABLE parent (id INT PRIMARY KEY)")
	srv.exec("CREATE TABLE child (id INT PRIMARY KEY, p INT, UNIQUE (p), FOREIGN KEY (p) REFERENCES parent (id))")
	srv.exec("SET foreign_key_checks=0, unique_checks=0")
	srv.exec("INSERT INTO child VALUES (1, 7)")
	srv.exec("SET foreign_key_checks=1, unique_checks=1")
	srv.exec("XA START 'x'")
	srv.exec("INSERT INTO parent VALUES (1)")
	srv.exec("XA END 'x'")
	srv.exec("XA PREPARE 'x'")
	srv.exec("XA COMMIT 'x'")
	until := srv.executed()

	local := record(t, srv.local(), from, until)
	remote := record(t, remoteOf(t, srv.local()), from, until)
	require.Equal(t, len(local.txs), len(remote.txs))
	previous := writeset.Clock{}
	for i, tx := range local.txs {
		require.Equal(t, *tx, *remote.txs[i])
		if tx.Prepared != "" {
			require.Zero(t, tx.Clock)
			continue
		}
		require.NotZero(t, tx.Clock.File)
		if tx.Clock.File == previous.File {
			require.Greater(t, tx.Clock.Sequence, previous.Sequence)
		}
		require.Less(t, tx.Clock.LastCommitted, tx.Clock.Sequence)
		previous = tx.Clock
		for _, c := range tx.Changes {
			table := local.from[tx][c.TableID]
			require.Equal(t, table.Map, remote.from[remote.txs[i]][c.TableID].Map)
			m, err := rowimage.ParseTableMap(table.Map)
			require.NoError(t, err)
			d, err := m.Decoder(table.Def)
			require.NoError(t, err)
			for _, image := range []struct {
				raw []byte
				row rowimage.Row
			}{{c.RawBefore, c.Before}, {c.RawAfter, c.After}} {
				require.Equal(t, image.row == nil, image.raw == nil)
				if image.row == nil {
					continue
				}
				im, err := d.Image(image.raw)
				require.NoError(t, err)
				row, err := im.Row()
				require.NoError(t, err)
				require.True(t, image.row.Equal(row), "%s: %q and %q", table.Def.Name, image.row, row)
			}
			if table.Def.Name == "child" {
				require.Equal(t, writeset.NoForeignKeyChecks|writeset.RelaxedUniqueChecks, c.Flags&^writeset.SQLForeignKeys)
			} else {
				require.Zero(t, c.Flags&^writeset.SQLForeignKeys)
			}
		}
	}
}
