package binlog

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Name is an object that a DDL statement names, and where in its text.
type Name struct {
	Object
	Reference bool // it is looked at, not changed: the parent of a foreign key, the model of CREATE TABLE … LIKE
	from, to  int
}

// DDLNames lists the objects of a DDL statement, in the order of the text. db is its default database, settings those of its session. Of a statement that is
// no DDL, or none that concerns tables, it returns none.
func DDLNames(sql, db string, settings []byte) []Name {
	d := dialectOf(settings)
	l := &lexer{s: sql, dialect: d, record: true}
	st := classifyDDL(l.word(), l, db)
	if st.kind != stmtDDL {
		return nil
	}
	names := l.names
	if len(names) == 0 && len(st.objects) == 1 && st.objects[0].Table == "" { // ALTER DATABASE without a name
		return []Name{{Object: st.objects[0], from: -1, to: -1}}
	}
	names = append(names, references(sql, d, names)...)
	slices.SortFunc(names, func(a, b Name) int { return cmp.Compare(a.from, b.from) })
	return slices.CompactFunc(names, func(a, b Name) bool { return a.from == b.from })
}

// references are the names behind REFERENCES, and behind the LIKE that follows a new table's name. Without a database they are in that
// of the table.
func references(sql string, d dialect, changed []Name) (found []Name) {
	if len(changed) == 0 {
		return nil
	}
	l := &lexer{s: sql, dialect: d, record: true}
	verb := l.word()
	for {
		tok, ok := l.token()
		if !ok {
			return found
		}
		behind := l.last >= changed[0].to // LIKE must be the first word behind the name
		if l.quoted || !strings.EqualFold(tok, "REFERENCES") && !(verb == "CREATE" && strings.EqualFold(tok, "LIKE") && behind && first(sql[changed[0].to:l.last])) {
			continue
		}
		l.names = nil
		l.name(changed[0].DB)
		for _, n := range l.names {
			n.Reference = true
			found = append(found, n)
		}
	}
}

// first says that nothing but space and a parenthesis stand in s.
func first(s string) bool { return strings.Trim(s, " \t\r\n(") == "" }

// Retarget rewrites a DDL statement for other names. place is asked for each of its names, in their order.
func Retarget(sql string, names []Name, place func(Name) Object) string {
	var b strings.Builder
	at := 0
	for _, n := range names {
		if n.from < 0 {
			continue
		}
		o := place(n)
		b.WriteString(sql[at:n.from])
		b.WriteString(quoteName(o.DB))
		if o.Table != "" {
			b.WriteString("." + quoteName(o.Table))
		}
		at = n.to
	}
	b.WriteString(sql[at:])
	return b.String()
}

func quoteName(s string) string { return "`" + strings.ReplaceAll(s, "`", "``") + "`" }

// WithoutRows is the statement of a CREATE TABLE … SELECT without its last words, START TRANSACTION, which say that rows follow.
func WithoutRows(sql string, settings []byte) string {
	if !endsWithStartTransaction(sql) {
		return sql
	}
	l := &lexer{s: sql, dialect: dialectOf(settings)}
	at := len(sql)
	for tok, ok := l.token(); ok; tok, ok = l.token() {
		if !l.quoted && strings.EqualFold(tok, "START") {
			at = l.last
		}
	}
	return strings.TrimSpace(sql[:at])
}

// DropTables is DROP TABLE IF EXISTS for some of the tables that a DROP TABLE names.
func DropTables(objects []Object) string {
	names := make([]string, len(objects))
	for i, o := range objects {
		names[i] = quoteName(o.DB) + "." + quoteName(o.Table)
	}
	return fmt.Sprintf("DROP TABLE IF EXISTS %s", strings.Join(names, ", "))
}

// RenameTables is RENAME TABLE: objects are an old name, its new one, and so on.
func RenameTables(objects []Object) string {
	var sql strings.Builder
	for i, o := range objects {
		sql.WriteString([...]string{", ", " TO "}[i%2] + quoteName(o.DB) + "." + quoteName(o.Table))
	}
	return "RENAME TABLE " + sql.String()[2:]
}

// NumbersRows says that a statement adds a column with AUTO_INCREMENT: rows that are there get numbers, in the order of the table's key or, if it has
// none, in one that no two servers share. changed are columns that it gives AUTO_INCREMENT: rows get numbers that have 0 or NULL there.
func NumbersRows(sql string, settings []byte) (added bool, changed []string) {
	l := &lexer{s: sql, dialect: dialectOf(settings)}
	if l.word() != "ALTER" {
		return false, nil
	}
	clause, column, before, depth := "", "", "", 0
	numbered := func() {
		switch {
		case clause == "ADD":
			added = true
		case column != "":
			changed = append(changed, column)
			clause = ""
		}
	}
	for {
		tok, ok := l.token()
		if !ok {
			return added, changed
		}
		w := strings.ToUpper(tok)
		if l.quoted {
			w = ""
		}
		switch w {
		case "(":
			depth++
		case ")":
			depth--
		case ",":
			if depth == 0 {
				clause, column = "", "" // else another column of ADD (…)
			}
		case "ADD", "MODIFY", "CHANGE":
			clause, column = w, ""
			before = w
			continue
		case "AUTO_INCREMENT":
			numbered()
		case "SERIAL": // a type that is AUTO_INCREMENT, or somebody's name
			if !slices.Contains(nameFollows, before) {
				numbered()
			}
		}
		if column == "" && w != "COLUMN" && (clause == "MODIFY" || clause == "CHANGE") {
			column = tok
		}
		before = w
	}
}

// nameFollows are words behind which SERIAL is a name.
var nameFollows = []string{"ADD", "COLUMN", "(", ",", "INDEX", "KEY", "AFTER", "UNIQUE", "CONSTRAINT", "FULLTEXT", "SPATIAL", "EXISTS"}
