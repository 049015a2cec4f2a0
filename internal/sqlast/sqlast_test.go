package sqlast

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestItemNamesAreThoseOfMySQL(t *testing.T) {
	for sql, want := range map[string][]string{
		"SELECT COUNT(*) FROM t": {"COUNT(*)"},
		"select a, b+1 , concat(a, 'from x')  from t where a in (1,2)": {"a", "b+1", "concat(a, 'from x')"},
		"SELECT DISTINCT a+1, (SELECT MAX(x) FROM u) FROM t":           {"a+1", "(SELECT MAX(x) FROM u)"},
		"SELECT 1":                       {"1"},
		"/* c */ SELECT NOW(), 'a,b'":    {"NOW()", "'a,b'"},
		"SELECT a `from`, b FROM t":      {"from", "b"},
		"(SELECT Sum(a) FROM t) LIMIT 1": {"Sum(a)"},
		"SELECT t.*, Max(b) FROM t":      {"", "Max(b)"},
		"SELECT a AS x, `limit` FROM t":  {"x", "limit"},
	} {
		q, ok := Parse(sql).Query()
		require.True(t, ok, sql)
		var got []string
		for _, i := range q.Items {
			got = append(got, i.Name)
		}
		require.Equal(t, want, got, sql)
	}
}

func TestKinds(t *testing.T) {
	for sql, want := range map[string]Kind{
		"select next value from seq": NextVal, "select next 5 values from commerce.seq": NextVal,
		"SET NAMES utf8mb4": Set, "set autocommit=0": Set, "/*!40101 SET NAMES utf8 */": Set, "": Empty, "-- x": Empty,
		"start transaction with consistent snapshot": Begin, "rollback to savepoint a": RollbackTo, "create user x": Privilege,
		"create database x": Database, "truncate table t": DDL, "explain select 1": Explain, "desc t": Describe,
		"show vitess_shards": Show, "SHOW VREPLICATION STREAMS": Show, "use `customer/-80`": Use, "USE customer:-80@replica": Use,
		"kill query 5": Kill, "call p()": Call, "(select 1) union select 2": Select, "flush tables": Flush,
		"select 1 from x where": Select,
	} {
		require.Equal(t, want, Parse(sql).Kind, sql)
	}
	require.Equal(t, "customer:-80@replica", Parse("USE customer:-80@replica;").UseTarget())
	require.Equal(t, "customer/-80", Parse("use `customer/-80`").UseTarget())
}

func TestSplit(t *testing.T) {
	got, err := Split("select ';'; insert into t values (1) ; ")
	require.NoError(t, err)
	require.Equal(t, []string{"select ';'", " insert into t values (1)"}, got)
}

func TestRequalify(t *testing.T) {
	s := Parse("SELECT commerce.customer.email, COUNT(*) FROM commerce.customer c JOIN other.x ON commerce.customer.id = x.id")
	got, ok := s.Requalify(func(ks, table string) string {
		if ks == "commerce" && table == "customer" {
			return "customer"
		}
		return ks
	})
	require.True(t, ok)
	require.Equal(t, "select customer.customer.email, COUNT(*) as `COUNT(*)` from customer.customer as c join other.x on customer.customer.id = x.id", lowerCount(got))
	same, _ := s.Requalify(func(ks, _ string) string { return ks })
	require.Equal(t, s.SQL, same)
}

func lowerCount(s string) string {
	const from, to = "count(*) as", "COUNT(*) as"
	for i := 0; i+len(from) <= len(s); i++ {
		if s[i:i+len(from)] == from {
			return s[:i] + to + s[i+len(from):]
		}
	}
	return s
}

func TestBlocks(t *testing.T) {
	s := Parse(`SELECT * FROM customer c LEFT JOIN corder o ON o.customer_id = c.customer_id AND o.price = 3
		WHERE c.customer_id IN (1,2) AND EXISTS (SELECT 1 FROM x WHERE x.id = c.customer_id) AND c.a IN (SELECT b FROM y)`)
	blocks, ok := s.Blocks()
	require.True(t, ok)
	require.Len(t, blocks, 3)
	require.Len(t, blocks[0].Sources, 2)
	require.Len(t, blocks[0].Fixed, 1, "a value in ON of an outer join does not restrict the rows")
	require.Equal(t, []byte("2"), blocks[0].Fixed[0].Values[1].Text)
	require.Len(t, blocks[0].Equal, 2)
	require.Equal(t, 0, blocks[1].Parent)
}

func TestSubstitute(t *testing.T) {
	db := "commerce"
	s := Parse("SELECT LAST_INSERT_ID(), database(), Connection_Id()").Substitute(SessionValues{LastInsertID: 7, ConnectionID: 9, Database: &db})
	require.Equal(t, "select 7 as `LAST_INSERT_ID()`, 'commerce' as `database()`, 9 as `Connection_Id()` from dual", s.SQL)
}
