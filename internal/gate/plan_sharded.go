package gate

import (
	"fmt"
	"slices"
	"strings"

	"github.com/go-mysql-org/go-mysql/mysql"

	"braid/internal/mysqlproto"
	"braid/internal/rowimage"
	"braid/internal/sqlast"
	"braid/internal/vschema"
)

func noSuchTable(keyspace, table string) error {
	return mysqlproto.Error(mysql.ER_NO_SUCH_TABLE, "42S02", fmt.Sprintf("Table '%s.%s' doesn't exist in the VSchema of this sharded keyspace", keyspace, table))
}

// planSharded plans a statement on tables of a sharded keyspace.
func (p *planner) planSharded(pl *plan, s *sqlast.Statement, keyspace string) error {
	switch s.Kind {
	case sqlast.Insert:
		return p.planInsert(pl, s, keyspace)
	case sqlast.Update:
		return p.planUpdate(pl, s, keyspace)
	case sqlast.Delete:
		return p.planDelete(pl, s, keyspace)
	case sqlast.Select:
		return p.planSelect(pl, s, keyspace)
	case sqlast.DDL:
		return p.everywhere(pl, keyspace, s.SQL)
	case sqlast.Show, sqlast.Describe, sqlast.Explain:
		return p.planAnyShard(pl, s, keyspace)
	}
	return unsupported("this statement is not done across shards; send it to each shard with USE `%s/shard`", keyspace)
}

// planAnyShard asks one shard what all would answer alike: definitions, and how a statement would run.
func (p *planner) planAnyShard(pl *plan, s *sqlast.Statement, keyspace string) error {
	shards, err := p.shards(keyspace, p.scope.typ)
	if err != nil {
		return err
	}
	shard := shards[0]
	if inner, ok := s.Inner(); ok {
		if r, err := p.router(inner, keyspace); err == nil {
			if rt, err := r.route(); err == nil && len(rt.shards) > 0 {
				shard = rt.shards[0]
			}
		}
	}
	pl.parts = []part{{dest{keyspace, shard, p.scope.typ}, s.SQL}}
	return nil
}

func (p *planner) planDelete(pl *plan, s *sqlast.Statement, keyspace string) error {
	v, ok := s.Delete()
	if !ok {
		return unsupported("syntax that is not known for sharded keyspaces: %v", s.Err)
	}
	return p.planWrite(pl, s, keyspace, v.HasLimit)
}

// planWrite sends an UPDATE or DELETE to the shards that may have matching rows.
func (p *planner) planWrite(pl *plan, s *sqlast.Statement, keyspace string, limited bool) error {
	r, err := p.router(s, keyspace)
	if err != nil {
		return err
	}
	rt, err := r.route()
	if err != nil {
		return err
	}
	if !rt.local {
		return unsupported("the statement ties together rows of different shards; bind its tables by their sharding columns")
	}
	if rt.reads {
		pl.copies = true
		return p.everywhere(pl, keyspace, s.SQL) // a reference table
	}
	if limited && len(rt.shards) > 1 {
		return unsupported("LIMIT in a write that goes to several shards; restrict it by the sharding column")
	}
	for _, shard := range rt.shards {
		pl.parts = append(pl.parts, part{dest{keyspace, shard, p.scope.typ}, s.SQL})
	}
	return nil
}

func (p *planner) planUpdate(pl *plan, s *sqlast.Statement, keyspace string) error {
	v, ok := s.Update()
	if !ok {
		return unsupported("syntax that is not known for sharded keyspaces: %v", s.Err)
	}
	if err := p.planWrite(pl, s, keyspace, v.HasLimit); err != nil {
		return err
	}
	r, err := p.router(s, keyspace)
	if err != nil {
		return err
	}
	for _, a := range v.Assignments {
		i := r.shardingSource(a.Column)
		if i < 0 || r.sources[i].block != 0 {
			continue
		}
		if !v.Single || v.With {
			return unsupported("an UPDATE of several tables cannot change the sharding column %s", a.Column.Name)
		}
		return p.planMove(pl, s, v, r.sources[i], a.Value, keyspace)
	}
	return nil
}

// planMove turns an UPDATE of the sharding column into a move, unless all rows stay where they are.
func (p *planner) planMove(pl *plan, s *sqlast.Statement, v *sqlast.UpdateView, src source, to value, keyspace string) error {
	if !to.Constant() || to.Kind == sqlast.Null {
		return unsupported("the sharding column %s can only be set to a value that is known beforehand", src.column)
	}
	// Exactly the rows that are moved have the new value where they are taken from: the move finds them by it.
	id, ok, err := p.keyspaceID(keyspace, src.Name, src.column, src.fn, to)
	if err != nil {
		return err
	}
	if !ok {
		return unsupported("the sharding column %s cannot be set to %s: its shard is not certain", src.column, to.SQL)
	}
	shard, err := p.shardOf(keyspace, p.scope.typ, id)
	if err != nil {
		return err
	}
	if len(pl.parts) == 1 && pl.parts[0].dest.shard == shard {
		return nil
	}
	if v.HasLimit || v.Ordered {
		return unsupported("an UPDATE of the sharding column %s that moves rows takes no ORDER BY and no LIMIT", src.column)
	}
	t, err := p.columns(keyspace, src.Name)
	if err != nil {
		return err
	}
	if len(t.PrimaryKey) == 0 {
		return unsupported("rows of %s.%s cannot move between shards: it has no primary key", keyspace, src.Name)
	}
	for _, a := range v.Assignments {
		if i := t.Column(a.Column.Name); slices.Contains(t.PrimaryKey, i) && !strings.EqualFold(a.Column.Name, src.column) {
			return unsupported("an UPDATE that moves rows cannot change the primary key column %s too", a.Column.Name)
		}
	}
	if i := t.Column(src.column); slices.Contains(t.PrimaryKey, i) {
		return unsupported("the sharding column %s is part of the primary key: delete the row and insert it anew", src.column)
	}
	col, err := p.column(keyspace, src.Name, src.column)
	if err != nil {
		return err
	}
	cell, _, err := p.cell(keyspace, src.Name, src.column, src.fn, to)
	if err != nil {
		return err
	}
	pl.move = &rowMove{table: t, column: col.Name, value: string(rowimage.AppendLiteral(nil, col, cell)), to: dest{keyspace, shard, p.scope.typ}}
	return nil
}

// keyspaceIDForWrite maps a value that is written. It need not be exact, only certain: what is stored must be known.
func (p *planner) keyspaceIDForWrite(keyspace, table, column string, v value) ([]byte, bool, error) {
	fn, _, _ := p.vschemas[keyspace].PrimaryVindex(table)
	cell, exact, err := p.cell(keyspace, table, column, fn, v)
	switch {
	case err != nil:
		return nil, false, err
	case exact || cell != nil:
	case v.Kind == sqlast.Integer:
		cell = v.Text // a number in a text column is stored as it is printed
	default:
		return nil, false, nil
	}
	id, err := fn.Map([][]byte{cell})
	if err != nil {
		return nil, false, mysqlproto.Error(mysql.ER_TRUNCATED_WRONG_VALUE_FOR_FIELD, "HY000", fmt.Sprintf("Incorrect value for column '%s' of table '%s' (vindex %s): %v", column, table, fn.Type(), err))
	}
	return id, true, nil
}

// planInsert splits an INSERT by row.
func (p *planner) planInsert(pl *plan, s *sqlast.Statement, keyspace string) error {
	v, ok := s.Insert()
	if !ok {
		return unsupported("syntax that is not known for sharded keyspaces: %v", s.Err)
	}
	t := p.vschemas[keyspace].Table(v.Table.Name)
	switch {
	case t == nil:
		return noSuchTable(keyspace, v.Table.Name)
	case t.Type == vschema.TypeReference:
		pl.copies = true
		return p.everywhere(pl, keyspace, s.SQL)
	case v.FromSelect:
		return unsupported("INSERT … SELECT into a sharded table; read the rows and insert them")
	}
	if err := p.nameColumns(v, keyspace); err != nil {
		return err
	}
	if _, err := p.fillSequence(pl, v, keyspace); err != nil {
		return err
	}
	fn, columns, ok := p.vschemas[keyspace].PrimaryVindex(v.Table.Name)
	if !ok || len(columns) != 1 {
		return unsupported("table %s.%s has no vindex of one column", keyspace, v.Table.Name)
	}
	if slices.ContainsFunc(v.Updates, func(c string) bool { return strings.EqualFold(c, columns[0]) }) {
		return unsupported("ON DUPLICATE KEY UPDATE cannot change the sharding column %s", columns[0])
	}
	at := v.Column(columns[0])
	if at < 0 {
		return unsupported("INSERT into %s.%s needs a value for the sharding column %s (vindex %s)", keyspace, v.Table.Name, columns[0], fn.Type())
	}
	if err := p.computeCells(v, at); err != nil {
		return err
	}
	rows := map[string][]int{}
	for i, row := range v.Rows {
		shard, err := p.shardOfRow(keyspace, v.Table.Name, columns[0], row[at])
		if err != nil {
			return err
		}
		rows[shard] = append(rows[shard], i)
	}
	for _, shard := range sortedKeys(rows) {
		pl.parts = append(pl.parts, part{dest{keyspace, shard, p.scope.typ}, v.SQL(rows[shard])})
	}
	return nil
}

func (p *planner) shardOfRow(keyspace, table, column string, v value) (string, error) {
	if v.Kind == sqlast.Null || v.Kind == sqlast.Default {
		return "", mysqlproto.Error(mysql.ER_BAD_NULL_ERROR, "23000", fmt.Sprintf("Column '%s' cannot be null: it decides the row's shard", column))
	}
	id, ok, err := p.keyspaceIDForWrite(keyspace, table, column, v)
	if err != nil {
		return "", err
	}
	if !ok {
		return "", unsupported("the shard of a row with %s = %s is not certain; write the value as the column stores it", column, v.SQL)
	}
	return p.shardOf(keyspace, p.scope.typ, id)
}

// nameColumns gives an INSERT without a column list the list that the table has.
func (p *planner) nameColumns(v *sqlast.InsertView, keyspace string) error {
	if len(v.Columns) == 0 {
		t, err := p.columns(keyspace, v.Table.Name)
		if err != nil {
			return err
		}
		var names []string
		for _, c := range t.Columns {
			if !c.Invisible {
				names = append(names, c.Name)
			}
		}
		v.SetColumns(names)
	}
	for i, row := range v.Rows {
		if len(row) != len(v.Columns) {
			return mysqlproto.Error(mysql.ER_WRONG_VALUE_COUNT_ON_ROW, "21S01", fmt.Sprintf("Column count doesn't match value count at row %d", i+1))
		}
	}
	return nil
}

// computeCells replaces expressions in the sharding column by their values.
func (p *planner) computeCells(v *sqlast.InsertView, at int) error {
	var exprs []string
	var rows []int
	for i, row := range v.Rows {
		if row[at].Kind == sqlast.Expression {
			exprs, rows = append(exprs, row[at].SQL), append(rows, i)
		}
	}
	if len(exprs) == 0 {
		return nil
	}
	values, err := p.evaluate(exprs)
	if err != nil {
		return err
	}
	for i, row := range rows {
		if err := v.SetExpr(row, at, values[i]); err != nil {
			return fmt.Errorf("value of %s: %w", exprs[i], err)
		}
	}
	return nil
}

// fillSequence gives values of the table's sequence to rows that have none. changed says whether the view was.
func (p *planner) fillSequence(pl *plan, v *sqlast.InsertView, keyspace string) (changed bool, err error) {
	auto := p.vschemas[keyspace].Sequence(v.Table.Name)
	if auto == nil {
		return false, nil
	}
	if err := p.nameColumns(v, keyspace); err != nil {
		return false, err
	}
	at := v.Column(auto.Column)
	var rows []int
	for i, row := range v.Rows {
		if at < 0 || wantsValue(row[at]) {
			rows = append(rows, i)
		}
	}
	if len(rows) == 0 {
		return false, nil
	}
	if at < 0 {
		at = v.AddColumn(auto.Column)
	}
	ks, table := auto.Split()
	first, err := p.sequence(sqlast.Table{Keyspace: ks, Name: table}, uint64(len(rows)))
	if err != nil {
		return false, err
	}
	for i, row := range rows {
		v.SetUint(row, at, first+uint64(i))
	}
	pl.firstID = first
	return true, nil
}

// wantsValue says whether a cell asks for a generated value, as AUTO_INCREMENT has it.
func wantsValue(v value) bool {
	switch v.Kind {
	case sqlast.Null, sqlast.Default:
		return true
	case sqlast.Integer:
		n, ok := v.Uint()
		return ok && n == 0
	}
	return false
}
