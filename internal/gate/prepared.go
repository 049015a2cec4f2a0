package gate

import (
	"context"
	"encoding/binary"
	"fmt"

	"github.com/go-mysql-org/go-mysql/mysql"

	"braid/internal/mysqlproto"
	"braid/internal/sqlast"
)

// prepared is a statement that a client prepared. It is kept as text: with its values put in it is planned like any other, so
// that it goes where its values say.
type prepared struct {
	sql   string
	marks []int // offsets of the question marks
	types []mysqlproto.ParamType
	long  map[int][]byte // values that were sent ahead, by parameter
}

const (
	maxPrepared = 16382 // as MySQL's max_prepared_stmt_count, for one session
	maxLong     = mysqlproto.MaxPacket
)

// prepare is COM_STMT_PREPARE. A server describes the statement; nothing is run.
func (s *session) prepare(ctx context.Context, sql string) error {
	if len(s.stmts) >= maxPrepared {
		return s.c.WriteError(mysqlproto.Error(mysql.ER_MAX_PREPARED_STMT_COUNT_REACHED, "42000", fmt.Sprintf("Can't create more than max_prepared_stmt_count statements (current value: %d)", maxPrepared)))
	}
	marks, ok := mysqlproto.Marks(sql)
	if !ok {
		return s.c.WriteError(mysqlproto.Error(mysql.ER_PARSE_ERROR, "42000", "You have an error in your SQL syntax: a quote or a comment does not end"))
	}
	params, columns, err := s.describe(ctx, sql, len(marks))
	if err != nil {
		if isClient(err) {
			return err
		}
		return s.c.WriteError(err)
	}
	s.nextStmt++
	s.stmts[s.nextStmt] = &prepared{sql: sql, marks: marks, long: map[int][]byte{}}
	return s.c.WritePrepared(s.nextStmt, params, columns)
}

// describe returns the parameters and the result's columns.
func (s *session) describe(ctx context.Context, sql string, marks int) (params, columns []mysqlproto.Column, err error) {
	params = make([]mysqlproto.Column, marks)
	for i := range params {
		params[i] = mysqlproto.Column{Name: "?", Type: mysql.MYSQL_TYPE_VAR_STRING, Collation: 63, Flags: mysql.BINARY_FLAG}
	}
	stmt := sqlast.Parse(sql)
	switch stmt.Kind {
	case sqlast.Select, sqlast.Insert, sqlast.Update, sqlast.Delete:
	default:
		return params, nil, nil // what returns rows says so when it is run
	}
	if s.local(stmt) {
		return params, s.localColumns(stmt), nil
	}
	err = s.held(ctx, func() error {
		pt, err := s.describer(ctx, stmt)
		if err != nil || pt == nil {
			return err
		}
		b, err := s.backend(ctx, pt.dest)
		if err != nil {
			return err
		}
		d, err := b.Describe(ctx, pt.sql)
		if err != nil {
			return s.failed(b, refusedOrErr(err), false)
		}
		columns = d.Columns
		if len(d.Params) == marks {
			params = d.Params
		}
		return nil
	})
	return params, columns, err
}

// describer is the shard that describes a statement: any that has its tables.
func (s *session) describer(ctx context.Context, stmt *sqlast.Statement) (*part, error) {
	p := s.planner(ctx)
	if p.scope.shard != "" {
		return &part{dest{p.scope.keyspace, p.scope.shard, p.scope.typ}, stmt.SQL}, nil
	}
	pl := &plan{}
	tables, servers := p.split(stmt)
	if len(tables) == 0 {
		if err := p.anywhere(pl, stmt, servers); err != nil {
			return nil, err
		}
		return &pl.parts[0], nil
	}
	keyspaces, err := p.resolveAll(pl, tables)
	if err != nil {
		return nil, err
	}
	if stmt, err = p.requalified(stmt, keyspaces[0]); err != nil {
		return nil, err
	}
	shards, err := p.shards(keyspaces[0], p.scope.typ)
	if err != nil {
		return nil, err
	}
	return &part{dest{keyspaces[0], shards[0], p.scope.typ}, stmt.SQL}, nil
}

func (s *session) stmt(payload []byte) (*prepared, error) {
	if len(payload) >= 4 {
		if p := s.stmts[binary.LittleEndian.Uint32(payload)]; p != nil {
			return p, nil
		}
	}
	return nil, mysqlproto.Error(mysql.ER_UNKNOWN_STMT_HANDLER, "HY000", "Unknown prepared statement handler given to mysqld_stmt_execute")
}

// execute is COM_STMT_EXECUTE: the values become literals in the text.
func (s *session) execute(ctx context.Context, payload []byte) error {
	p, err := s.stmt(payload)
	if err != nil {
		return s.c.WriteError(err)
	}
	sql, types, err := mysqlproto.Fill(p.sql, p.marks, p.types, p.long, payload)
	if err != nil {
		return s.c.WriteError(mysqlproto.Error(mysql.ER_WRONG_ARGUMENTS, "HY000", "Incorrect arguments to mysqld_stmt_execute: "+err.Error()))
	}
	p.types, p.long = types, map[int][]byte{}
	s.c.Binary = true
	if err := s.statement(ctx, sql); err != nil {
		if isClient(err) {
			return err
		}
		return s.c.WriteError(err)
	}
	return nil
}

// longData is COM_STMT_SEND_LONG_DATA, which has no answer.
func (s *session) longData(payload []byte) {
	p, err := s.stmt(payload)
	if err != nil || len(payload) < 6 {
		return
	}
	i := int(binary.LittleEndian.Uint16(payload[4:]))
	if i >= len(p.marks) || len(p.long[i])+len(payload) > maxLong {
		return
	}
	p.long[i] = append(p.long[i], payload[6:]...)
	if p.long[i] == nil {
		p.long[i] = []byte{}
	}
}

func (s *session) closeStmt(payload []byte) {
	if len(payload) >= 4 {
		delete(s.stmts, binary.LittleEndian.Uint32(payload))
	}
}

func (s *session) resetStmt(payload []byte) error {
	p, err := s.stmt(payload)
	if err != nil {
		return s.c.WriteError(err)
	}
	p.long = map[int][]byte{}
	return s.c.WriteOK(mysqlproto.OK{})
}

// fieldList is COM_FIELD_LIST, which old clients send to complete names.
func (s *session) fieldList(ctx context.Context, payload []byte) error {
	table := string(payload)
	for i := range payload {
		if payload[i] == 0 {
			table = string(payload[:i])
			break
		}
	}
	err := s.held(ctx, func() error {
		p := s.planner(ctx)
		pl := &plan{}
		keyspaces, err := p.resolveAll(pl, []sqlast.Table{{Name: table}})
		if err != nil {
			return err
		}
		shards, err := p.shards(keyspaces[0], p.scope.typ)
		if err != nil {
			return err
		}
		b, err := s.backend(ctx, dest{keyspaces[0], shards[0], p.scope.typ})
		if err != nil {
			return err
		}
		stop := b.Under(ctx)
		defer stop()
		if err := b.Send(mysql.COM_FIELD_LIST, payload); err != nil {
			return s.failed(b, err, false)
		}
		return toClient(b.RelayFieldList(s.c))
	})
	if err != nil && !isClient(err) {
		return s.c.WriteError(err)
	}
	return err
}
