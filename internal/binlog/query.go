package binlog

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strings"

	"github.com/go-mysql-org/go-mysql/replication"
)

const remedyRowFormat = "SET PERSIST binlog_format='ROW' on the source, close the sessions that still use another format, and copy the tables again"

// query takes a QUERY event: a statement inside of a transaction, or one that is a transaction by itself.
func (d *decoder) query(ev rawEvent) error {
	if d.trx != nil && !d.trx.begun && isBegin(ev.body) {
		d.trx.begun, d.trx.Session = true, binary.LittleEndian.Uint32(ev.body)
		return nil
	}
	var e replication.QueryEvent
	if err := guard(func() error { return e.Decode(ev.body) }); err != nil {
		return d.malformed("QUERY", err)
	}
	session := dialectOf(e.StatusVars)
	sql, unreadable := session.decode(string(e.Query))
	if unreadable != nil {
		sql = string(e.Query)
	}
	e.Query = []byte(sql)
	db := string(e.Schema)
	st := classify(sql, db, session)
	if d.trx == nil {
		return d.refuse("QUERY", fmt.Sprintf("a statement without a GTID: %s", shorten(sql)), "set gtid_mode=ON on the source and start a new copy")
	}
	if !d.trx.begun {
		d.trx.Session = e.SlaveProxyID
	}
	if st.kind == stmtDML || st.kind == stmtUnknown {
		if d.lenient {
			return d.statement(Statement{DB: db, SQL: sql})
		}
		if st.kind == stmtUnknown {
			return d.refuse("QUERY", fmt.Sprintf("the statement is not understood: %s", shorten(sql)), "upgrade braid; where that does not help, copy the tables again")
		}
		return d.refuse("QUERY", fmt.Sprintf("changes were logged as a statement: %s", shorten(sql)), remedyRowFormat)
	}
	if unreadable != nil && st.kind == stmtDDL && !d.lenient {
		return d.refuse("QUERY", fmt.Sprintf("%v: %s", unreadable, strings.ToValidUTF8(shorten(sql), "?")),
			"do on the target what the statement does there, and go on behind it; run DDL in sessions with SET NAMES utf8mb4")
	}
	if d.trx.begun {
		return d.inside(st, &e, ev.header.Timestamp)
	}
	return d.alone(st, &e, ev.header.Timestamp)
}

// isBegin knows the statement with which nearly all transactions begin, without the cost of reading it as any statement.
func isBegin(body []byte) bool {
	const begin = "BEGIN"
	if len(body) < 13+1+len(begin) || string(body[len(body)-len(begin):]) != begin {
		return false
	}
	db, vars := int(body[8]), int(binary.LittleEndian.Uint16(body[11:])) // lengths
	return 13+vars+db+1+len(begin) == len(body)
}

// statement keeps a change that was logged as a statement.
func (d *decoder) statement(s Statement) error {
	d.trx.texts = append(d.trx.texts, s)
	if !d.trx.begun {
		return d.commit("QUERY")
	}
	return nil
}

// inside is a statement of a transaction that has begun.
func (d *decoder) inside(st statement, e *replication.QueryEvent, seconds uint32) error {
	sql := string(e.Query)
	switch st.kind {
	case stmtCommit:
		return d.commit("QUERY")
	case stmtRollback, stmtRollbackTo:
		if d.trx.any && !d.lenient {
			return d.refuse("QUERY", fmt.Sprintf("%s of a transaction that also changed tables which cannot roll back", shorten(sql)),
				"change the tables to InnoDB (ALTER TABLE … ENGINE=InnoDB) and copy them again")
		}
		if st.kind == stmtRollback {
			return d.commit("QUERY")
		}
		return nil
	case stmtDDL:
		if st.rows {
			d.createSelect(st, e, seconds)
			return nil
		}
		return d.refuse("QUERY", fmt.Sprintf("a change of tables inside of a transaction: %s", shorten(sql)), "copy the tables again")
	}
	return nil // savepoints, XA END, temporary tables
}

// alone is the first statement of a group; most are the whole of it.
func (d *decoder) alone(st statement, e *replication.QueryEvent, seconds uint32) error {
	t, sql, db := d.trx, string(e.Query), string(e.Schema)
	switch {
	case st.kind == stmtBegin:
		t.begun = true
	case st.kind == stmtXAStart:
		if t.begun = true; !d.rereads {
			t.xid = st.xid
		}
	case st.kind == stmtDDL && st.rows:
		t.begun = true
		d.createSelect(st, e, seconds)
	case st.kind == stmtXACommit:
		return d.xaCommit(st.xid)
	case st.kind == stmtXARollback:
		d.xaRollback(st.xid)
	case st.kind == stmtDDL:
		d.trx = nil
		d.yield(&DDL{Stamp: t.Stamp, GTID: t.gtid, id: t.id, CommitUS: t.commitUS, BegunUS: begunUS(seconds, e.StatusVars), DB: db, SQL: sql, Settings: bytes.Clone(e.StatusVars), Objects: st.objects, Kept: st.kept, End: d.coords})
	default:
		if d.lenient {
			t.other = &Statement{DB: db, SQL: sql}
		}
		return d.commit("QUERY")
	}
	return nil
}

// createSelect is the statement of a CREATE TABLE … SELECT. Its rows follow.
func (d *decoder) createSelect(st statement, e *replication.QueryEvent, seconds uint32) {
	if t := d.trx; d.done.gtid != t.gtid {
		d.yield(&DDL{Stamp: t.Stamp, GTID: t.gtid, id: t.id, Rows: true, CommitUS: t.commitUS, BegunUS: begunUS(seconds, e.StatusVars), DB: string(e.Schema), SQL: string(e.Query), Settings: bytes.Clone(e.StatusVars), Objects: st.objects, End: d.coords})
	}
}

func shorten(sql string) string {
	const most = 200
	if len(sql) > most {
		return sql[:most] + "…"
	}
	return sql
}
