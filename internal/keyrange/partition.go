package keyrange

import (
	"fmt"
	"slices"
)

// CheckPartition proves that the shards, in any order, hold every keyspace ID exactly once. Otherwise the error names the gap
// or the two shards that overlap.
func CheckPartition(shards []string) error {
	if len(shards) == 0 {
		return fmt.Errorf("partition of no shards: nothing holds the key range -")
	}
	parts, err := parseShards(shards)
	if err != nil {
		return err
	}
	if first := parts[0]; len(first.Start) > 0 {
		return fmt.Errorf("partition %v: no shard holds the key range %s", shards, Range{End: first.Start})
	}
	for i := 1; i < len(parts); i++ {
		if err := checkNeighbours(shards, parts[i-1], parts[i]); err != nil {
			return err
		}
	}
	if last := parts[len(parts)-1]; len(last.End) > 0 {
		return fmt.Errorf("partition %v: no shard holds the key range %s", shards, Range{Start: last.End})
	}
	return nil
}

// named keeps the way the operator wrote a shard ("0" or "-"), for messages.
type named struct {
	Range
	name string
}

func parseShards(shards []string) ([]named, error) {
	parts := make([]named, 0, len(shards))
	for _, s := range shards {
		if s == "" {
			return nil, fmt.Errorf("partition %v: a shard without a name", shards)
		}
		r, err := Parse(s)
		if err != nil {
			return nil, fmt.Errorf("partition %v: %w", shards, err)
		}
		parts = append(parts, named{r, s})
	}
	slices.SortStableFunc(parts, func(a, b named) int { return Compare(a.Range, b.Range) })
	return parts, nil
}

func checkNeighbours(shards []string, a, b named) error {
	if both, ok := a.Intersect(b.Range); ok {
		return fmt.Errorf("partition %v: shards %s and %s both hold the key range %s", shards, a.name, b.name, both)
	}
	if !slices.Equal(a.End, b.Start) {
		return fmt.Errorf("partition %v: no shard holds the key range %s", shards, Range{Start: a.End, End: b.Start})
	}
	return nil
}

// Split cuts the whole key space into n shards of equal size, named as Vitess names them: "-40", "40-80", ... One shard is "-".
// n must be a power of two up to 256, or any number from 1 to 256 when the rounding of bounds to one byte is acceptable.
func Split(n int) ([]string, error) {
	if n < 1 || n > 256 {
		return nil, fmt.Errorf("split into %d shards: want 1 to 256", n)
	}
	bound := func(i int) string {
		if i == 0 || i == n {
			return ""
		}
		return fmt.Sprintf("%02x", i*256/n)
	}
	shards := make([]string, n)
	for i := range shards {
		shards[i] = bound(i) + "-" + bound(i+1)
	}
	return shards, nil
}
