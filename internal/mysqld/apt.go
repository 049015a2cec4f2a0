package mysqld

import (
	"context"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"strings"

	"braid/internal/base/errs"
	"braid/internal/process"
)

// keyrings are where Debian keeps its archive keys, in the order of preference.
var keyrings = []string{"/usr/share/keyrings/debian-archive-keyring.gpg", "/usr/share/keyrings/debian-archive-keyring.pgp"}

// apt is a private apt: its own sources, lists, cache and an empty list of installed packages, so that it neither sees nor
// changes the system's, needs no rights, and resolves all dependencies down to libc.
type apt struct {
	dir    string
	mirror string
}

func newApt(ctx context.Context, dir string) (*apt, error) {
	a := &apt{dir: dir}
	var err error
	if a.mirror, err = debianMirror(ctx); err != nil {
		return nil, err
	}
	keyring, err := debianKeyring()
	if err != nil {
		return nil, err
	}
	for _, sub := range []string{"lists/partial", "archives/partial", "log", "empty"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o700); err != nil {
			return nil, fmt.Errorf("install MySQL: %w", err)
		}
	}
	acquire, err := process.Run(ctx, process.Spec{Argv: []string{"apt-config", "dump", "Acquire"}})
	if err != nil {
		return nil, cannot(err, "apt's configuration cannot be read")
	}
	files := map[string]string{
		"status":       "",
		"sources.list": fmt.Sprintf("deb [signed-by=%s] %s unstable main\n", keyring, a.mirror),
		"apt.conf":     string(acquire) + a.config(),
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			return nil, fmt.Errorf("install MySQL: %w", err)
		}
	}
	return a, nil
}

// config follows the system's Acquire settings (proxies, how strict to be about dates), which the caller puts before it, and
// nothing else of the system's: its hooks are for the system's package cache.
func (a *apt) config() string {
	var b strings.Builder
	set := func(name, value string) { fmt.Fprintf(&b, "%s %q;\n", name, value) }
	empty := filepath.Join(a.dir, "empty")
	set("Dir::Etc::parts", empty)
	set("Dir::Etc::main", filepath.Join(empty, "apt.conf"))
	set("Dir::Etc::sourcelist", filepath.Join(a.dir, "sources.list"))
	set("Dir::Etc::sourceparts", empty)
	set("Dir::Etc::preferences", filepath.Join(empty, "preferences"))
	set("Dir::Etc::preferencesparts", empty)
	set("Dir::State", a.dir)
	set("Dir::State::lists", filepath.Join(a.dir, "lists"))
	set("Dir::State::status", filepath.Join(a.dir, "status"))
	set("Dir::Cache", a.dir)
	set("Dir::Cache::archives", filepath.Join(a.dir, "archives"))
	set("Dir::Log", filepath.Join(a.dir, "log"))
	if u, err := user.Current(); err == nil {
		set("APT::Sandbox::User", u.Username) // the sandbox user could not write below our directory
	}
	set("Acquire::Languages", "none")
	set("Acquire::IndexTargets::deb::DEP-11::DefaultEnabled", "false") // descriptions for software centres
	set("Acquire::Retries", "3")
	return b.String()
}

func (a *apt) run(ctx context.Context, args ...string) error {
	_, err := process.Run(ctx, process.Spec{
		Argv: append([]string{"apt-get"}, args...),
		Env:  []string{"APT_CONFIG=" + filepath.Join(a.dir, "apt.conf"), "LC_ALL=C", "DEBIAN_FRONTEND=noninteractive"},
	})
	if ctx.Err() != nil {
		return fmt.Errorf("install MySQL: %w", context.Cause(ctx))
	}
	return err
}

func (a *apt) update(ctx context.Context) error {
	if err := a.run(ctx, "update", "--error-on=any"); err != nil {
		return cannot(err, "the package list of Debian unstable cannot be read from %s; is the network there?", a.mirror)
	}
	return nil
}

// download fetches packages with all that they depend on, and returns the files.
func (a *apt) download(ctx context.Context, names ...string) ([]string, error) {
	args := append([]string{"install", "--yes", "--download-only", "--no-install-recommends"}, names...)
	if err := a.run(ctx, args...); err != nil {
		return nil, cannot(err, "apt cannot download %s", strings.Join(names, " and "))
	}
	files, _ := filepath.Glob(filepath.Join(a.dir, "archives", "*.deb")) // the pattern is well-formed
	if len(files) == 0 {
		return nil, cannot(nil, "apt downloaded no packages")
	}
	return files, nil
}

// debianMirror asks apt where this system gets its packages from.
func debianMirror(ctx context.Context) (string, error) {
	out, err := process.Run(ctx, process.Spec{Argv: []string{"apt-get", "indextargets"}, Env: []string{"LC_ALL=C"}})
	if err != nil {
		return "", cannot(err, "apt does not tell its mirrors")
	}
	mirror := pickMirror(string(out))
	if mirror == "" {
		return "", cannot(nil, "apt knows no mirror of Debian")
	}
	return mirror, nil
}

// pickMirror finds the archive's mirror among apt's index targets. The archive calls itself Debian; security updates and other
// vendors have other labels. A system whose lists were removed knows addresses only: there the first one of a Debian
// release that is not for security is taken.
func pickMirror(targets string) string {
	var fallback string
	for record := range strings.SplitSeq(targets, "\n\n") {
		f := map[string]string{}
		for line := range strings.SplitSeq(record, "\n") {
			if name, value, ok := strings.Cut(line, ": "); ok {
				f[name] = value
			}
		}
		uri := f["Repo-URI"]
		switch {
		case uri == "" || f["Component"] != "main":
		case f["Origin"] == "Debian" && f["Label"] == "Debian":
			return uri
		case f["Origin"] == "" && fallback == "" && strings.HasSuffix(strings.TrimSuffix(uri, "/"), "/debian"):
			fallback = uri
		}
	}
	return fallback
}

func debianKeyring() (string, error) {
	for _, path := range keyrings {
		if isFile(path) {
			return path, nil
		}
	}
	return "", errs.New(errs.NoMySQL, nil, "MySQL cannot be installed here: Debian's archive keys are missing").
		With("Install the package debian-archive-keyring and repeat.", "Or: "+remedy)
}
