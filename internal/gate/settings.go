package gate

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/go-mysql-org/go-mysql/mysql"
	"vitess.io/vitess/go/mysql/collations"

	"braid/internal/base/errs"
	"braid/internal/mysqlproto"
	"braid/internal/sqlast"
)

// settings is what a session has SET, to be replayed on every backend.
type settings struct {
	names string // SET NAMES …; "" is the default
	vars  []setting
	sql   string // the whole as one statement; "" when there is nothing to set
}

type setting struct{ name, value string }

// defaultCollation is what a backend has without a SET NAMES.
const defaultCollation = 255 // utf8mb4_0900_ai_ci

// reset begins anew with the collation that the client gave at login.
func (st *settings) reset(collation uint16) {
	*st = settings{}
	if collation == 0 || collation == defaultCollation {
		return
	}
	env := collations.MySQL8()
	name := env.LookupName(collations.ID(collation))
	charset := env.LookupCharsetName(collations.ID(collation))
	if name == "" || charset == "" {
		return // MySQL takes its default for a collation that it does not know, too
	}
	st.names = "NAMES " + charset + " COLLATE " + name
	st.render()
}

func (st *settings) set(name, value string) {
	if i := slices.IndexFunc(st.vars, func(v setting) bool { return v.name == name }); i >= 0 {
		st.vars = slices.Delete(st.vars, i, i+1)
	}
	st.vars = append(st.vars, setting{name, value})
	st.render()
}

func (st *settings) render() {
	var list []string
	if st.names != "" {
		list = append(list, st.names)
	}
	for _, v := range st.vars {
		list = append(list, v.name+" = "+v.value)
	}
	st.sql = ""
	if len(list) > 0 {
		st.sql = "SET " + strings.Join(list, ", ")
	}
}

// set runs a SET. Everything is checked by a server before it is remembered.
func (s *session) set(ctx context.Context, stmt *sqlast.Statement) error {
	assigns, ok := stmt.Assigns()
	if !ok {
		return unsupported("this SET is not known here: %v", stmt.Err)
	}
	// The parser drops the collation of SET NAMES … COLLATE ….
	if w := stmt.Words(5); len(w) == 5 && len(assigns) == 1 && assigns[0].Name == "names" && strings.EqualFold(w[3], "collate") {
		next := settings{names: "NAMES " + quote(w[2]) + " COLLATE " + quote(w[4]), vars: slices.Clone(s.settings.vars)}
		next.render()
		if err := s.try(ctx, next.sql, next); err != nil {
			return err
		}
		return toClient(s.c.WriteOK(mysqlproto.OK{}))
	}
	for _, a := range assigns {
		if err := s.assign(ctx, a); err != nil {
			return err
		}
	}
	return toClient(s.c.WriteOK(mysqlproto.OK{}))
}

func (s *session) assign(ctx context.Context, a sqlast.Assign) error {
	switch {
	case a.Scope == sqlast.GlobalScope:
		return mysqlproto.Error(mysql.ER_SPECIFIC_ACCESS_DENIED_ERROR, "42000", "Access denied; a gate does not change settings of servers (SET GLOBAL, PERSIST); you need (at least one of) the SUPER or SYSTEM_VARIABLES_ADMIN privilege(s) for this operation, at the server")
	case a.Scope == sqlast.UserScope:
		return s.assignVar(ctx, "@`"+strings.ReplaceAll(a.Name, "`", "``")+"`", a)
	case a.Scope == sqlast.NextTxScope:
		return s.assignNextTx(a)
	}
	switch a.Name {
	case "autocommit":
		return s.setAutocommit(ctx, a)
	case "names", "charset", "character set", "character_set":
		return s.setNames(ctx, a)
	case "last_insert_id", "identity":
		n, ok := a.Value.Uint()
		if !ok {
			return wrongValue(a)
		}
		s.lastID, s.lastIDOn = n, nil
		return nil
	case "gtid_next", "sql_log_bin", "pseudo_thread_id", "session_track_gtids", "session_track_state_change":
		return mysqlproto.Error(mysql.ER_SPECIFIC_ACCESS_DENIED_ERROR, "42000", fmt.Sprintf("Access denied; a session of a gate cannot set %s: it has several servers", a.Name))
	}
	return s.assignVar(ctx, "SESSION `"+a.Name+"`", a)
}

func wrongValue(a sqlast.Assign) error {
	return mysqlproto.Error(mysql.ER_WRONG_VALUE_FOR_VAR, "42000", fmt.Sprintf("Variable '%s' can't be set to the value of '%s'", a.Name, strings.Trim(a.Expr, "'")))
}

// assignVar checks a value at a server, and remembers it.
func (s *session) assignVar(ctx context.Context, name string, a sqlast.Assign) error {
	value := a.Value.SQL
	switch {
	case a.Value.Kind == sqlast.Default:
		value = "DEFAULT"
	case a.Value.Kind == sqlast.Expression:
		values, err := s.evaluate(ctx, []string{a.Expr})
		if err != nil {
			return err
		}
		value = values[0]
	}
	if a.Name == "sql_mode" {
		if mode := sqlast.GrammarMode(strings.Trim(value, "'")); mode != "" {
			return unsupported("sql_mode %s: it changes how statements are read, and a gate must read them to place them", mode)
		}
	}
	next := settings{names: s.settings.names, vars: slices.Clone(s.settings.vars)}
	next.set(name, value)
	return s.try(ctx, "SET "+name+" = "+value, next)
}

// try runs a SET on some backend; when it is accepted the settings are the session's.
func (s *session) try(ctx context.Context, sql string, next settings) error {
	err := s.held(ctx, func() error {
		b, err := s.anyBackend(ctx)
		if err != nil || b == nil {
			return err // no keyspace yet: it will be checked when it is replayed
		}
		if _, err = b.control(ctx, sql); err != nil {
			if isHold(err) || mysqlproto.AsMySQL(err) == nil {
				return s.failed(b, err, false)
			}
			return err
		}
		b.settings = next.sql
		return nil
	})
	if err == nil {
		s.settings = next
	}
	return err
}

// trickyCharsets are those of clients whose statements cannot be read byte by byte.
var trickyCharsets = map[string]bool{"gbk": true, "gb18030": true, "gb2312": true, "big5": true, "sjis": true, "cp932": true, "euckr": true}

// setNames is SET NAMES and SET CHARACTER SET.
func (s *session) setNames(ctx context.Context, a sqlast.Assign) error {
	next := settings{vars: slices.Clone(s.settings.vars)}
	word := "NAMES "
	if a.Name != "names" {
		word = "CHARACTER SET "
	}
	switch {
	case a.Value.Kind == sqlast.Default || strings.EqualFold(string(a.Value.Text), "default"):
		next.names = word + "DEFAULT"
	case a.Value.Kind == sqlast.String:
		next.names = word + a.Value.SQL
	default:
		next.names = word + a.Expr
	}
	if charset := strings.ToLower(strings.Trim(string(a.Value.Text), "'\"")); trickyCharsets[charset] {
		return unsupported("%s: the second byte of a character may look like a quote or a backslash, and a gate must read statements to place them", charset)
	}
	next.render()
	return s.try(ctx, "SET "+next.names, next)
}

// assignNextTx is SET TRANSACTION without SESSION: it counts for the next transaction only.
func (s *session) assignNextTx(a sqlast.Assign) error {
	if s.txn.open {
		return mysqlproto.Error(mysql.ER_CANT_CHANGE_TX_CHARACTERISTICS, "25001", "Transaction characteristics can't be changed while a transaction is in progress")
	}
	value := strings.ToUpper(strings.ReplaceAll(strings.Trim(a.Expr, "'"), "-", " "))
	switch a.Name {
	case "transaction_isolation", "tx_isolation":
		s.txn.next = append(s.txn.next, "SET TRANSACTION ISOLATION LEVEL "+value)
	case "transaction_read_only", "tx_read_only":
		mode := "READ WRITE"
		if value == "ON" || value == "1" || value == "TRUE" || value == "READ ONLY" {
			mode = "READ ONLY"
		}
		s.txn.next = append(s.txn.next, "SET TRANSACTION "+mode)
	default:
		return s.unknownVariable(a.Name)
	}
	return nil
}

func (s *session) unknownVariable(name string) error {
	return mysqlproto.Error(mysql.ER_UNKNOWN_SYSTEM_VARIABLE, "HY000", fmt.Sprintf("Unknown system variable '%s'", name))
}

// setAutocommit is SET autocommit. Switching it on commits what is open, as in MySQL.
func (s *session) setAutocommit(ctx context.Context, a sqlast.Assign) error {
	on := false
	switch strings.ToUpper(string(a.Value.Text)) {
	case "1", "ON", "TRUE":
		on = true
	case "0", "OFF", "FALSE":
	default:
		if a.Value.Kind != sqlast.Default {
			return wrongValue(a)
		}
		on = true
	}
	if on && s.c.Status&mysql.SERVER_STATUS_AUTOCOMMIT == 0 {
		if err := s.commit(ctx); err != nil {
			return err
		}
	}
	if on {
		s.c.Status |= mysql.SERVER_STATUS_AUTOCOMMIT
	} else {
		s.c.Status &^= mysql.SERVER_STATUS_AUTOCOMMIT
	}
	return nil
}

func (s *session) autocommit() bool { return s.c.Status&mysql.SERVER_STATUS_AUTOCOMMIT != 0 }

// evaluate computes expressions without tables at a server, with the session's settings, and returns them as literals.
func (s *session) evaluate(ctx context.Context, exprs []string) ([]string, error) {
	sql := sqlast.Parse("SELECT " + strings.Join(exprs, ", ")).Substitute(s.known()).SQL
	var out []string
	err := s.held(ctx, func() error {
		b, err := s.anyBackend(ctx)
		if err != nil {
			return err
		}
		if b == nil {
			return errs.New(errs.NoPrimary, nil, "an expression cannot be computed: there is no keyspace yet")
		}
		cols, rows, err := b.Query(ctx, string(tagged(nil, s.g.deps.Cache.Routing().Epoch, false, b.dest, nil, sql)))
		if err != nil {
			return s.failed(b, refusedOrErr(err), false)
		}
		out = nil
		for i, cell := range rows[0] {
			out = append(out, asLiteral(cols[i], cell))
		}
		return nil
	})
	return out, err
}

// asLiteral writes a computed value as SQL.
func asLiteral(c mysqlproto.Column, cell []byte) string {
	switch {
	case cell == nil:
		return "NULL"
	case c.Type == mysql.MYSQL_TYPE_LONGLONG || c.Type == mysql.MYSQL_TYPE_LONG || c.Type == mysql.MYSQL_TYPE_NEWDECIMAL || c.Type == mysql.MYSQL_TYPE_TINY || c.Type == mysql.MYSQL_TYPE_SHORT || c.Type == mysql.MYSQL_TYPE_INT24:
		return string(cell)
	case c.Type == mysql.MYSQL_TYPE_DOUBLE || c.Type == mysql.MYSQL_TYPE_FLOAT:
		if f, err := strconv.ParseFloat(string(cell), 64); err == nil {
			return strconv.FormatFloat(f, 'e', -1, 64)
		}
	}
	return quote(string(cell))
}

// quote writes a string literal.
func quote(s string) string {
	var b strings.Builder
	b.WriteByte('\'')
	for i := range len(s) {
		switch c := s[i]; c {
		case '\'', '\\':
			b.WriteByte('\\')
			b.WriteByte(c)
		case 0:
			b.WriteString(`\0`)
		default:
			b.WriteByte(c)
		}
	}
	b.WriteByte('\'')
	return b.String()
}
