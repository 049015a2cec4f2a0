package binlog

import (
	"encoding/binary"
	"io"
	"slices"
	"testing"

	"github.com/go-mysql-org/go-mysql/replication"
	"github.com/klauspost/compress/zstd"
	"github.com/stretchr/testify/require"
)

const testUUID = "01010101-0101-0101-0101-010101010101"

// script makes events as a server would send them.
type script struct {
	events []rawEvent
	pos    uint32
}

func (s *script) add(t replication.EventType, flags uint16, body []byte) *script {
	size := uint32(len(body)) + replication.EventHeaderSize
	s.pos += size
	s.events = append(s.events, rawEvent{
		header: replication.EventHeader{EventType: t, EventSize: size, LogPos: s.pos, Flags: flags}, body: body,
	})
	return s
}

func (s *script) gtid(n byte) *script {
	body := make([]byte, 42+7)
	for i := range 16 {
		body[1+i] = 1
	}
	body[17] = n
	body[25] = replication.LogicalTimestampTypeCode
	body[42] = n // commit timestamp
	return s.add(replication.GTID_EVENT, 0, body)
}

func (s *script) query(sql string) *script {
	body := make([]byte, 13)
	body[8] = 1
	body = append(append(body, 'd', 0), sql...)
	return s.add(replication.QUERY_EVENT, 0, body)
}

func (s *script) tableMap(id byte, table string) *script {
	body := []byte{id, 0, 0, 0, 0, 0, 1, 0, 1, 'd', 0, byte(len(table))}
	body = append(append(body, table...), 0, 1, 8, 0, 0)
	return s.add(replication.TABLE_MAP_EVENT, 0, body)
}

func (s *script) rows(t replication.EventType, id byte, data string) *script {
	body := append([]byte{id, 0, 0, 0, 0, 0, 1, 0, 2, 0, 1, 0xff}, data...)
	return s.add(t, 0, body)
}

func (s *script) xid() *script { return s.add(replication.XID_EVENT, 0, make([]byte, 8)) }

func (s *script) insert(id byte, table, data string) *script {
	return s.tableMap(id, table).rows(replication.WRITE_ROWS_EVENTv2, id, data)
}

func (s *script) xaPrepare(onePhase byte, gtrid string) *script {
	body := []byte{onePhase, 1, 0, 0, 0, byte(len(gtrid)), 0, 0, 0, 0, 0, 0, 0}
	return s.add(replication.XA_PREPARE_LOG_EVENT, 0, append(body, gtrid...))
}

// payload compresses the events that fn adds.
func (s *script) payload(fn func(*script)) *script {
	inner := &script{}
	fn(inner)
	var plain []byte
	for _, ev := range inner.events {
		head := make([]byte, replication.EventHeaderSize)
		head[4] = byte(ev.header.EventType)
		binary.LittleEndian.PutUint32(head[9:], ev.header.EventSize)
		plain = append(append(plain, head...), ev.body...)
	}
	zip, _ := zstd.NewWriter(nil)
	data := zip.EncodeAll(plain, nil)
	body := append([]byte{2, 1, 0, 3, 1, byte(len(plain) % 200), 0}, data...)
	return s.add(replication.TRANSACTION_PAYLOAD_EVENT, 0, body)
}

// decodeAll runs the decoder as a Reader does.
func decodeAll(s *script) (out []Event, err error) {
	d := newDecoder(func(_, table string) bool { return table != "other" })
	d.coords = Coordinates{File: "binlog.000001"}
	take := func() {
		for ev := d.take(); ev != nil; ev = d.take() {
			out = append(out, ev)
		}
	}
	for _, ev := range s.events {
		if err = d.decode(ev); err != nil {
			break
		}
		for d.payload != nil && err == nil {
			err = d.nextInner()
			take()
		}
		if err != nil {
			break
		}
		take()
	}
	take()
	return out, err
}

func gtidOf(n string) string { return testUUID + ":" + n }

func TestTransactions(t *testing.T) {
	s := (&script{}).
		gtid(1).query("BEGIN").insert(7, "t", "a").query("SAVEPOINT `x`").rows(replication.DELETE_ROWS_EVENTv2, 7, "b").xid().
		gtid(2).query("BEGIN").insert(8, "other", "c").xid().
		gtid(3).query("BEGIN").query("COMMIT").
		gtid(4).query("ALTER TABLE t ADD c INT").
		gtid(5).query("GRANT ALL ON *.* TO u").
		gtid(6).query("BEGIN").insert(7, "t", "d").xid()
	got, err := decodeAll(s)
	require.NoError(t, err)
	require.Len(t, got, 6)
	first := got[0].(*Transaction)
	require.Equal(t, gtidOf("1"), first.GTID)
	require.EqualValues(t, 1, first.CommitUS)
	require.True(t, first.First && first.Last)
	require.Len(t, first.Rows, 2)
	require.Equal(t, []RowsKind{Insert, Delete}, []RowsKind{first.Rows[0].Kind, first.Rows[1].Kind})
	require.Equal(t, "t", first.Rows[0].Table.Table)
	for i := 1; i <= 2; i++ {
		require.Empty(t, got[i].(*Transaction).Rows)
		require.True(t, got[i].(*Transaction).Last)
	}
	ddl := got[3].(*DDL)
	require.Equal(t, []Object{{"d", "t"}}, ddl.Objects)
	require.Equal(t, gtidOf("4"), ddl.GTID)
	require.Equal(t, gtidOf("5"), got[4].(*Transaction).GTID)
	last := got[5].(*Transaction)
	require.Equal(t, uint64(s.pos), last.End.Pos)
	require.Same(t, first.Rows[0].Table, last.Rows[0].Table, "the same bytes are the same table map")
}

func TestCompressedTransaction(t *testing.T) {
	s := (&script{}).gtid(1).payload(func(in *script) {
		in.query("BEGIN").insert(7, "t", "a").insert(8, "t", "b").xid()
	})
	got, err := decodeAll(s)
	require.NoError(t, err)
	require.Len(t, got, 1)
	tx := got[0].(*Transaction)
	require.Len(t, tx.Rows, 2)
	require.Equal(t, uint64(s.pos), tx.End.Pos)
}

func TestFragments(t *testing.T) {
	big := string(make([]byte, maxFragment))
	got, err := decodeAll((&script{}).gtid(1).query("BEGIN").insert(7, "t", big).insert(7, "t", "small").insert(7, "t", big).xid())
	require.NoError(t, err)
	require.Len(t, got, 3)
	var flags []bool
	rows := 0
	for _, ev := range got {
		tx := ev.(*Transaction)
		flags = append(flags, tx.First, tx.Last)
		rows += len(tx.Rows)
		require.Equal(t, gtidOf("1"), tx.GTID)
	}
	require.Equal(t, []bool{true, false, false, false, false, true}, flags)
	require.Equal(t, 3, rows)
}

// TestXA: B2. Rows come with XA COMMIT, and only then the GTID of the prepared part may count.
func TestXA(t *testing.T) {
	got, err := decodeAll((&script{}).
		gtid(1).query("XA START X'6162',X'',1").insert(7, "t", "a").query("XA END X'6162',X'',1").xaPrepare(0, "ab").
		gtid(2).query("BEGIN").insert(7, "t", "b").xid().
		gtid(3).query("XA START X'63',X'',1").insert(7, "t", "c").query("XA END X'63',X'',1").xaPrepare(0, "c").
		gtid(4).query("XA COMMIT X'6162',X'',1").
		gtid(5).query("XA ROLLBACK X'63',X'',1").
		gtid(6).query("XA START X'64',X'',1").insert(7, "t", "d").query("XA END X'64',X'',1").xaPrepare(1, "d").
		gtid(7).query("XA ROLLBACK X'99',X'',1"))
	require.NoError(t, err)
	var txs []*Transaction
	for _, ev := range got {
		if tx, ok := ev.(*Transaction); ok {
			txs = append(txs, tx)
		}
	}
	type brief struct {
		gtid, prepared string
		rows           int
	}
	var have []brief
	for _, tx := range txs {
		have = append(have, brief{tx.GTID, tx.Prepared, len(tx.Rows)})
	}
	require.Equal(t, []brief{
		{gtidOf("2"), "", 1},
		{gtidOf("4"), gtidOf("1"), 1},
		{gtidOf("5"), gtidOf("3"), 0},
		{gtidOf("6"), "", 1},
		{gtidOf("7"), "", 0},
	}, have)
}

// eventPart is a part that is in memory.
type eventPart struct{ events []rawEvent }

func (p *eventPart) next() (ev rawEvent, err error) {
	if len(p.events) == 0 {
		return ev, io.EOF
	}
	ev, p.events = p.events[0], p.events[1:]
	return ev, nil
}
func (p *eventPart) keep()  {}
func (p *eventPart) close() { p.events = nil }

// TestPreparedIsBounded: what XA transactions hold is bounded. What is more is read again at the XA COMMIT.
func TestPreparedIsBounded(t *testing.T) {
	s := (&script{}).gtid(1).query("XA START X'61',X'',1").insert(7, "t", "a").query("XA END X'61',X'',1").xaPrepare(0, "a").
		gtid(2).query("XA START X'62',X'',1").insert(7, "t", "b").insert(7, "other", "none").insert(7, "t", "c").query("XA END X'62',X'',1").xaPrepare(0, "b").
		gtid(3).query("XA START X'63',X'',1").insert(7, "t", "d").query("XA END X'63',X'',1").xaPrepare(0, "c").
		gtid(4).query("XA COMMIT X'62',X'',1").
		gtid(5).query("XA ROLLBACK X'63',X'',1").
		gtid(6).query("XA COMMIT X'61',X'',1")
	d := newDecoder(func(_, table string) bool { return table == "t" })
	row := len((&script{}).insert(7, "t", "a").events[1].body)
	d.most = 2*row + row/2
	rereads := 0
	d.reread = func(of *transaction) (part, error) {
		rereads++
		require.Equal(t, gtidOf("2"), of.gtid)
		return &eventPart{slices.Clone(s.events)}, nil
	}
	var got []Event
	for _, ev := range s.events {
		require.NoError(t, d.decode(ev))
		for d.again != nil {
			require.NoError(t, d.nextAgain())
		}
		for ev := d.take(); ev != nil; ev = d.take() {
			if _, mark := ev.(*Mark); !mark {
				got = append(got, ev)
			}
		}
		require.LessOrEqual(t, d.heldLen, d.most)
	}
	require.Equal(t, 1, rereads)
	require.Len(t, got, 3)
	tx := got[0].(*Transaction)
	require.Equal(t, []string{gtidOf("4"), gtidOf("2")}, []string{tx.GTID, tx.Prepared})
	require.True(t, tx.First && tx.Last)
	require.Len(t, tx.Rows, 2)
	require.Contains(t, string(tx.Rows[0].Body), "b")
	require.Contains(t, string(tx.Rows[1].Body), "c")
	require.Equal(t, gtidOf("3"), got[1].(*Transaction).Prepared)
	require.Empty(t, got[1].(*Transaction).Rows, "it was rolled back")
	require.Len(t, got[2].(*Transaction).Rows, 1)
	require.Zero(t, d.heldLen)
}

// TestAnonymousXA: a log without GTIDs, as those who only look see it. Nothing but the place tells such transactions.
func TestAnonymousXA(t *testing.T) {
	s := (&script{}).gtid(1).query("XA START X'61',X'',1").insert(7, "t", "a").query("XA END X'61',X'',1").xaPrepare(0, "a").
		gtid(2).query("BEGIN").insert(7, "t", "b").xid().
		gtid(3).query("XA COMMIT X'61',X'',1")
	for i := range s.events {
		if h := &s.events[i].header; h.EventType == replication.GTID_EVENT {
			h.EventType = replication.ANONYMOUS_GTID_EVENT
			clear(s.events[i].body[1:25])
		}
	}
	for _, most := range []int{maxPrepared, 0} {
		d := newDecoder(all)
		d.lenient, d.most = true, most
		d.reread = func(*transaction) (part, error) { return &eventPart{slices.Clone(s.events)}, nil }
		var got []string
		for _, ev := range s.events {
			require.NoError(t, d.decode(ev))
			for d.again != nil {
				require.NoError(t, d.nextAgain())
			}
			for ev := d.take(); ev != nil; ev = d.take() {
				if tx, ok := ev.(*Transaction); ok {
					require.Len(t, tx.Rows, 1)
					got = append(got, string(tx.Rows[0].Body[len(tx.Rows[0].Body)-1:]))
				}
			}
		}
		require.Equal(t, []string{"b", "a"}, got, "with the XA COMMIT")
	}
}

func TestCreateTableSelect(t *testing.T) {
	got, err := decodeAll((&script{}).gtid(1).query("BEGIN").query("CREATE TABLE `t` (a INT) START TRANSACTION").insert(7, "t", "a").xid())
	require.NoError(t, err)
	require.Len(t, got, 2)
	require.True(t, got[0].(*DDL).Rows)
	require.Equal(t, gtidOf("1"), got[0].(*DDL).GTID)
	require.Equal(t, gtidOf("1"), got[1].(*Transaction).GTID)
}

// TestCreateTableSelectAfterACut: the statement that was passed on before the connection was cut is not passed on again (B2).
func TestCreateTableSelectAfterACut(t *testing.T) {
	s := (&script{}).gtid(1).query("CREATE TABLE `t` (a INT) START TRANSACTION").insert(7, "t", "a").xid()
	first := newDecoder(all)
	for _, ev := range s.events[:2] {
		require.NoError(t, first.decode(ev))
	}
	var done progress
	done.note(first.take())
	again := newDecoder(all)
	again.done = done
	for _, ev := range s.events {
		require.NoError(t, again.decode(ev))
	}
	tx, ok := again.take().(*Transaction)
	require.True(t, ok, "its rows only")
	require.Len(t, tx.Rows, 1)
	require.Nil(t, again.take())
}

// TestFailedStatement: a DDL that failed on the source in part is logged with its error; what it may have touched counts as changed.
func TestFailedStatement(t *testing.T) {
	s := (&script{}).gtid(1).query("DROP TABLE t, missing")
	body := s.events[1].body
	binary.LittleEndian.PutUint16(body[9:], 1051)
	got, err := decodeAll(s)
	require.NoError(t, err)
	require.Equal(t, []Object{{"d", "t"}, {"d", "missing"}}, got[0].(*DDL).Objects)
}

// TestQueryText: binlog_rows_query_log_events=ON puts the statement in front of its rows; it is that of all of them, and of no others.
func TestQueryText(t *testing.T) {
	text := func(s *script, sql string) *script {
		return s.add(replication.ROWS_QUERY_EVENT, 0, append([]byte{byte(len(sql))}, sql...))
	}
	s := text((&script{}).gtid(1).query("BEGIN"), "INSERT INTO t VALUES (1)").insert(7, "t", "a").rows(replication.DELETE_ROWS_EVENTv2, 7, "b")
	s = text(s, "DELETE FROM t").rows(replication.DELETE_ROWS_EVENTv2, 7, "c").xid().gtid(2).query("BEGIN").insert(7, "t", "d").xid()
	got, err := decodeAll(s)
	require.NoError(t, err)
	var texts []string
	for _, ev := range got {
		for _, r := range ev.(*Transaction).Rows {
			texts = append(texts, string(r.Query))
		}
	}
	require.Equal(t, []string{"INSERT INTO t VALUES (1)", "INSERT INTO t VALUES (1)", "DELETE FROM t", ""}, texts)
}

// TestFileBeyond4GiB: headers have the lower 32 bits of an offset only. Events in order carry the rest; where a stream begins behind
// the first 4 GiB, the next heartbeat tells. Coordinates never run ahead (B3).
func TestFileBeyond4GiB(t *testing.T) {
	const limit = 1 << 32
	d := newDecoder(all)
	d.coords = Coordinates{File: "binlog.000001", Pos: limit - 100}
	s := (&script{}).gtid(1).query("BEGIN").insert(7, "t", string(make([]byte, 300))).xid()
	want := uint64(limit - 100)
	for _, ev := range s.events {
		want += uint64(ev.header.EventSize)
		ev.header.LogPos = uint32(want)
		require.NoError(t, d.decode(ev))
	}
	require.Greater(t, want, uint64(limit))
	tx := d.take().(*Transaction)
	require.Equal(t, Coordinates{File: "binlog.000001", Pos: want}, tx.End)

	d = newDecoder(all) // the same, as a stream sees it that begins with the second of these transactions
	d.coords = Coordinates{File: "binlog.000001", Pos: 4}
	for _, ev := range s.events {
		want += uint64(ev.header.EventSize)
		ev.header.LogPos = uint32(want)
		require.NoError(t, d.decode(ev))
	}
	require.Less(t, d.take().(*Transaction).End.Pos, want)
	require.NoError(t, d.decode(heartbeat("binlog.000001", want)))
	require.Equal(t, Coordinates{File: "binlog.000001", Pos: want}, d.take().(*Mark).End)
	require.NoError(t, d.decode(heartbeat("binlog.000001", want-1)))
	require.Equal(t, Coordinates{File: "binlog.000001", Pos: want}, d.take().(*Mark).End, "never back")

	require.NoError(t, d.decode(s.events[0]))
	require.NoError(t, d.decode(heartbeat("binlog.000002", 4)))
	require.Equal(t, "binlog.000001", d.take().(*Mark).End.File, "not inside of a transaction")
	bad := heartbeat("binlog.000002", 4)
	bad.body = bad.body[:3]
	require.ErrorContains(t, d.decode(bad), "HEARTBEAT")
}

// heartbeat is one of version 2.
func heartbeat(file string, pos uint64) rawEvent {
	body := append([]byte{1, byte(len(file))}, file...)
	body = append(body, 2, 9, 0xfe)
	body = append(binary.LittleEndian.AppendUint64(body, pos), 0)
	return rawEvent{header: replication.EventHeader{EventType: replication.HEARTBEAT_LOG_EVENT_V2, EventSize: uint32(len(body) + headerSize)}, body: body}
}

// TestOldHeartbeat: servers before 8.0.26 send heartbeats that have the place in their header, and no size in the log.
func TestOldHeartbeat(t *testing.T) {
	d := newDecoder(all)
	d.coords = Coordinates{File: "binlog.000002", Pos: 500}
	beat := rawEvent{header: replication.EventHeader{EventType: replication.HEARTBEAT_EVENT, EventSize: 32, LogPos: 700}, body: []byte("binlog.000002")}
	require.NoError(t, d.decode(beat))
	require.Equal(t, &Mark{End: Coordinates{File: "binlog.000002", Pos: 700}}, d.take())
}

// TestCutTransaction: a transaction that a crash of the source cut off is dropped.
func TestCutTransaction(t *testing.T) {
	got, err := decodeAll((&script{}).gtid(1).query("BEGIN").insert(7, "t", "a").add(replication.FORMAT_DESCRIPTION_EVENT, 0, nil).
		gtid(1).query("BEGIN").insert(7, "t", "b").xid())
	require.NoError(t, err)
	require.Len(t, got, 1)
	require.Len(t, got[0].(*Transaction).Rows, 1)
}

// TestRefusals: B1.
func TestRefusals(t *testing.T) {
	begin := func() *script { return (&script{}).gtid(1).query("BEGIN") }
	for name, c := range map[string]struct {
		script *script
		event  string
		remedy string
	}{
		"anonymous":         {(&script{}).add(replication.ANONYMOUS_GTID_EVENT, 0, make([]byte, 42)), "ANONYMOUS_GTID", "gtid_mode=ON"},
		"incident":          {(&script{}).add(replication.INCIDENT_EVENT, 0, append([]byte{1, 0, 4}, "lost"...)), "INCIDENT", "copy the tables again"},
		"statement":         {begin().query("INSERT INTO t VALUES (1)"), "QUERY", "binlog_format='ROW'"},
		"statement alone":   {(&script{}).gtid(1).query("UPDATE t SET a = 1"), "QUERY", "binlog_format='ROW'"},
		"unknown statement": {(&script{}).gtid(1).query("FROBNICATE t"), "QUERY", "upgrade braid"},
		"unknown object":    {(&script{}).gtid(1).query("CREATE FROBNICATE t"), "QUERY", "upgrade braid"},

		"rolled back":        {begin().insert(7, "t", "a").query("ROLLBACK"), "QUERY", "InnoDB"},
		"partly rolled back": {begin().insert(7, "t", "a").query("ROLLBACK TO `x`"), "QUERY", "InnoDB"},
		"no table map":       {begin().rows(replication.WRITE_ROWS_EVENTv2, 9, "a"), "ROWS", "start the stream again"},
		"xa unknown":         {(&script{}).gtid(1).query("XA COMMIT X'6162',X'',1"), "QUERY", "copy the tables again"},
		"unknown event":      {(&script{}).add(99, 0, nil), "type 99", "upgrade braid"},
		"short GTID":         {(&script{}).add(replication.GTID_EVENT, 0, make([]byte, 10)), "GTID", "mysqlbinlog"},
		"no zstd":            {(&script{}).gtid(1).add(replication.TRANSACTION_PAYLOAD_EVENT, 0, []byte{2, 1, 0, 0, 'x', 'y'}), "TRANSACTION_PAYLOAD", "mysqlbinlog"},
		"compression":        {(&script{}).gtid(1).add(replication.TRANSACTION_PAYLOAD_EVENT, 0, []byte{2, 1, 9, 0}), "TRANSACTION_PAYLOAD", "upgrade braid"},
		"XA without a part":  {(&script{}).add(replication.XA_PREPARE_LOG_EVENT, 0, make([]byte, 13)), "XA_PREPARE", "mysqlbinlog"},
		"truncated":          {begin().add(replication.TABLE_MAP_EVENT, 0, []byte{1, 2}), "TABLE_MAP", "mysqlbinlog"},
		"DDL inside":         {begin().query("ALTER TABLE t ADD c INT"), "QUERY", "copy the tables again"},
		"no end":             {begin().insert(7, "t", "a").gtid(2), "GTID", "mysqlbinlog"},
		"no end in payload":  {(&script{}).gtid(1).payload(func(in *script) { in.query("BEGIN").insert(7, "t", "a") }).gtid(2), "GTID", "mysqlbinlog"},
		"nothing of it":      {(&script{}).gtid(1).gtid(2), "GTID", "mysqlbinlog"},
		"payload in payload": {(&script{}).gtid(1).payload(func(in *script) {
			in.query("BEGIN").payload(func(in *script) { in.insert(7, "t", "a") }).xid()
		}), "TRANSACTION_PAYLOAD", "mysqlbinlog"},
		"file in payload": {(&script{}).gtid(1).payload(func(in *script) {
			in.query("BEGIN").insert(7, "t", "a").add(replication.FORMAT_DESCRIPTION_EVENT, 0, nil)
		}), "TRANSACTION_PAYLOAD", "mysqlbinlog"},
		"no GTID": {(&script{}).query("BEGIN"), "QUERY", "gtid_mode=ON"},
	} {
		requireRefused(t, name, c.script, c.event, c.remedy)
	}
	for _, old := range []replication.EventType{
		replication.WRITE_ROWS_EVENTv0, replication.UPDATE_ROWS_EVENTv0, replication.DELETE_ROWS_EVENTv0,
		replication.WRITE_ROWS_EVENTv1, replication.UPDATE_ROWS_EVENTv1, replication.DELETE_ROWS_EVENTv1,
	} {
		requireRefused(t, old.String(), begin().tableMap(7, "t").rows(old, 7, ""), old.String(), "upgrade")
	}
	for _, load := range []replication.EventType{
		replication.BEGIN_LOAD_QUERY_EVENT, replication.APPEND_BLOCK_EVENT, replication.EXECUTE_LOAD_QUERY_EVENT, replication.DELETE_FILE_EVENT,
	} {
		requireRefused(t, load.String(), begin().add(load, 0, nil), load.String(), "binlog_format='ROW'")
	}
	for _, part := range []replication.EventType{replication.INTVAR_EVENT, replication.RAND_EVENT, replication.USER_VAR_EVENT} {
		requireRefused(t, part.String(), begin().add(part, 0, make([]byte, 16)).query("INSERT INTO t VALUES (1)"), "QUERY", "binlog_format='ROW'")
	}
	for _, s := range []*script{begin().query("INSERT INTO t VALUES (1)"), begin().insert(7, "t", "a").gtid(2)} {
		_, err := decodeAll(s)
		require.ErrorContains(t, err, "GTID "+gtidOf("1")+",")
	}
}

func requireRefused(t *testing.T, name string, s *script, event, remedy string) {
	t.Helper()
	_, err := decodeAll(s)
	var r *Refusal
	require.ErrorAs(t, err, &r, name)
	require.Equal(t, event, r.Event, name)
	require.Contains(t, r.Remedy, remedy, name)
	require.Contains(t, err.Error(), "binlog.000001:", name)
}

// TestLenientWithoutEnd: who only looks at a log sees what there is of a transaction that does not end.
func TestLenientWithoutEnd(t *testing.T) {
	d := newDecoder(all)
	d.lenient = true
	for _, ev := range (&script{}).gtid(1).query("BEGIN").insert(7, "t", "a").gtid(2).query("BEGIN").xid().events {
		require.NoError(t, d.decode(ev))
	}
	first, second := d.take().(*Transaction), d.take().(*Transaction)
	require.Equal(t, gtidOf("1"), first.GTID)
	require.Len(t, first.Rows, 1)
	require.Equal(t, gtidOf("2"), second.GTID)
}

func TestIgnored(t *testing.T) {
	got, err := decodeAll((&script{}).
		add(99, replication.LOG_EVENT_IGNORABLE_F, nil).
		add(replication.PREVIOUS_GTIDS_EVENT, 0, nil).
		add(replication.IGNORABLE_EVENT, 0, nil). // each of these without the flag: they are known
		add(replication.TRANSACTION_CONTEXT_EVENT, 0, []byte("x")).
		gtid(1).query("BEGIN").add(replication.VIEW_CHANGE_EVENT, 0, []byte("x")).query("COMMIT").
		gtid(2).query("BEGIN").
		add(replication.INTVAR_EVENT, 0, make([]byte, 9)).add(replication.RAND_EVENT, 0, make([]byte, 16)).add(replication.USER_VAR_EVENT, 0, make([]byte, 16)).
		add(replication.ROWS_QUERY_EVENT, 0, []byte("x")).
		tableMap(8, "other").rows(replication.PARTIAL_UPDATE_ROWS_EVENT, 8, "").
		rows(replication.WRITE_ROWS_EVENTv2, 8, "").
		query("ROLLBACK").
		add(replication.STOP_EVENT, 0, nil))
	require.NoError(t, err)
	require.Len(t, got, 2)
	for _, ev := range got {
		require.Empty(t, ev.(*Transaction).Rows)
	}
}

// FuzzDecoder: no bytes make it panic.
func FuzzDecoder(f *testing.F) {
	f.Add(byte(replication.QUERY_EVENT), []byte{0, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 1})
	f.Add(byte(replication.GTID_EVENT), []byte{1})
	f.Add(byte(replication.GTID_TAGGED_LOG_EVENT), []byte{1, 2, 3})
	f.Add(byte(replication.TABLE_MAP_EVENT), []byte{7, 0, 0, 0, 0, 0, 1, 0, 200, 'd'})
	f.Add(byte(replication.XA_PREPARE_LOG_EVENT), []byte{1, 0, 0, 0, 0, 255, 255, 255, 255, 1, 0, 0, 0})
	f.Add(byte(replication.TRANSACTION_PAYLOAD_EVENT), []byte{2, 1, 255, 0, 1, 2, 3})
	f.Add(byte(replication.INCIDENT_EVENT), []byte{0, 0, 200})
	f.Add(byte(replication.ROTATE_EVENT), append(make([]byte, 8), "binlog.000002"...))
	f.Add(byte(replication.HEARTBEAT_LOG_EVENT_V2), heartbeat("binlog.000002", 1<<33).body)
	whole := (&script{}).gtid(2).query("XA START X'6162',X'',1").insert(7, "t", "a").xaPrepare(0, "ab").payload(func(in *script) {
		in.query("BEGIN").insert(7, "t", "a").rows(replication.PARTIAL_UPDATE_ROWS_EVENT, 7, "b").xid()
	})
	plain := []byte{2, 1, compressionNone, 0} // a payload that is not compressed: what is in it is reached by changing bytes
	for _, ev := range whole.events {
		f.Add(byte(ev.header.EventType), ev.body)
		head := make([]byte, headerSize)
		head[4] = byte(ev.header.EventType)
		binary.LittleEndian.PutUint32(head[9:], ev.header.EventSize)
		plain = append(append(plain, head...), ev.body...)
	}
	f.Add(byte(replication.TRANSACTION_PAYLOAD_EVENT), plain)
	f.Fuzz(func(_ *testing.T, kind byte, body []byte) {
		decodeAll((&script{}).gtid(1).query("BEGIN").add(replication.EventType(kind), 0, body))
	})
}
