package gate

import (
	"context"
	"fmt"
	"strings"

	"github.com/go-mysql-org/go-mysql/mysql"

	"braid/internal/mysqlproto"
	"braid/internal/sqlast"
)

// statement runs one statement and writes its answer. An error was not told to the client yet, unless isClient says that it
// cannot be.
func (s *session) statement(ctx context.Context, sql string) error {
	s.mu.Lock()
	s.mu.current, s.mu.scope = sql, s.scope.String()
	s.mu.Unlock()
	stmt := sqlast.Parse(sql)
	err := s.run(ctx, stmt)
	if err != nil && s.life.Err() == nil && ctx.Err() != nil && !isClient(err) {
		return errInterrupted()
	}
	return err
}

func (s *session) run(ctx context.Context, stmt *sqlast.Statement) error {
	switch stmt.Kind {
	case sqlast.Empty:
		return s.empty(stmt)
	case sqlast.Begin:
		return s.then(s.beginStatement(ctx, stmt))
	case sqlast.Commit, sqlast.Rollback:
		return s.then(s.endStatement(ctx, stmt))
	case sqlast.Savepoint, sqlast.RollbackTo, sqlast.Release:
		return s.then(s.savepoint(ctx, stmt))
	case sqlast.Set:
		return s.set(ctx, stmt)
	case sqlast.Use:
		return s.then(s.use(stmt.UseTarget()))
	case sqlast.Show:
		if done, err := s.show(ctx, stmt); done {
			return err
		}
	case sqlast.NextVal:
		return s.nextValue(ctx, stmt)
	case sqlast.Kill:
		id, query, ok := stmt.KillTarget()
		if !ok {
			return syntaxError(stmt)
		}
		return s.kill(id, query)
	case sqlast.Explain:
		if done, err := s.explainRoute(ctx, stmt); done {
			return err
		}
	case sqlast.Load:
		return unsupported("LOAD DATA through a gate")
	case sqlast.Privilege, sqlast.Database, sqlast.Flush:
		return unsupported("accounts, databases and servers are not managed through a gate")
	case sqlast.LockTables, sqlast.UnlockTables, sqlast.Prepare:
		if s.scope.shard == "" && s.mayMove() {
			return unsupported("%s through a gate", firstWord(stmt.SQL))
		}
	case sqlast.Select:
		if s.local(stmt) {
			return s.answerLocally(ctx, stmt)
		}
	}
	return s.planned(ctx, stmt)
}

// mayMove says whether the session's keyspace is sharded, so that no one server stands for it.
func (s *session) mayMove() bool {
	vs := s.g.vschemas.get(s.g)[s.scope.keyspace]
	return s.scope.keyspace == "" || vs != nil && vs.Sharded
}

// then answers OK after something that went well.
func (s *session) then(err error) error {
	if err != nil {
		return err
	}
	return toClient(s.c.WriteOK(mysqlproto.OK{}))
}

func (s *session) empty(stmt *sqlast.Statement) error {
	if strings.Contains(stmt.SQL, "/*") || strings.Contains(stmt.SQL, "--") || strings.Contains(stmt.SQL, "#") {
		return toClient(s.c.WriteOK(mysqlproto.OK{})) // a comment
	}
	return mysqlproto.Error(mysql.ER_EMPTY_QUERY, "42000", "Query was empty")
}

func firstWord(sql string) string {
	if f := strings.Fields(sql); len(f) > 0 {
		return strings.ToUpper(f[0])
	}
	return sql
}

func syntaxError(stmt *sqlast.Statement) error {
	if stmt.Err == nil {
		return mysqlproto.Error(mysql.ER_PARSE_ERROR, "42000", "You have an error in your SQL syntax")
	}
	return mysqlproto.Error(mysql.ER_PARSE_ERROR, "42000", fmt.Sprintf("You have an error in your SQL syntax; %v", stmt.Err))
}

func (s *session) beginStatement(ctx context.Context, stmt *sqlast.Statement) error {
	if stmt.Err != nil {
		return syntaxError(stmt)
	}
	return s.beginTxn(ctx, stmt.BeginText())
}

// endStatement is COMMIT and ROLLBACK, with AND CHAIN.
func (s *session) endStatement(ctx context.Context, stmt *sqlast.Statement) error {
	words := stmt.Words(8)
	begin := s.txn.begin
	chain := false
	for i, w := range words[1:] {
		switch strings.ToUpper(w) {
		case "WORK", "AND", "NO":
		case "CHAIN":
			chain = !strings.EqualFold(words[i], "no")
		default:
			return syntaxError(stmt)
		}
	}
	open := s.txn.open
	if stmt.Kind == sqlast.Commit {
		if err := s.commit(ctx); err != nil {
			return err
		}
	} else {
		s.rollbackAll(ctx)
	}
	if chain && open {
		s.openTxn(begin)
	}
	return nil
}

// planned runs a statement that goes to tablets.
func (s *session) planned(ctx context.Context, stmt *sqlast.Statement) error {
	if isServerSchema(s.scope.keyspace) {
		stmt = stmt.Qualify(s.scope.keyspace)
	}
	if stmt.UsesLastInsertID() {
		s.knowLastID()
	}
	stmt = stmt.Substitute(s.known())
	if implicitCommit(stmt) {
		if err := s.commit(ctx); err != nil {
			return err
		}
		defer s.g.tables.forget()
	} else if !s.autocommit() && !s.txn.open && opensTxn(stmt) {
		next := s.txn.next
		s.openTxn("BEGIN")
		s.txn.next = next
	}
	return s.held(ctx, func() error {
		pl, err := s.plan(ctx, stmt)
		if err != nil {
			return err
		}
		return s.runPlan(ctx, pl, stmt)
	})
}

// implicitCommit says whether MySQL commits before the statement.
func implicitCommit(stmt *sqlast.Statement) bool {
	switch stmt.Kind {
	case sqlast.DDL:
		return stmt.Pins() == "" // temporary tables do not
	case sqlast.LockTables:
		return true
	}
	return false
}

// opensTxn says whether a statement begins a transaction when autocommit is off.
func opensTxn(stmt *sqlast.Statement) bool {
	switch stmt.Kind {
	case sqlast.Select, sqlast.Insert, sqlast.Update, sqlast.Delete, sqlast.Call:
		return true
	}
	return false
}

// plan makes a plan by the routing of now.
func (s *session) plan(ctx context.Context, stmt *sqlast.Statement) (*plan, error) {
	p := s.planner(ctx)
	pl, err := p.plan(stmt)
	if err != nil {
		return nil, err
	}
	if d, workflow := pl.fenced(p.routing); workflow != "" && len(s.txn.parts) == 0 {
		return nil, fencedHere(d, workflow)
	}
	return pl, nil
}

func (s *session) planner(ctx context.Context) *planner {
	in := s.scope
	if isServerSchema(in.keyspace) {
		in.keyspace = ""
	}
	c := catalog{routing: s.g.deps.Cache.Routing(), vschemas: s.g.vschemas.get(s.g)}
	c.columns = func(keyspace, table string) (*tableDefinition, error) { return s.table(ctx, keyspace, table) }
	return &planner{
		catalog: c, scope: in,
		sequence: func(seq sqlast.Table, n uint64) (uint64, error) { return s.g.sequences.next(ctx, s, seq, n) },
		evaluate: func(exprs []string) ([]string, error) { return s.evaluate(ctx, exprs) },
	}
}

// known is what functions about the session return.
func (s *session) known() sqlast.SessionValues {
	v := sqlast.SessionValues{LastInsertID: s.lastID, ConnectionID: s.c.ID, User: s.c.User + "@%"}
	if s.scope.keyspace != "" {
		db := s.scope.keyspace
		v.Database = &db
	}
	return v
}
