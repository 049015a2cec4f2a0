package gate

import (
	"context"
	"strconv"
	"strings"

	"github.com/go-mysql-org/go-mysql/mysql"

	"braid/internal/mysqlproto"
	"braid/internal/sqlast"
)

// constants are expressions that a gate answers itself, so that clients can connect, and look around, before there is any
// keyspace. Everything else without a table goes to a server.
var constants = map[string]func(s *session) (value string, null bool){
	"@@version_comment":    func(*session) (string, bool) { return "Braid", false },
	"@@version":            func(s *session) (string, bool) { return s.g.cfg.Version, false },
	"version()":            func(s *session) (string, bool) { return s.g.cfg.Version, false },
	"database()":           func(s *session) (string, bool) { return s.scope.keyspace, s.scope.keyspace == "" },
	"schema()":             func(s *session) (string, bool) { return s.scope.keyspace, s.scope.keyspace == "" },
	"user()":               func(s *session) (string, bool) { return s.c.User + "@%", false },
	"current_user()":       func(s *session) (string, bool) { return s.c.User + "@%", false },
	"session_user()":       func(s *session) (string, bool) { return s.c.User + "@%", false },
	"connection_id()":      func(s *session) (string, bool) { return strconv.Itoa(int(s.c.ID)), false },
	"@@autocommit":         func(s *session) (string, bool) { return strconv.Itoa(boolInt(s.autocommit())), false },
	"@@session.autocommit": func(s *session) (string, bool) { return strconv.Itoa(boolInt(s.autocommit())), false },
	"@@max_allowed_packet": func(*session) (string, bool) { return strconv.Itoa(mysqlproto.MaxPacket), false },
	"1":                    func(*session) (string, bool) { return "1", false },
}

// numbers among the constants.
var numericConstants = map[string]bool{"connection_id()": true, "@@autocommit": true, "@@session.autocommit": true, "@@max_allowed_packet": true, "1": true}

// local says whether a SELECT consists of constants.
func (s *session) local(stmt *sqlast.Statement) bool {
	if len(stmt.SQL) > 200 || len(stmt.Tables()) > 0 {
		return false
	}
	q, ok := stmt.Query()
	if !ok || q.HasFrom || q.Into || q.Distinct || q.Lock || len(q.GroupBy) > 0 || len(q.OrderBy) > 0 || q.Having || q.Offset != nil {
		return false
	}
	if q.HasLimit {
		if n, ok := q.Limit.Uint(); !ok || n == 0 {
			return false
		}
	}
	for _, it := range q.Items {
		if constants[constantName(it.Expr)] == nil {
			return false
		}
	}
	return true
}

// constantName is how an expression is looked up.
func constantName(expr string) string {
	name := strings.ToLower(expr)
	if name == "current_user" {
		return "current_user()"
	}
	return name
}

func (s *session) localColumns(stmt *sqlast.Statement) []mysqlproto.Column {
	q, _ := stmt.Query()
	cols := make([]mysqlproto.Column, len(q.Items))
	for i, it := range q.Items {
		cols[i] = mysqlproto.Text(it.Name)[0]
		if numericConstants[constantName(it.Expr)] {
			cols[i] = mysqlproto.Int(it.Name)
		}
		cols[i].OrgName = ""
	}
	return cols
}

func (s *session) answerLocally(_ context.Context, stmt *sqlast.Statement) error {
	q, _ := stmt.Query()
	if err := s.c.WriteColumns(s.localColumns(stmt)); err != nil {
		return toClient(err)
	}
	cells := make([][]byte, len(q.Items))
	for i, it := range q.Items {
		if v, null := constants[constantName(it.Expr)](s); !null {
			cells[i] = []byte(v)
		}
	}
	if err := s.c.WriteRow(cells); err != nil {
		return toClient(err)
	}
	return toClient(s.c.EndRows(mysqlproto.OK{}))
}

// explainRoute is EXPLAIN FORMAT=ROUTE: where a statement would go.
func (s *session) explainRoute(ctx context.Context, stmt *sqlast.Statement) (done bool, err error) {
	words := stmt.Words(4)
	if len(words) < 4 || !strings.EqualFold(words[1], "format") || !strings.EqualFold(words[3], "route") {
		return false, nil
	}
	at := strings.Index(strings.ToLower(stmt.SQL), "route")
	inner := sqlast.Parse(strings.TrimSpace(stmt.SQL[at+len("route"):]))
	if inner.Kind == sqlast.Empty {
		return true, mysqlproto.Error(mysql.ER_PARSE_ERROR, "42000", "EXPLAIN FORMAT=ROUTE of what?")
	}
	p := s.planner(ctx)
	p.sequence = func(sqlast.Table, uint64) (uint64, error) { return 1, nil } // nothing is taken
	pl, err := p.plan(inner.Substitute(s.known()))
	if err != nil {
		return true, err
	}
	return true, toClient(s.c.WriteRows(mysqlproto.Text("Keyspace", "Shard", "TabletType", "How", "Statement"), routeRows(pl)))
}

func routeRows(pl *plan) [][]string {
	how := "relay"
	switch {
	case pl.move != nil:
		how = "move rows to " + pl.move.to.shard
	case pl.merge != nil && pl.merge.group:
		how = "merge groups"
	case pl.merge != nil && len(pl.merge.order) > 0:
		how = "merge in order"
	case pl.merge != nil:
		how = "concatenate"
	case len(pl.parts) > 1:
		how = "all"
	}
	var rows [][]string
	for _, pt := range pl.parts {
		rows = append(rows, []string{pt.dest.keyspace, pt.dest.shard, string(pt.dest.typ), how, pt.sql})
	}
	return rows
}
