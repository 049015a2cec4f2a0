package storm

import (
	"encoding/json"
	"fmt"
	"strings"
)

// Op is what a DDL does to rows.
type Op string

// The operations.
const (
	OpCreate   Op = "create"
	OpDrop     Op = "drop"
	OpTruncate Op = "truncate"
	OpRename   Op = "rename"
	OpColumns  Op = "columns"
	OpNothing  Op = "nothing" // to rows: indexes, rebuilds
)

// Change says what a DDL does to rows, for a model that cannot run SQL. It stands in the statement as a comment, and so in the binlog.
type Change struct {
	Op      Op                 `json:"op"`
	Table   Name               `json:"table"`
	Renames [][2]Name          `json:"renames,omitempty"` // old and new names, one after the other
	Columns []string           `json:"columns,omitempty"` // all columns afterwards, in order; of OpCreate and OpColumns
	Renamed map[string]string  `json:"renamed,omitempty"` // columns: new name to old name
	Fill    map[string]*string `json:"fill,omitempty"`    // cells of columns that were added; nil is NULL
}

const mark = "storm "

// annotate puts the change into a statement. In front, because a server may cut comments off the end.
func annotate(sql string, c Change) string {
	text, err := json.Marshal(c)
	if err != nil {
		panic(err) // strings and maps of strings
	}
	verb, rest, _ := strings.Cut(sql, " ")
	return fmt.Sprintf("%s /* %s%s */ %s", verb, mark, text, rest)
}

// ParseChange finds the change in a statement. There is none in those that the server rewrites: CREATE TABLE … SELECT, DROP TABLE.
func ParseChange(sql string) (c Change, found bool, err error) {
	_, rest, found := strings.Cut(sql, "/* "+mark)
	if !found {
		return Change{}, false, nil
	}
	text, _, _ := strings.Cut(rest, " */")
	return c, true, json.Unmarshal([]byte(text), &c)
}
