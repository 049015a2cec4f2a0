package vschema

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"braid/internal/vindex"
)

// Parse reads Vitess's JSON form, and checks it. All that is wrong with it is in one error, a line for each.
func Parse(raw []byte) (*Keyspace, error) {
	k := new(Keyspace)
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.DisallowUnknownFields()
	if err := dec.Decode(k); err != nil {
		return nil, fmt.Errorf("vschema: %w", err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("vschema: something follows the JSON object")
	}
	if err := k.Validate(); err != nil {
		return nil, err
	}
	return k, nil
}

// JSON is the inverse of Parse, in canonical form.
func (k *Keyspace) JSON() []byte {
	raw, err := json.MarshalIndent(k, "", "  ")
	if err != nil {
		panic(err) // strings and maps of strings only
	}
	return raw
}

// String is JSON as text.
func (k *Keyspace) String() string { return string(k.JSON()) }

// Validate checks the names against each other and makes the vindexes ready for use. A Keyspace that is built in code needs it before anything else.
func (k *Keyspace) Validate() error {
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(k.Vindexes)) {
		if err := k.checkVindex(name); err != nil {
			errs = append(errs, err)
		}
	}
	for _, name := range k.TableNames() {
		if err := k.checkTable(name); err != nil {
			errs = append(errs, fmt.Errorf("vschema: table %s: %w", name, err))
		}
	}
	return errors.Join(errs...)
}

func (k *Keyspace) checkVindex(name string) error {
	v := k.Vindexes[name]
	if v == nil {
		return fmt.Errorf("vschema: vindex %s has no definition", name)
	}
	if !k.Sharded {
		return fmt.Errorf("vschema: vindex %s: the keyspace is not sharded", name)
	}
	fn, err := vindex.New(v.Type, v.Params)
	if err != nil {
		return fmt.Errorf("vschema: vindex %s: %w", name, err)
	}
	v.fn = fn
	return nil
}

func (k *Keyspace) checkTable(name string) error {
	t := k.Tables[name]
	if name == "" || t == nil {
		return errors.New("it has no name or no definition")
	}
	if err := k.checkType(t); err != nil {
		return err
	}
	for i, cv := range t.ColumnVindexes {
		if err := k.checkColumnVindex(cv); err != nil {
			return fmt.Errorf("column vindex %d: %w", i+1, err)
		}
	}
	return checkAutoIncrement(t)
}

func (k *Keyspace) checkType(t *Table) error {
	switch t.Type {
	case TypeSequence:
		if k.Sharded {
			return errors.New("a sequence must be in an unsharded keyspace")
		}
	case TypeReference:
	case TypeTable:
		if k.Sharded && len(t.ColumnVindexes) == 0 {
			return errors.New("the keyspace is sharded, and the table has no column vindex")
		}
		return nil
	default:
		return fmt.Errorf("unknown type %q; known are %q and %q", t.Type, TypeReference, TypeSequence)
	}
	if len(t.ColumnVindexes) > 0 {
		return fmt.Errorf("a %s table has no column vindexes", t.Type)
	}
	return nil
}

func (k *Keyspace) checkColumnVindex(cv ColumnVindex) error {
	columns := cv.All()
	switch {
	case !k.Sharded:
		return errors.New("the keyspace is not sharded")
	case cv.Column != "" && len(cv.Columns) > 0:
		return errors.New(`"column" and "columns" exclude each other`)
	case len(columns) == 0 || slices.Contains(columns, ""):
		return errors.New("it names no column")
	case cv.Name == "":
		return errors.New("it names no vindex")
	case k.Vindexes[cv.Name] == nil:
		return fmt.Errorf("unknown vindex %q; the keyspace has %s", cv.Name, k.vindexNames())
	case len(columns) > 1:
		return fmt.Errorf("vindex %s takes one column, not %s", cv.Name, strings.Join(columns, ", "))
	}
	return nil
}

func (k *Keyspace) vindexNames() string {
	if len(k.Vindexes) == 0 {
		return "none"
	}
	return strings.Join(slices.Sorted(maps.Keys(k.Vindexes)), ", ")
}

func checkAutoIncrement(t *Table) error {
	if t.AutoIncrement == nil {
		return nil
	}
	if t.Type == TypeSequence {
		return errors.New("auto_increment: the table is itself a sequence")
	}
	if t.AutoIncrement.Column == "" {
		return errors.New("auto_increment: it names no column")
	}
	keyspace, table := t.AutoIncrement.Split()
	if keyspace == "" || table == "" || strings.Contains(table, ".") {
		return fmt.Errorf("auto_increment: sequence %q: want keyspace.table", t.AutoIncrement.Sequence)
	}
	return nil
}
