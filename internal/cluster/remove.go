package cluster

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"braid/internal/base/errs"
	"braid/internal/process"
)

// Remove deletes the cluster of a data directory, its data included, and nothing else that may lie there. The cluster must
// not be running.
func Remove(dataDir string) error {
	plan, err := Load(dataDir)
	if errors.Is(err, errs.NotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	lock, err := process.TryLock(plan.lockPath())
	if err != nil {
		return inUse(plan.dataDir, err)
	}
	defer lock.Unlock()
	entries, err := os.ReadDir(plan.dataDir)
	if err != nil {
		return fmt.Errorf("remove the cluster in %s: %w", plan.dataDir, err)
	}
	for _, e := range entries {
		if !ours(e.Name()) {
			continue
		}
		if err := os.RemoveAll(filepath.Join(plan.dataDir, e.Name())); err != nil {
			return fmt.Errorf("remove the cluster in %s: %w", plan.dataDir, err)
		}
	}
	// The plan goes last, so that a removal that was interrupted can be repeated.
	if err := os.Remove(filepath.Join(plan.dataDir, planFile)); err != nil {
		return fmt.Errorf("remove the cluster in %s: %w", plan.dataDir, err)
	}
	return nil
}

// ours says whether the supervisor made an entry of a data directory, besides the plan. The lock stays: somebody may be waiting for it.
func ours(name string) bool {
	switch name {
	case planFile + ".new", "run", "logs", "etcd":
		return true
	}
	return strings.HasPrefix(name, "mysql-")
}
