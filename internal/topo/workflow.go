package topo

import (
	"context"
	"strings"
)

// WorkflowRecord is a workflow's state as stored; package workflow knows what it says.
type WorkflowRecord struct {
	Name    string
	Raw     []byte
	Version int64
}

// Workflow returns a workflow's stored state and its version, or ErrNotFound.
func (t *Topology) Workflow(ctx context.Context, name string) ([]byte, int64, error) {
	return t.Read(ctx, keyWorkflows+name)
}

// Workflows lists all workflows in order of their names.
func (t *Topology) Workflows(ctx context.Context) ([]WorkflowRecord, error) {
	changes, err := t.List(ctx, keyWorkflows)
	if err != nil {
		return nil, err
	}
	all := make([]WorkflowRecord, 0, len(changes))
	for _, c := range changes {
		all = append(all, WorkflowRecord{Name: strings.TrimPrefix(c.Key, keyWorkflows), Raw: c.Value, Version: c.Version})
	}
	return all, nil
}

// WriteWorkflow replaces a workflow's state; version as in Store.Write (0 creates).
func (t *Topology) WriteWorkflow(ctx context.Context, name string, raw []byte, version int64) (int64, error) {
	if err := CheckName("workflow", name); err != nil {
		return 0, err
	}
	return t.Write(ctx, keyWorkflows+name, raw, version)
}

// WorkflowWrite is WriteWorkflow as a part of a transaction (WriteRoutingIf, WriteAll).
func WorkflowWrite(name string, raw []byte, version int64) KeyWrite {
	return KeyWrite{Key: keyWorkflows + name, Value: raw, Version: version}
}

// DeleteWorkflow removes a workflow's state, at whatever version it is.
func (t *Topology) DeleteWorkflow(ctx context.Context, name string) error {
	return t.Delete(ctx, keyWorkflows+name, -1)
}

// WatchWorkflows is Watch over workflows. Keys of the changes are the workflows' names, "" is the end mark.
func (t *Topology) WatchWorkflows(ctx context.Context, fn func(Change)) error {
	ch, err := t.Watch(ctx, keyWorkflows)
	if err != nil {
		return err
	}
	for c := range ch {
		c.Key = strings.TrimPrefix(c.Key, keyWorkflows)
		fn(c)
	}
	return ctx.Err()
}
