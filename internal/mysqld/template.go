package mysqld

import (
	"context"
	"fmt"
	"hash/fnv"
	"os"
	"path/filepath"
	"strings"

	"braid/internal/base/errs"
	"braid/internal/process"
)

// fileLayout decides how a new data directory looks; it is part of the template's identity. Sizes are the least that a
// server works well with, because a dozen are copied for one cluster.
var fileLayout = []string{
	"--innodb-data-file-path=ibdata1:5M:autoextend",
	"--innodb-autoextend-increment=1",
	"--innodb-doublewrite-files=2",
	"--loose-innodb-doublewrite-pages=32",
	"--loose-innodb-redo-log-capacity=32M",
	"--auto-generate-certs=OFF", // sessions are on the loopback; RSA keys for passwords are made by each server
}

// template returns the initialised data directory that new servers of this Binary are copied from, and makes it if it is missing.
func (b *Binary) template(ctx context.Context) (string, error) {
	cache, err := cacheDir()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(cache, "template-"+b.Version.String()+"-"+b.identity())
	if isDir(dir) {
		return dir, nil
	}
	lock, err := process.WaitLock(ctx, filepath.Join(cache, "template.lock"), nil)
	if err != nil {
		return "", fmt.Errorf("template data directory: %w", err)
	}
	defer lock.Unlock()
	if isDir(dir) {
		return dir, nil
	}
	stage := dir + ".making"
	if err := os.RemoveAll(stage); err != nil { // an earlier attempt that was interrupted; we hold the lock
		return "", fmt.Errorf("template data directory: %w", err)
	}
	if err := b.initialise(ctx, stage); err != nil {
		return "", err
	}
	if err := os.Rename(stage, dir); err != nil {
		return "", fmt.Errorf("template data directory: %w", err)
	}
	return dir, nil
}

// identity tells templates of different programs and layouts apart.
func (b *Binary) identity() string {
	h := fnv.New32a()
	fmt.Fprint(h, b.Path, fileLayout)
	return fmt.Sprintf("%08x", h.Sum32())
}

func (b *Binary) initialise(ctx context.Context, dir string) error {
	argv := b.command(append([]string{
		"--initialize-insecure", "--datadir=" + dir, "--performance-schema=OFF", "--mysqlx=OFF", "--secure-file-priv=NULL",
	}, fileLayout...)...)
	if out, err := process.Run(ctx, process.Spec{Argv: argv, Env: b.env}); err != nil {
		return noSpaceText(dir, string(out), errs.New(errs.MySQLNotStarted, err, "make a template data directory: %s", errorsOf(string(out))))
	}
	// What must differ between servers is made anew by each.
	for _, name := range []string{"auto.cnf", "private_key.pem", "public_key.pem"} {
		if err := os.RemoveAll(filepath.Join(dir, name)); err != nil {
			return fmt.Errorf("template data directory: %w", err)
		}
	}
	return nil
}

// noSpaceText recognises a full disk in a server's words.
func noSpaceText(dir, text string, err error) error {
	if strings.Contains(text, "No space left on device") || strings.Contains(text, "OS errno 28") {
		return errs.New(errs.NoSpace, err, "the disk of %s is full", dir)
	}
	return err
}

// command is the whole command line of this mysqld with the given options.
func (b *Binary) command(options ...string) []string {
	argv := append(append([]string{}, b.argv...), "--no-defaults") // must be first
	argv = append(argv, b.args...)
	if os.Getuid() == 0 {
		argv = append(argv, "--user=root") // mysqld wants to be told that running as root is meant
	}
	return append(argv, options...)
}

// errorsOf keeps the lines of a server's log that say what went wrong.
func errorsOf(log string) string {
	var keep []string
	for line := range strings.SplitSeq(log, "\n") {
		if _, text, ok := strings.Cut(line, "[ERROR] "); ok {
			keep = append(keep, text)
		}
	}
	if len(keep) == 0 {
		return strings.TrimSpace(log)
	}
	return strings.Join(keep, "; ")
}

func isDir(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}
