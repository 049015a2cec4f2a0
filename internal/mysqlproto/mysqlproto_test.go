package mysqlproto

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/binary"
	"fmt"
	"log/slog"
	"math"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/go-mysql-org/go-mysql/mysql"
	gosql "github.com/go-sql-driver/mysql"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"braid/internal/mysqlwire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// pipe is two framed ends of one connection.
func pipe(t testing.TB) (*Conn, *Conn) {
	a, b := net.Pipe()
	t.Cleanup(func() { a.Close(); b.Close() })
	return newConn(a), newConn(b)
}

// Payloads of all sizes arrive as they were sent, those around the limits of a packet too.
func TestFraming(t *testing.T) {
	a, b := pipe(t)
	sizes := []int{0, 1, bufferSize - headerSize, bufferSize - headerSize + 1, bufferSize, 100_000, maxFragment - 1, maxFragment, maxFragment + 1, 2 * maxFragment}
	sent := make(chan error, 1)
	go func() {
		for i, n := range sizes {
			if err := a.WritePacket(bytes.Repeat([]byte{byte(i + 1)}, n)); err != nil {
				sent <- err
				return
			}
		}
		sent <- a.Flush()
	}()
	for i, n := range sizes {
		p, err := b.ReadPacket(1 << 30)
		require.NoError(t, err)
		require.True(t, bytes.Equal(bytes.Repeat([]byte{byte(i + 1)}, n), p), "size %d", n)
	}
	require.NoError(t, <-sent)
	go func() {
		a.WritePacket(make([]byte, 2*maxFragment)) //nolint:errcheck // the reader gives up in the middle
	}()
	_, err := b.ReadPacket(1000)
	require.ErrorIs(t, err, ErrTooLarge)
}

func TestOKPackets(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		ok := OK{
			Affected: rapid.Uint64().Draw(t, "affected"), InsertID: rapid.Uint64().Draw(t, "id"), Warnings: rapid.Uint16().Draw(t, "warnings"),
			Status: rapid.Uint16().Draw(t, "status") &^ mysql.SERVER_SESSION_STATE_CHANGED, Info: rapid.SliceOf(rapid.Byte()).Draw(t, "info"),
		}
		caps := rapid.SampledFrom([]uint32{0, mysql.CLIENT_SESSION_TRACK}).Draw(t, "caps")
		if caps != 0 && rapid.Bool().Draw(t, "changed") {
			ok.Status |= mysql.SERVER_SESSION_STATE_CHANGED
			ok.State = rapid.SliceOfN(rapid.Byte(), 1, 50).Draw(t, "state")
		}
		got, err := parseOK(ok.append(nil, mysql.OK_HEADER, caps), caps)
		require.NoError(t, err)
		require.Equal(t, ok.Affected, got.Affected)
		require.Equal(t, ok.InsertID, got.InsertID)
		require.Equal(t, ok.Status, got.Status)
		require.Equal(t, ok.Warnings, got.Warnings)
		require.True(t, bytes.Equal(ok.Info, got.Info))
		require.True(t, bytes.Equal(ok.State, got.State))
	})
	state := append([]byte{mysql.SESSION_TRACK_GTIDS}, mysqlwire.AppendBytes(nil, append([]byte{0}, mysqlwire.AppendBytes(nil, "uuid:7")...))...)
	require.Equal(t, "uuid:7", OK{State: state}.GTID())
}

func TestTags(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		tag := Tag{
			Epoch: rapid.Uint64().Draw(t, "epoch"), Write: rapid.Bool().Draw(t, "write"), Keyspace: rapid.String().Draw(t, "keyspace"), Shard: rapid.String().Draw(t, "shard"),
			Tables: rapid.SliceOfN(rapid.StringN(1, 20, -1), 0, 4).Draw(t, "tables"),
		}
		statement := rapid.String().Draw(t, "statement")
		text := string(tag.Append(nil)) + statement
		got, rest, ok, err := CutTag([]byte(text))
		require.NoError(t, err)
		require.True(t, ok)
		require.Equal(t, statement, string(rest))
		if len(tag.Tables) == 0 {
			tag.Tables = nil
		}
		require.Equal(t, tag, got)
		require.NotContains(t, strings.TrimSuffix(text[:len(text)-len(statement)], tagClose), "*/", "nothing in a tag ends its comment")
	})
}

func TestMarks(t *testing.T) {
	for text, want := range map[string]int{
		"SELECT ?": 1, "SELECT '?', ?": 1, `SELECT '\'?', "?""?", ?`: 1, "SELECT `?`, ? -- ?\n, ?": 2, "SELECT ? # ?": 1, "/* ? */ SELECT ?": 1,
		"/*! SELECT ? */": 1, "SELECT 5--?": 1, "SELECT 'a''?'": 0,
	} {
		at, ok := Marks(text)
		require.True(t, ok, text)
		require.Len(t, at, want, text)
	}
	for _, text := range []string{"SELECT 'x", "SELECT /* ?", "SELECT `"} {
		_, ok := Marks(text)
		require.False(t, ok, text)
	}
}

func TestFill(t *testing.T) {
	payload := append(make([]byte, 9), 0b10, 1)
	payload = append(payload, mysql.MYSQL_TYPE_LONGLONG, 0, mysql.MYSQL_TYPE_STRING, 0, mysql.MYSQL_TYPE_STRING, 0, mysql.MYSQL_TYPE_DOUBLE, 0, mysql.MYSQL_TYPE_TINY, 0x80)
	payload = binary.LittleEndian.AppendUint64(payload, 1<<64-5)
	payload = mysqlwire.AppendBytes(payload, "it's \\ \x00")
	payload = binary.LittleEndian.AppendUint64(payload, math.Float64bits(-0.5))
	payload = append(payload, 255)
	text := "SELECT 3-?, ?, ?, ?, ?"
	marks, _ := Marks(text)
	got, types, err := Fill(text, marks, nil, nil, payload)
	require.NoError(t, err)
	require.Equal(t, `SELECT 3- -5, NULL, 'it\'s \\ \0',  -5e-01, 255`, got)
	require.Len(t, types, 5)
	_, _, err = Fill(text, marks, nil, nil, payload[:20])
	require.Error(t, err)
}

// A binary row that a driver decodes is the text it was made of.
func TestServer(t *testing.T) {
	s := New(Config{
		Listen: "127.0.0.1:0", Version: "8.4.0-test", MaxConns: 3,
		Password: func(user string) (string, bool) {
			p, ok := map[string]string{"app": "secret", "empty": ""}[user]
			return p, ok
		},
		Open: func(_ context.Context, c *ServerConn) (Session, error) { return &echo{c}, nil },
	}, slog.New(slog.DiscardHandler))
	conf, err := SelfSigned()
	require.NoError(t, err)
	s.cfg.TLS = conf
	require.NoError(t, s.Start(t.Context()))
	defer s.Stop()
	alone := func() { // a server hears of a client's end a moment after the client
		require.Eventually(t, func() bool {
			s.mu.Lock()
			defer s.mu.Unlock()
			return len(s.mu.conns) == 0
		}, 10*time.Second, time.Millisecond)
	}
	for _, dsn := range []string{"app:secret@tcp(%s)/db", "app:secret@tcp(%s)/db?tls=skip-verify", "empty@tcp(%s)/db", "app:secret@tcp(%s)/?interpolateParams=true"} {
		db, err := sql.Open("mysql", fmt.Sprintf(dsn, s.Addr()))
		require.NoError(t, err)
		var a, b, c, d string
		var n sql.NullString
		require.NoError(t, db.QueryRow("SELECT ?", 5).Scan(&a, &b, &c, &d, &n), dsn)
		require.Equal(t, []string{"-5", "1.5", "2024-02-03 04:05:06.5", "-838:59:59"}, []string{a, b, c, d}, dsn)
		require.False(t, n.Valid)
		require.NoError(t, db.Close())
		alone()
	}
	_, err = Dial(t.Context(), Login{Addr: s.Addr(), User: "app", Password: "wrong"})
	require.EqualValues(t, mysql.ER_ACCESS_DENIED_ERROR, AsMySQL(err).Code)
	_, err = Dial(t.Context(), Login{Addr: s.Addr(), User: "nobody", Password: "secret"})
	require.EqualValues(t, mysql.ER_ACCESS_DENIED_ERROR, AsMySQL(err).Code)

	alone()
	var held []*Client
	for range 3 {
		c, err := Dial(t.Context(), Login{Addr: s.Addr(), User: "app", Password: "secret"})
		require.NoError(t, err)
		held = append(held, c)
	}
	_, err = Dial(t.Context(), Login{Addr: s.Addr(), User: "app", Password: "secret"})
	require.EqualValues(t, mysql.ER_CON_COUNT_ERROR, AsMySQL(err).Code)
	require.True(t, held[0].Alive())

	// Another user on the same connection.
	c := held[0]
	p := append([]byte("empty\x00\x00other\x00\xff\x00"), mysql.AUTH_CACHING_SHA2_PASSWORD+"\x00"...)
	require.NoError(t, c.Send(mysql.COM_CHANGE_USER, p))
	c.answer()
	require.NoError(t, c.finishLogin(mysql.AUTH_CACHING_SHA2_PASSWORD, "", false))
	_, rows, err := c.Query(t.Context(), "who")
	require.NoError(t, err)
	require.Equal(t, "empty@other", string(rows[0][0]))
	s.Stop()
	require.False(t, c.Alive())
	for _, c := range held {
		c.Abort()
	}
}

// echo answers every query with one row.
type echo struct{ c *ServerConn }

func (e *echo) Close() {}

func (e *echo) Handle(_ context.Context, cmd byte, payload []byte) error {
	switch cmd {
	case mysql.COM_STMT_PREPARE:
		return e.c.WritePrepared(1, Text("?"), nil)
	case mysql.COM_STMT_EXECUTE:
		e.c.Binary = true
	case mysql.COM_STMT_CLOSE:
		return nil
	case mysql.COM_QUERY:
		if string(payload) == "who" {
			return e.c.WriteRows(Text("who"), [][]string{{e.c.User + "@" + e.c.DB}})
		}
	default:
		return e.c.WriteOK(OK{})
	}
	cols := append([]Column{Int("i")}, Text("d", "t", "h", "n")...)
	cols[1].Type, cols[2].Type, cols[3].Type = mysql.MYSQL_TYPE_DOUBLE, mysql.MYSQL_TYPE_DATETIME, mysql.MYSQL_TYPE_TIME
	cols[2].Decimals = 1
	if err := e.c.WriteColumns(cols); err != nil {
		return err
	}
	if err := e.c.WriteRow([][]byte{[]byte("-5"), []byte("1.5"), []byte("2024-02-03 04:05:06.5"), []byte("-838:59:59"), nil}); err != nil {
		return err
	}
	return e.c.EndRows(OK{})
}

var _ = gosql.NewConfig

func FuzzLogin(f *testing.F) {
	f.Add([]byte{})
	f.Add(binary.LittleEndian.AppendUint32(nil, serverCaps))
	f.Fuzz(func(_ *testing.T, p []byte) {
		parseLogin(p)                //nolint:errcheck // it must not panic
		parseOK(append(p, 0), 1<<23) //nolint:errcheck // likewise
		ParseColumn(p)               //nolint:errcheck // likewise
		CutTag(p)                    //nolint:errcheck // likewise
		marks, _ := Marks(string(p))
		Fill(string(p), marks, nil, nil, p) //nolint:errcheck // likewise
	})
}
