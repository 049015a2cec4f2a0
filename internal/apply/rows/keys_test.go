package rows

import (
	"fmt"
	"strings"
	"testing"
)

// Rows are found by their keys, of every type that a key can have, in front of another column and behind one: many at once, updated, moved, deleted.
func TestKeysOfEveryType(t *testing.T) {
	words := []string{"'a'", "'A1'", "'ä2'", "''", "'x '", "'x3  '", "'日本'", "'😀'", "'a\\0'", "'b\\t'", "'\\t'", "'\\''", "'ß'"}
	keys := []struct {
		typ    string
		values []string
	}{
		{"ENUM('z','y','x','ü','w')", []string{"1", "2", "4"}},
		{"SET('a','b','c')", []string{"0", "1", "5", "7"}},
		{"VARCHAR(20) CHARACTER SET utf8mb4 COLLATE utf8mb4_0900_ai_ci", words},
		{"VARCHAR(20) CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci", words},
		{"CHAR(20) CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_ci", words},
		{"VARCHAR(20) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin", words},
		{"VARCHAR(20) CHARACTER SET utf16", words},
		{"VARCHAR(20) CHARACTER SET latin1", []string{"'a'", "'ä'", "'x '", "'\\t'", "'\\0'", "''"}},
		{"VARBINARY(6)", []string{"X'3100'", "X'31'", "''", "X'00'", "X'FF09'"}},
		{"BINARY(4)", []string{"X'3100'", "X'32'", "''", "X'FF09'"}},
		{"DECIMAL(30,20)", []string{"1.12345678901234567890", "1.12345678901234567891", "-1.12345678901234567890"}},
		{"DATETIME(3)", []string{"'2024-01-01 00:01:00.001'", "'2024-01-01 00:01:00'", "'0000-00-00 00:00:00'"}},
		{"TIMESTAMP(6)", []string{"'2024-01-01 00:01:00.001'", "'2024-01-01 00:01:00'"}},
		{"DATE", []string{"'2024-01-01'", "'2024-02-00'", "'0000-00-00'"}},
		{"TIME(2)", []string{"'-01:00:05.5'", "'01:00:05.5'", "'838:59:59'"}},
		{"YEAR", []string{"2024", "0", "1901"}},
		{"FLOAT", []string{"1.1", "-0.5", "3e10", "0"}},
		{"DOUBLE", []string{"1.1", "-0.5", "3e300", "0"}},
		{"BIT(64)", []string{"18446744073709551615", "18446744073709551614", "0"}},
		{"BIGINT UNSIGNED", []string{"18446744073709551615", "18446744073709551614", "9007199254740993"}},
		{"BIGINT", []string{"-9223372036854775808", "9007199254740993", "9007199254740992"}},
	}
	s := newSite(t)
	s.exec("SET SESSION sql_mode=''")
	var fill, change []string
	for i, key := range keys {
		name := fmt.Sprintf("t%d", i)
		s.exec(fmt.Sprintf("CREATE TABLE %s (n INT, l %s NOT NULL, k INT, PRIMARY KEY (l, k), KEY k (k))", name, key.typ))
		for k := range 3 { // in one statement each, so that there are many keys in one row event
			rows := make([]string, len(key.values))
			for j, v := range key.values {
				rows[j] = fmt.Sprintf("(%d, %s, %d)", j, v, k*100+j)
			}
			fill = append(fill, "INSERT INTO "+name+" VALUES "+strings.Join(rows, ", "))
		}
		change = append(change, "UPDATE "+name+" SET n=n+1 WHERE k<100", "UPDATE "+name+" SET k=k+1000 WHERE k>=200", "DELETE FROM "+name+" WHERE k BETWEEN 100 AND 199")
	}
	s.exec(fill...)
	s.everyWay(t, func() { s.exec(change...) })
}
