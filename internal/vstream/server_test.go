package vstream

import (
	"io"
	"log/slog"
	"net"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"braid/internal/base/errs"
	"braid/internal/mysqld/mysqldtest"
)

// detour listens where connections go to the address that is stored when they are made, as behind a name or a virtual address that moves.
func detour(t *testing.T, to *atomic.Pointer[string]) (addr string) {
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { lis.Close() })
	go func() {
		for {
			near, err := lis.Accept()
			if err != nil {
				return
			}
			far, err := net.Dial("tcp", *to.Load())
			if err != nil {
				near.Close()
				continue
			}
			pipe := func(dst, src net.Conn) {
				defer dst.Close()
				io.Copy(dst, src) //nolint:errcheck // ends with either connection
			}
			go pipe(far, near)
			go pipe(near, far)
		}
	}()
	return lis.Addr().String()
}

// The source's address leads to another server from now on, while the connection of the log lives: no row of that one is taken, and nothing waits for
// its log.
func TestOtherServerBehindTheAddress(t *testing.T) {
	a, b := mysqldtest.New(t, mysqldtest.Options{}), mysqldtest.New(t, mysqldtest.Options{})
	for server, value := range map[string]string{"a": "1", "b": "666"} {
		at := a
		if server == "b" {
			at = b
		}
		mysqldtest.Exec(t, at, "CREATE DATABASE d", "CREATE TABLE d.t (id INT PRIMARY KEY, v INT)", "INSERT INTO d.t VALUES (1, "+value+")")
	}
	res, err := mysqldtest.Dial(t, a.Root()).Query(t.Context(), "SELECT @@GLOBAL.gtid_executed")
	require.NoError(t, err)
	mysqldtest.Exec(t, b, "SET GLOBAL gtid_purged='+"+string(res.Rows[0][0])+"'")
	for name, known := range map[string]bool{"when its definition is read": false, "when a chunk is read": true} {
		t.Run(name, func(t *testing.T) {
			var to atomic.Pointer[string]
			addrA, addrB := a.Repl().Addr, b.Repl().Addr
			to.Store(&addrA)
			cfg := a.Repl()
			cfg.Addr = detour(t, &to)
			l := NewLocal(LocalConfig{DB: cfg, DBName: "d"}, slog.New(slog.DiscardHandler))
			defer l.Close()
			st, err := l.Open(t.Context(), Start{FromNow: true, Rules: allTables()})
			require.NoError(t, err)
			defer st.Close()
			_, err = st.Recv()
			require.NoError(t, err)
			if known {
				require.NoError(t, st.OpenWindow(WindowRequest{ID: 1, Table: "t"}))
				for copied := false; !copied; {
					items, err := st.Recv()
					require.NoError(t, err)
					for _, item := range items {
						_, is := item.(*Chunk)
						copied = copied || is
					}
				}
				st.(*stream).readers.closeIdle()
			}
			to.Store(&addrB)
			require.NoError(t, st.OpenWindow(WindowRequest{ID: 2, Table: "t"}))
			for err == nil {
				var items []Item
				items, err = st.Recv()
				for _, item := range items {
					_, is := item.(*Chunk)
					require.False(t, is, "a chunk of another server")
				}
			}
			require.ErrorIs(t, err, errs.StreamFailed)
			require.ErrorContains(t, err, "another server answers there")
		})
	}
}
