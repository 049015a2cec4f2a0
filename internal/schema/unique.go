package schema

import (
	"slices"
	"strings"
)

// UniqueAlone are the names of the unique indexes of a target that its source does not keep: rows that are there together on the source may not be on the target.
func UniqueAlone(source, target *Table) (names []string) {
	for i := range target.Indexes {
		x := &target.Indexes[i]
		kept := func(s Index) bool {
			return s.Unique && !slices.ContainsFunc(s.Parts, func(p IndexPart) bool {
				return !slices.ContainsFunc(x.Parts, func(q IndexPart) bool { return samePart(source, target, p, q) })
			})
		}
		if x.Unique && !slices.ContainsFunc(source.Indexes, kept) {
			names = append(names, x.Name)
		}
	}
	return names
}

func samePart(source, target *Table, p, q IndexPart) bool {
	if p.Column < 0 || q.Column < 0 {
		return p.Column == q.Column && p.Expression == q.Expression
	}
	return p.Prefix == q.Prefix && strings.EqualFold(source.Columns[p.Column].Name, target.Columns[q.Column].Name)
}
