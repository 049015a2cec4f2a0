package schema

import (
	"fmt"
	"slices"
	"strings"

	"braid/internal/sqlconn"
)

// Rename is the table's CREATE statement for another place. parent finds the place of a foreign key's parent; a key for which it says false is left
// out. The statement is to be run with foreign_key_checks=0, and under NAMES utf8mb4.
func Rename(t *Table, db, name string, parent func(db, name string) (toDB, toName string, ok bool)) (string, error) {
	head, items, tail, err := splitCreate(t.CreateStatement)
	if err != nil {
		return "", err
	}
	at := strings.IndexByte(head, '`')
	if at < 0 {
		return "", fmt.Errorf("%w: %.60q", errStatement, head)
	}
	head = head[:at] + sqlconn.QuoteIdent(db) + "." + sqlconn.QuoteIdent(name) + head[at+identLength(head[at:]):]
	var kept []string
	for _, item := range items {
		if itemKind(strings.TrimSpace(item)) != itemForeignKey {
			kept = append(kept, item)
			continue
		}
		key := t.foreignKey(itemName(item))
		if key == nil {
			return "", fmt.Errorf("foreign key %s of %s.%s is not among those that were loaded", itemName(item), t.DB, t.Name)
		}
		toDB, toName, ok := parent(key.RefDB, key.RefTable)
		if !ok {
			continue
		}
		if item, err = refer(item, toDB, toName); err != nil {
			return "", err
		}
		kept = append(kept, item)
	}
	last := len(kept) - 1
	if last < 0 {
		return "", errStatement
	}
	kept[last] = strings.TrimRight(kept[last], " \n") + "\n"
	return head + strings.Join(kept, ",") + tail, nil
}

func (t *Table) foreignKey(name string) *ForeignKey {
	i := slices.IndexFunc(t.ForeignKeys, func(k ForeignKey) bool { return equalName(k.Name, name) })
	if i < 0 {
		return nil
	}
	return &t.ForeignKeys[i]
}

// refer gives a foreign key another parent.
func refer(item, db, name string) (string, error) {
	const word = " REFERENCES "
	at := indexOutsideQuotes(item, word)
	if at < 0 {
		return "", fmt.Errorf("%w: %.60q", errStatement, item)
	}
	at += len(word)
	end := at + identLength(item[at:])
	if end < len(item) && item[end] == '.' {
		end++
		end += identLength(item[end:])
	}
	return item[:at] + sqlconn.QuoteIdent(db) + "." + sqlconn.QuoteIdent(name) + item[end:], nil
}
