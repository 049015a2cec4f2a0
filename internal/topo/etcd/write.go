package etcd

import (
	"context"

	clientv3 "go.etcd.io/etcd/client/v3"

	"braid/internal/topo"
)

// Write implements topo.Store.
func (s *Store) Write(ctx context.Context, key string, value []byte, version int64) (int64, error) {
	return s.WriteAll(ctx, []topo.KeyWrite{{Key: key, Value: notNil(value), Version: version}})
}

// Delete implements topo.Store.
func (s *Store) Delete(ctx context.Context, key string, version int64) error {
	if err := topo.CheckKey(key); err != nil {
		return err
	}
	w := topo.KeyWrite{Key: key, Version: version}
	cond := []clientv3.Cmp{clientv3.Compare(clientv3.CreateRevision(s.key(key)), "!=", 0)}
	if version != -1 {
		cond = append(cond, clientv3.Compare(clientv3.ModRevision(s.key(key)), "=", version))
	}
	resp, err := s.txn(ctx, []topo.KeyWrite{w}, cond)
	if err != nil {
		return s.fail(ctx, "delete", key, err, true)
	}
	if resp.Succeeded {
		return nil
	}
	found := foundVersion(resp.Responses[0].GetResponseRange())
	if found == 0 {
		return &topo.KeyError{Key: key, Err: topo.ErrNotFound}
	}
	return w.Judge(found)
}

// WriteAll implements topo.Store: one transaction, whose else branch reads what stood in the way.
func (s *Store) WriteAll(ctx context.Context, writes []topo.KeyWrite) (int64, error) {
	if err := topo.CheckWrites(writes); err != nil {
		return 0, err
	}
	var cond []clientv3.Cmp
	for _, w := range writes {
		if w.Version != -1 {
			cond = append(cond, clientv3.Compare(clientv3.ModRevision(s.key(w.Key)), "=", w.Version))
		}
	}
	resp, err := s.txn(ctx, writes, cond)
	if err != nil {
		return 0, s.fail(ctx, "write", writes[0].Key, err, true)
	}
	if resp.Succeeded {
		return resp.Header.Revision, nil
	}
	for i, w := range writes {
		if err := w.Judge(foundVersion(resp.Responses[i].GetResponseRange())); err != nil {
			return 0, err
		}
	}
	return 0, &topo.KeyError{Key: writes[0].Key, Err: topo.ErrConflict} // cannot be: both branches see the same state
}

// txn writes if all conditions hold; else it reads the keys of all writes, in their order.
func (s *Store) txn(ctx context.Context, writes []topo.KeyWrite, cond []clientv3.Cmp) (*clientv3.TxnResponse, error) {
	var then, otherwise []clientv3.Op
	for _, w := range writes {
		key := s.key(w.Key)
		otherwise = append(otherwise, clientv3.OpGet(key, clientv3.WithKeysOnly()))
		switch {
		case w.CheckOnly:
		case w.Value == nil:
			then = append(then, clientv3.OpDelete(key))
		default:
			then = append(then, clientv3.OpPut(key, string(w.Value)))
		}
	}
	octx, cancel := s.bound(ctx)
	defer cancel()
	return s.cli.Txn(octx).If(cond...).Then(then...).Else(otherwise...).Commit()
}
