package gate

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/go-mysql-org/go-mysql/mysql"

	"braid/internal/base/timeouts"
	"braid/internal/mysqlproto"
	"braid/internal/sqlast"
	"braid/internal/topo"
)

// session is one client. Its goroutine owns it, but for what is in mu.
type session struct {
	g        *Gate
	c        *mysqlproto.ServerConn
	life     context.Context // ends when the session is killed
	cancel   context.CancelFunc
	scope    scope
	settings settings
	txn      txn
	backends map[dest]*backend
	stmts    map[uint32]*prepared
	nextStmt uint32
	warned   bool // the last statement left warnings, which the client may ask for
	last     dest // where the last statement ran
	opaque   bool // the statement under way may commit by itself (a procedure, DDL)

	lastID   uint64   // LAST_INSERT_ID() as far as it is known here
	lastIDOn *backend // … unless this backend knows better

	killed atomic.Bool // the statement under way is to end

	mu struct {
		sync.Mutex
		running context.CancelFunc // of the statement under way
		current string             // its text, for SHOW PROCESSLIST
		scope   string
	}
}

// multiStatements says that the client may send several statements in one command.
func (s *session) multiStatements() bool { return s.c.Has(mysql.CLIENT_MULTI_STATEMENTS) }

func (g *Gate) open(ctx context.Context, c *mysqlproto.ServerConn) (mysqlproto.Session, error) {
	s := &session{g: g, c: c, scope: scope{typ: topo.Primary}, backends: map[dest]*backend{}, stmts: map[uint32]*prepared{}}
	s.life, s.cancel = context.WithCancel(ctx)
	s.settings.reset(c.Collation)
	if c.DB != "" {
		if err := s.use(c.DB); err != nil {
			return nil, mysqlproto.AsError(err)
		}
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.mu.sessions[c.ID] = s
	return s, nil
}

// Close rolls back what is open and gives the backends away.
func (s *session) Close() {
	s.cancel()
	s.g.mu.Lock()
	delete(s.g.mu.sessions, s.c.ID)
	s.g.mu.Unlock()
	s.release()
}

// Idle gives back what a client that does nothing need not hold.
func (s *session) Idle() {
	if s.txn.open || s.warned {
		return
	}
	for _, b := range s.backends {
		if b.pinned {
			return
		}
	}
	s.knowLastID()
	s.release()
}

// release gives all backends away.
func (s *session) release() {
	// The session may have been killed; its backends are good all the same.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(s.life), timeouts.Dial)
	defer cancel()
	for d, b := range s.backends {
		delete(s.backends, d)
		s.g.pool.put(ctx, b)
	}
	s.lastIDOn = nil
}

// drop closes a backend of which nothing good is to be expected.
func (s *session) drop(b *backend) {
	b.Abort()
	delete(s.backends, b.dest)
	if s.lastIDOn == b {
		s.lastIDOn = nil
	}
}

// Handle runs one command.
func (s *session) Handle(_ context.Context, cmd byte, payload []byte) error {
	ctx, cancel := context.WithCancel(s.life)
	defer cancel()
	s.begin(cancel)
	defer s.end()
	switch cmd {
	case mysql.COM_PING:
		return s.c.WriteOK(mysqlproto.OK{})
	case mysql.COM_INIT_DB:
		return s.reply(s.use(string(payload)))
	case mysql.COM_QUERY:
		return s.text(ctx, string(payload))
	case mysql.COM_RESET_CONNECTION:
		s.resetState()
		return s.c.WriteOK(mysqlproto.OK{})
	case mysql.COM_FIELD_LIST:
		return s.fieldList(ctx, payload)
	case mysql.COM_STMT_PREPARE:
		return s.prepare(ctx, string(payload))
	case mysql.COM_STMT_EXECUTE:
		return s.execute(ctx, payload)
	case mysql.COM_STMT_SEND_LONG_DATA:
		s.longData(payload)
		return nil
	case mysql.COM_STMT_CLOSE:
		s.closeStmt(payload)
		return nil
	case mysql.COM_STMT_RESET:
		return s.resetStmt(payload)
	case mysql.COM_SET_OPTION:
		return s.c.EndRows(mysqlproto.OK{}) // multi-statements on or off: they are on for those who asked at login
	case mysql.COM_STATISTICS:
		return s.c.WritePacket(fmt.Appendf(nil, "Sessions: %d", s.g.srv.Conns()))
	case mysql.COM_PROCESS_KILL:
		if len(payload) >= 4 {
			return s.kill(uint64(payload[0])|uint64(payload[1])<<8|uint64(payload[2])<<16|uint64(payload[3])<<24, false)
		}
	}
	return s.c.WriteError(mysqlproto.Error(mysql.ER_UNKNOWN_COM_ERROR, "08S01", "Unknown command"))
}

// reply answers with OK or the error.
func (s *session) reply(err error) error {
	if err != nil {
		return s.c.WriteError(err)
	}
	return s.c.WriteOK(mysqlproto.OK{})
}

func (s *session) begin(cancel context.CancelFunc) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mu.running = cancel
}

func (s *session) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mu.running, s.mu.current, s.mu.scope = nil, "", s.scope.String()
	s.killed.Store(false)
}

// text runs the statements of a COM_QUERY, each with its own answer, until one fails.
func (s *session) text(ctx context.Context, sql string) error {
	pieces := []string{sql}
	if s.multiStatements() {
		var err error
		if pieces, err = sqlast.Split(sql); err != nil {
			return s.c.WriteError(mysqlproto.Error(mysql.ER_PARSE_ERROR, "42000", err.Error()))
		}
	}
	for i, piece := range pieces {
		s.c.More = i < len(pieces)-1
		err := s.statement(ctx, piece)
		if err == nil {
			continue
		}
		if isClient(err) {
			return err
		}
		return s.c.WriteError(err)
	}
	return nil
}

// clientError is a failure to talk to the client: the session ends.
type clientError struct{ error }

func (e clientError) Unwrap() error { return e.error }

func isClient(err error) bool {
	_, ok := errors.AsType[clientError](err)
	return ok || errors.Is(err, mysqlproto.ErrClient)
}

// toClient marks errors of writing to the client.
func toClient(err error) error {
	if err != nil {
		return clientError{err}
	}
	return nil
}

// resetState is COM_RESET_CONNECTION: as after a login, but the keyspace stays.
func (s *session) resetState() {
	s.rollbackAll(s.life)
	s.release()
	s.txn = txn{}
	s.c.Status = mysql.SERVER_STATUS_AUTOCOMMIT
	s.settings.reset(s.c.Collation)
	s.stmts = map[uint32]*prepared{}
	s.lastID, s.lastIDOn, s.warned = 0, nil, false
}

// use is USE and COM_INIT_DB: keyspace, keyspace/shard, keyspace:shard, each with @type.
func (s *session) use(target string) error {
	next, err := parseScope(target)
	if err != nil {
		return err
	}
	if s.txn.open && len(s.txn.parts) > 0 && next.typ != s.scope.typ {
		return mysqlproto.Error(mysql.ER_CANT_DO_THIS_DURING_AN_TRANSACTION, "25000", "You are not allowed to change the tablet type in a transaction")
	}
	if isServerSchema(next.keyspace) && next.shard == "" {
		s.scope = next
		return nil
	}
	shards, ok := s.g.deps.Cache.Routing().Keyspaces[next.keyspace]
	if next.keyspace != "" && !ok && !s.g.knowsKeyspace(next.keyspace) {
		return mysqlproto.Error(mysql.ER_BAD_DB_ERROR, "42000", fmt.Sprintf("Unknown database '%s'", next.keyspace))
	}
	if next.shard != "" && !s.g.knowsShard(next.keyspace, next.shard, shards) {
		return mysqlproto.Error(mysql.ER_BAD_DB_ERROR, "42000", fmt.Sprintf("Unknown database '%s': keyspace %s has no shard %s", target, next.keyspace, next.shard))
	}
	s.scope = next
	return nil
}

func (g *Gate) knowsKeyspace(name string) bool {
	for _, ks := range g.deps.Cache.Keyspaces() {
		if ks == name {
			return true
		}
	}
	return false
}

func (g *Gate) knowsShard(keyspace, shard string, routing topo.KeyspaceRouting) bool {
	for _, shards := range routing {
		for _, s := range shards {
			if s == shard {
				return true
			}
		}
	}
	for _, s := range g.deps.Cache.Shards(keyspace) {
		if s.Name == shard {
			return true
		}
	}
	return false
}

func parseScope(target string) (scope, error) {
	out := scope{typ: topo.Primary}
	name, typ, typed := strings.Cut(target, "@")
	if typed {
		t, err := topo.ParseTabletType(typ)
		if err != nil || t != topo.Primary && t != topo.Replica && t != topo.Rdonly {
			return out, mysqlproto.Error(mysql.ER_BAD_DB_ERROR, "42000", fmt.Sprintf("Unknown database '%s': @%s is none of @primary, @replica, @rdonly", target, typ))
		}
		out.typ = t
	}
	if i := strings.IndexAny(name, "/:"); i >= 0 {
		out.keyspace, out.shard = name[:i], name[i+1:]
	} else {
		out.keyspace = name
	}
	return out, nil
}
