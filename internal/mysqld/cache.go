package mysqld

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// cacheDir is where installed programs and templates are kept. A user without a home directory gets one of his own below the
// directory for temporary files.
func cacheDir() (string, error) {
	base, err := os.UserCacheDir()
	if err == nil {
		dir := filepath.Join(base, "braid")
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return "", fmt.Errorf("cache directory: %w (set XDG_CACHE_HOME to a directory that can be written)", err)
		}
		return dir, nil
	}
	dir := filepath.Join(os.TempDir(), fmt.Sprintf("braid-cache-%d", os.Getuid()))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", fmt.Errorf("cache directory: %w", err)
	}
	info, err := os.Lstat(dir)
	if err != nil {
		return "", fmt.Errorf("cache directory: %w", err)
	}
	// Anybody may make that name; programs must not be run from a stranger's directory.
	if st, ok := info.Sys().(*syscall.Stat_t); !ok || !info.IsDir() || int(st.Uid) != os.Getuid() || info.Mode().Perm()&0o022 != 0 {
		return "", fmt.Errorf("cache directory %s belongs to somebody else: remove it, or set HOME", dir)
	}
	return dir, nil
}

// installedVersion reads the version from the name of an installed directory, "mysql-9.7.4".
func installedVersion(dir string) Version {
	var v Version
	_, _ = fmt.Sscanf(filepath.Base(dir), "mysql-%d.%d.%d", &v.Major, &v.Minor, &v.Patch) // a strange name sorts last
	return v
}

func (v Version) less(w Version) bool { return !v.AtLeast(w.Major, w.Minor, w.Patch) }

// FreeSpace is how many bytes an ordinary user may still write below a path.
func FreeSpace(path string) (uint64, error) {
	var st syscall.Statfs_t
	if err := syscall.Statfs(path, &st); err != nil {
		return 0, fmt.Errorf("free space of %s: %w", path, err)
	}
	return uint64(st.Bavail) * uint64(st.Bsize), nil
}
