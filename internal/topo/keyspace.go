package topo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"braid/internal/base/errs"
	"braid/internal/base/timeouts"
)

// A keyspace is a database of that name on its mysqlds, and part of the key "keyspace.table" in the routing.
var (
	keyspaceName = regexp.MustCompile(`^[A-Za-z0-9_$-]{1,64}$`)
	plainName    = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.-]{0,127}$`)
)

// Databases of MySQL and of ours cannot be keyspaces.
var reserved = map[string]bool{"mysql": true, "sys": true, "information_schema": true, "performance_schema": true, "_braid": true}

// CheckKeyspaceName refuses what cannot be a database, or is one of MySQL's own.
func CheckKeyspaceName(name string) error {
	if !keyspaceName.MatchString(name) || reserved[strings.ToLower(name)] {
		return errs.New(errs.BadInput, nil, "keyspace name %q: 1 to 64 of letters, digits, _, $ and -, and no system database", name)
	}
	return nil
}

// CheckName refuses names of cells and workflows that would not fit into a key.
func CheckName(what, name string) error {
	if !plainName.MatchString(name) {
		return errs.New(errs.BadInput, nil, "%s name %q: up to 128 of letters, digits, _, . and -, beginning with a letter or digit", what, name)
	}
	return nil
}

// CreateCell registers a cell; a cell that exists is ErrExists.
func (t *Topology) CreateCell(ctx context.Context, cell string) error {
	if err := CheckName("cell", cell); err != nil {
		return err
	}
	_, err := t.Write(ctx, keyCells+cell, mustJSON(map[string]string{"name": cell}), 0)
	return err
}

// Cells lists the names of all cells.
func (t *Topology) Cells(ctx context.Context) ([]string, error) {
	changes, err := t.List(ctx, keyCells)
	if err != nil {
		return nil, err
	}
	names := make([]string, 0, len(changes))
	for _, c := range changes {
		names = append(names, strings.TrimPrefix(c.Key, keyCells))
	}
	return names, nil
}

// CreateKeyspace creates an empty keyspace; one that exists is ErrExists.
func (t *Topology) CreateKeyspace(ctx context.Context, name string) error {
	if err := CheckKeyspaceName(name); err != nil {
		return err
	}
	_, err := t.Write(ctx, keyKeyspaces+name, mustJSON(Keyspace{Name: name}), 0)
	if errors.Is(err, ErrExists) {
		return errs.New(errs.Exists, nil, "keyspace %s exists already", name)
	}
	return err
}

// Keyspace returns a keyspace; an unknown one is errs.KeyspaceUnknown, which also matches ErrNotFound.
func (t *Topology) Keyspace(ctx context.Context, name string) (Keyspace, error) {
	ks, _, err := readJSON[Keyspace](ctx, t, keyKeyspaces+name)
	if errors.Is(err, ErrNotFound) {
		return ks, unknownKeyspace(name)
	}
	return ks, err
}

// Keyspaces lists all keyspaces in order of their names.
func (t *Topology) Keyspaces(ctx context.Context) ([]Keyspace, error) {
	return listJSON[Keyspace](ctx, t, keyKeyspaces)
}

func unknownKeyspace(name string) error {
	return errs.New(errs.KeyspaceUnknown, ErrNotFound, "keyspace %s", name)
}

// VSchema returns a keyspace's VSchema document and its version; nil and 0 when none was set.
func (t *Topology) VSchema(ctx context.Context, keyspace string) ([]byte, int64, error) {
	raw, version, err := t.Read(ctx, keyVSchemas+keyspace)
	if errors.Is(err, ErrNotFound) {
		_, err = t.Keyspace(ctx, keyspace)
	}
	return raw, version, err
}

// SetVSchema replaces a keyspace's VSchema; version as in Store.Write. It checks that raw is JSON, not what it says: the
// caller has parsed it.
func (t *Topology) SetVSchema(ctx context.Context, keyspace string, raw []byte, version int64) (int64, error) {
	if !json.Valid(raw) {
		return 0, errs.New(errs.BadVSchema, nil, "VSchema of %s is not JSON", keyspace)
	}
	if _, err := t.Keyspace(ctx, keyspace); err != nil {
		return 0, err
	}
	return t.Write(ctx, keyVSchemas+keyspace, raw, version)
}

// LockKeyspace waits for the lock of a keyspace until ctx ends. holder is for people: who, and what for.
func (t *Topology) LockKeyspace(ctx context.Context, keyspace, holder string) (Lock, error) {
	l, err := t.Lock(ctx, "keyspace/"+keyspace, holder, timeouts.KeyspaceLock)
	if err != nil {
		return nil, fmt.Errorf("lock keyspace %s: %w", keyspace, err)
	}
	return l, nil
}
