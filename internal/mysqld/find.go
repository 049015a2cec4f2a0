package mysqld

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sort"
	"strings"

	"braid/internal/base/errs"
)

// EnvBinary names a mysqld program, or a directory that one was unpacked into, that is used before any other.
const EnvBinary = "BRAID_MYSQLD"

// Binary is a mysqld program that can be run.
type Binary struct {
	Path    string // of mysqld
	Version Version
	root    string   // unpacked packages; "" for a program that the system runs
	argv    []string // what runs mysqld: its path, after the private loader if it needs one
	env     []string
	args    []string // where it finds its own files
}

// Find looks for a mysqld without installing anything: BRAID_MYSQLD, the PATH, what Install unpacked before. Only a wrong
// BRAID_MYSQLD is an error of its own (errs.BadInput), since somebody asked for it; else it is errs.NoMySQL.
func Find(ctx context.Context) (*Binary, error) {
	if path := os.Getenv(EnvBinary); path != "" {
		b, err := open(ctx, path)
		if err != nil {
			return nil, errs.New(errs.BadInput, err, "%s=%s cannot be used", EnvBinary, path).
				With("Let " + EnvBinary + " name a mysqld of MySQL 8.0 or newer, or unset it.")
		}
		return b, nil
	}
	var rejected []string
	for _, path := range candidates() {
		b, err := open(ctx, path)
		if err == nil {
			return b, nil
		}
		rejected = append(rejected, fmt.Sprintf("%s: %v", path, err))
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if len(rejected) > 0 {
		return nil, errs.New(errs.NoMySQL, nil, "no usable MySQL server program (%s)", strings.Join(rejected, "; "))
	}
	return nil, errs.New(errs.NoMySQL, nil, "no MySQL server program is on the PATH or installed by braid")
}

// Ensure finds a mysqld, or installs one. progress takes a line at a time and may be nil.
func Ensure(ctx context.Context, progress func(string)) (*Binary, error) {
	b, err := Find(ctx)
	if !errors.Is(err, errs.NoMySQL) {
		return b, err
	}
	return Install(ctx, progress)
}

// candidates lists what may be used, the best first.
func candidates() []string {
	var paths []string
	if path, err := exec.LookPath("mysqld"); err == nil {
		paths = append(paths, path)
	} else if path := "/usr/sbin/mysqld"; isFile(path) { // where packages put it; not on the PATH of every user
		paths = append(paths, path)
	}
	if cache, err := cacheDir(); err == nil {
		installed, _ := filepath.Glob(filepath.Join(cache, "mysql-*")) // the pattern is well-formed
		sort.Slice(installed, func(i, j int) bool { return installedVersion(installed[j]).less(installedVersion(installed[i])) })
		paths = append(paths, installed...)
	}
	return paths
}

// open makes a Binary of a program, or of a directory of unpacked packages, after running it.
func open(ctx context.Context, path string) (*Binary, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	b := &Binary{Path: path, argv: []string{path}}
	if info.IsDir() {
		if b, err = unpacked(path); err != nil {
			return nil, err
		}
	}
	if b.Version, err = b.askVersion(ctx); err != nil {
		return nil, err
	}
	return b, nil
}

// unpacked describes packages that were unpacked into root and run there through their own loader.
func unpacked(root string) (*Binary, error) {
	loaders, _ := filepath.Glob(filepath.Join(root, "usr/lib/*/ld-linux*.so.*")) // the pattern is well-formed
	usr := filepath.Join(root, "usr")
	b := &Binary{Path: filepath.Join(usr, "sbin/mysqld"), root: root}
	if len(loaders) == 0 || !isFile(b.Path) {
		return nil, fmt.Errorf("%s holds no unpacked MySQL server", root)
	}
	b.argv = append(loaded(loaders[0]), b.Path)
	// The system's OpenSSL configuration is for another build of that library.
	b.env = []string{"OPENSSL_CONF=/dev/null"}
	b.args = []string{
		"--basedir=" + usr,
		"--plugin-dir=" + filepath.Join(usr, "lib/mysql/plugin"),
		"--lc-messages-dir=" + filepath.Join(usr, "share/mysql"),
	}
	return b, nil
}

// loaded is the start of a command line that runs a program with the libraries that lie beside a loader, and only those.
func loaded(loader string) []string {
	return []string{loader, "--inhibit-cache", "--library-path", filepath.Dir(loader)}
}

// preloading makes a command line of this mysqld load a shared object first. A private loader takes it as an option, because the
// programs that the system runs must not see it.
func (b *Binary) preloading(object string, command []string) (argv, env []string) {
	switch {
	case object == "":
		return command, b.env
	case b.root == "":
		return command, append(append([]string{}, b.env...), "LD_PRELOAD="+object)
	default:
		return append([]string{command[0], "--preload", object}, command[1:]...), b.env
	}
}

// Tool returns the command line and environment of a program that came with this mysqld, such as mysql, mysqldump or mysqlbinlog.
func (b *Binary) Tool(name string) (argv, env []string, err error) {
	if b.root == "" {
		if path := filepath.Join(filepath.Dir(b.Path), name); isFile(path) {
			return []string{path}, nil, nil
		}
		path, err := exec.LookPath(name)
		if err != nil {
			return nil, nil, fmt.Errorf("%s is neither beside %s nor on the PATH: %w", name, b.Path, err)
		}
		return []string{path}, nil, nil
	}
	path := filepath.Join(b.root, "usr/bin", name)
	if !isFile(path) {
		return nil, nil, fmt.Errorf("%s did not come with %s", name, b.Path)
	}
	return append(append([]string{}, b.argv[:len(b.argv)-1]...), path), b.env, nil
}

func isFile(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular()
}
