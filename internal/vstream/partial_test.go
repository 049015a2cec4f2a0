package vstream

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"braid/internal/filter"
)

// TestPartialJSON: a source that logs differences of JSON documents is a source like any other, for a stream that takes every row and for
// one that takes a key range.
func TestPartialJSON(t *testing.T) {
	srv := sharedServer(t)
	for _, sql := range []string{"SET NAMES utf8mb4", "SET GLOBAL binlog_row_value_options=PARTIAL_JSON", "SET SESSION binlog_row_value_options=PARTIAL_JSON"} {
		srv.exec(sql)
	}
	defer srv.exec("SET GLOBAL binlog_row_value_options=''") // the server is shared
	srv.exec("CREATE TABLE doc (id INT PRIMARY KEY, j JSON, note JSON)")
	from := srv.executed()
	for id := range 60 {
		srv.exec(fmt.Sprintf(`INSERT INTO doc VALUES (%d, '{"a": [1, 2, {"b": "some text"}], "n": 0}', '[1.50]')`, id))
	}
	for i, change := range []string{"JSON_SET(j, '$.a[2].b', 'other', '$.n', id)", "JSON_REMOVE(JSON_SET(j, '$.a[3]', CAST(2.50 AS DECIMAL(5,2))), '$.a[0]')",
		"JSON_REPLACE(j, '$.a[last]', JSON_ARRAY(CURRENT_DATE))"} {
		srv.exec(fmt.Sprintf("UPDATE doc SET j = %s WHERE id %% 5 < %d", change, 4-i))
	}
	srv.exec("UPDATE doc SET id = id + 1000, note = JSON_SET(note, '$[0]', 1) WHERE id % 4 = 0")
	srv.exec("DELETE FROM doc WHERE id % 11 = 0")
	whole := srv.contents("doc")
	parts := map[string]string{}
	for _, keyRange := range []string{"", "-40", "40-80", "80-"} {
		rule := filter.Rule{Table: "doc"}
		if keyRange != "" {
			rule = filter.Rule{Table: "doc", KeyRange: keyRange, Vindex: "hash", VindexColumns: []string{"id"}}
		}
		c := newCopier(t, 10)
		c.open(srv.local(), Start{Position: from.String(), Rules: filter.Rules{Rules: []filter.Rule{rule}}})
		c.follow(srv.executed())
		have := c.byName["doc"].contents()
		if keyRange == "" {
			require.Equal(t, whole, have)
			continue
		}
		require.NotEmpty(t, have)
		for key, row := range have {
			require.NotContains(t, parts, key)
			parts[key] = row
		}
	}
	require.Equal(t, whole, parts)
}
