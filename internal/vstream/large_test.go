package vstream

import (
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"braid/internal/mysqld/mysqldtest"
)

// TestLargeRows copies rows larger than a chunk, than a packet of the protocol, and than the server's default of max_allowed_packet.
func TestLargeRows(t *testing.T) {
	srv := mysqldtest.New(t, mysqldtest.Options{Options: []string{"max_allowed_packet=1G"}})
	mysqldtest.Exec(t, srv, "CREATE DATABASE d")
	s := connect(t, srv, "d")
	s.exec("CREATE TABLE t (id INT PRIMARY KEY, v LONGBLOB)")
	sizes := []int{0, 10, 1<<24 - 8, 1 << 24, 3 << 24, 70 << 20, 5}
	for i, n := range sizes {
		_, err := s.conn.Exec(t.Context(), "INSERT INTO t VALUES ("+strconv.Itoa(i)+", REPEAT('x', "+strconv.Itoa(n)+"))")
		require.NoError(t, err)
	}
	s.exec("SET GLOBAL max_allowed_packet = 67108864") // rows may be larger than a session's packets
	for name, source := range map[string]Source{"local": s.local(), "remote": remoteOf(t, s.local())} {
		st, err := source.Open(t.Context(), Start{FromNow: true, Rules: allTables()})
		require.NoError(t, err)
		var got []int
		request := WindowRequest{Table: "t", MaxBytes: 1 << 20}
		for done := false; !done; {
			request.ID++
			require.NoError(t, st.OpenWindow(request))
			for chunk := (*Chunk)(nil); chunk == nil; {
				items, err := st.Recv()
				require.NoError(t, err)
				for _, item := range items {
					if c, ok := item.(*Chunk); ok {
						chunk = c
					}
				}
				if chunk != nil {
					for _, row := range chunk.Rows {
						got = append(got, len(row[1]))
					}
					request.After, done = chunk.Last, chunk.Done
				}
			}
		}
		require.Equal(t, sizes, got, name)
		s.exec("UPDATE t SET id = -id - 1 WHERE LENGTH(v) = " + strconv.Itoa(70<<20)) // both images
		for changed := (*Change)(nil); changed == nil; {
			items, err := st.Recv()
			require.NoError(t, err)
			for _, item := range items {
				if tx, ok := item.(*Transaction); ok && len(tx.Changes) > 0 {
					changed = &tx.Changes[0]
				}
			}
			if changed != nil {
				require.Equal(t, []int{70 << 20, 70 << 20}, []int{len(changed.Before[1]), len(changed.After[1])})
			}
		}
		s.exec("UPDATE t SET id = -id - 1 WHERE id < 0")
		require.NoError(t, st.Close())
	}
}
