package schema

import (
	"fmt"
	"slices"
	"strings"
)

// Differences lists everything that differs between the table as it is wanted, a, and as it is, b: what Compare lists, and defaults, the
// visibility of columns, all indexes, foreign keys, checks and partitions. AUTO_INCREMENT may differ: a shard takes its ids from a sequence.
func Differences(a, b *Table) []Difference {
	diffs := Compare(a, b)
	for i := range a.Columns {
		want := &a.Columns[i]
		if j := b.Column(want.Name); j >= 0 {
			have := &b.Columns[j]
			diffs = addIf(diffs, want.Name, "default", text(want.Default), text(have.Default))
			diffs = addIf(diffs, want.Name, "visible", fmt.Sprint(!want.Invisible), fmt.Sprint(!have.Invisible))
		}
	}
	diffs = append(diffs, named("index", a.indexTexts(), b.indexTexts())...)
	diffs = append(diffs, named("foreign key", a.foreignKeyTexts(), b.foreignKeyTexts())...)
	checksA, partitionsA := a.rest()
	checksB, partitionsB := b.rest()
	diffs = append(diffs, named("check", checksA, checksB)...)
	return addIf(diffs, "", "partitions", partitionsA, partitionsB)
}

func addIf(diffs []Difference, column, what, a, b string) []Difference {
	if a == b {
		return diffs
	}
	return append(diffs, Difference{column, what, a, b})
}

func text(s *string) string {
	if s == nil {
		return ""
	}
	return "'" + *s + "'"
}

// named compares what has names, in the order of the names.
func named(what string, a, b map[string]string) []Difference {
	var names []string
	for name := range a {
		names = append(names, name)
	}
	for name := range b {
		if _, both := a[name]; !both {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	var diffs []Difference
	for _, name := range names {
		diffs = addIf(diffs, "", what+" "+name, a[name], b[name])
	}
	return diffs
}

func (t *Table) indexTexts() map[string]string {
	texts := map[string]string{}
	for i := range t.Indexes {
		index := &t.Indexes[i]
		if index.Name == primaryName {
			continue // Compare has it
		}
		parts := make([]string, len(index.Parts))
		for j, p := range index.Parts {
			if parts[j] = p.Expression; p.Column >= 0 {
				parts[j] = strings.ToLower(t.Columns[p.Column].Name)
			}
			if p.Prefix > 0 {
				parts[j] += fmt.Sprintf("(%d)", p.Prefix)
			}
			if p.Descending {
				parts[j] += " DESC"
			}
		}
		kind := index.Kind
		if index.Unique {
			kind = "UNIQUE " + kind
		}
		if index.Hidden {
			kind += " INVISIBLE"
		}
		texts[index.Name] = strings.TrimSpace(kind + " (" + strings.Join(parts, ", ") + ")")
	}
	return texts
}

// foreignKeyTexts name the parent without its database, which may have another name elsewhere.
func (t *Table) foreignKeyTexts() map[string]string {
	texts := map[string]string{}
	for i := range t.ForeignKeys {
		k := &t.ForeignKeys[i]
		texts[k.Name] = fmt.Sprintf("(%s) REFERENCES %s (%s) ON DELETE %s ON UPDATE %s",
			strings.Join(t.keyNames(k.Columns), ", "), k.RefTable, strings.Join(k.RefColumns, ", "), k.OnDelete, k.OnUpdate)
	}
	return texts
}

// rest are the checks by name, and the partitions, as the CREATE statement has them. Without one there are none.
func (t *Table) rest() (checks map[string]string, partitions string) {
	checks = map[string]string{}
	_, items, tail, err := splitCreate(t.CreateStatement)
	if err != nil {
		return checks, ""
	}
	for _, item := range items {
		if item = strings.TrimSpace(item); itemKind(item) == itemCheck {
			checks[itemName(item)] = item
		}
	}
	if at := indexOutsideQuotes(tail, " PARTITION BY "); at >= 0 {
		partitions = tail[at:]
	}
	return checks, partitions
}
