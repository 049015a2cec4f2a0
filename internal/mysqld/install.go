package mysqld

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"

	"braid/internal/base/errs"
	"braid/internal/process"
)

const (
	remedy = "Install MySQL 8.0 or newer in your system's way, and put its mysqld on the PATH or set " + EnvBinary + " to its path."
	// installSpace is what an install needs while it runs: package lists, packages, and the unpacked tree.
	installSpace = 1 << 30
)

// Install unpacks MySQL of Debian unstable into the cache directory, unless it is there already. progress takes a line at a
// time and may be nil.
func Install(ctx context.Context, progress func(string)) (*Binary, error) {
	if progress == nil {
		progress = func(string) {}
	}
	cache, err := cacheDir()
	if err != nil {
		return nil, err
	}
	lock, err := process.WaitLock(ctx, filepath.Join(cache, "install.lock"), func() {
		progress("waiting for another process that is installing MySQL")
	})
	if err != nil {
		return nil, fmt.Errorf("install MySQL: %w", err)
	}
	defer lock.Unlock()
	if b, err := Find(ctx); !errors.Is(err, errs.NoMySQL) {
		return b, err // somebody else was quicker
	}
	return install(ctx, cache, progress)
}

func install(ctx context.Context, cache string, progress func(string)) (*Binary, error) {
	if err := installable(cache); err != nil {
		return nil, err
	}
	work := filepath.Join(cache, "installing")
	if err := os.RemoveAll(work); err != nil { // an earlier attempt that was interrupted; we hold the lock
		return nil, fmt.Errorf("install MySQL: %w", err)
	}
	defer os.RemoveAll(work) //nolint:errcheck // what is left behind is found by the next install
	apt, err := newApt(ctx, filepath.Join(work, "apt"))
	if err != nil {
		return nil, err
	}
	progress("reading the package list of Debian unstable from " + apt.mirror)
	if err := apt.update(ctx); err != nil {
		return nil, err
	}
	progress("downloading MySQL and its libraries (about 65 MB)")
	packages, err := apt.download(ctx, "mysql-server-core", "mysql-client-core")
	if err != nil {
		return nil, err
	}
	progress(fmt.Sprintf("unpacking %d packages", len(packages)))
	stage := filepath.Join(work, "root")
	if err := unpack(ctx, packages, stage); err != nil {
		return nil, err
	}
	return publish(ctx, stage, cache, progress)
}

// publish checks that the unpacked server runs and gives it its place (M1).
func publish(ctx context.Context, stage, cache string, progress func(string)) (*Binary, error) {
	b, err := open(ctx, stage)
	if err != nil {
		return nil, cannot(err, "the unpacked server does not run")
	}
	dir := filepath.Join(cache, "mysql-"+b.Version.String())
	if err := os.RemoveAll(dir); err != nil { // one that Find could not use
		return nil, fmt.Errorf("install MySQL: %w", err)
	}
	if err := os.Rename(stage, dir); err != nil {
		return nil, fmt.Errorf("install MySQL: %w", err)
	}
	progress("installed MySQL " + b.Version.String() + " in " + dir)
	return open(ctx, dir)
}

// cannot is the error for a machine that cannot install MySQL by itself.
func cannot(cause error, format string, args ...any) error {
	return errs.New(errs.NoMySQL, cause, "MySQL cannot be installed here: %s", fmt.Sprintf(format, args...)).With(remedy)
}

// installable checks what can be known before anything is downloaded.
func installable(cache string) error {
	if runtime.GOOS != "linux" {
		return cannot(nil, "braid can do it on Debian's Linux only")
	}
	for _, tool := range []string{"apt-get", "apt-config", "dpkg"} {
		if _, err := exec.LookPath(tool); err != nil {
			return cannot(err, "this is not a Debian system")
		}
	}
	free, err := FreeSpace(cache)
	if err != nil {
		return err
	}
	if free < installSpace {
		return errs.New(errs.NoSpace, nil, "install MySQL: %s has %d MiB free, %d are needed", cache, free>>20, uint64(installSpace)>>20).
			With("Make room, or set XDG_CACHE_HOME to a directory on a larger disk.")
	}
	return nil
}

// unpack extracts packages into dir. No maintainer script runs. Perl is left out: only scripts that nobody here calls want it.
func unpack(ctx context.Context, packages []string, dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("install MySQL: %w", err)
	}
	for _, file := range packages {
		if name := filepath.Base(file); strings.HasPrefix(name, "perl") || strings.HasPrefix(name, "libperl") {
			continue
		}
		if _, err := process.Run(ctx, process.Spec{Argv: []string{"dpkg", "-x", file, dir}}); err != nil {
			return fmt.Errorf("install MySQL: unpack %s: %w", filepath.Base(file), err)
		}
	}
	for _, unused := range []string{"usr/share/doc", "usr/share/man", "usr/share/locale"} {
		if err := os.RemoveAll(filepath.Join(dir, unused)); err != nil {
			return fmt.Errorf("install MySQL: %w", err)
		}
	}
	return nil
}
