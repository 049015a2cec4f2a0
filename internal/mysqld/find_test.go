package mysqld

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"braid/internal/base/errs"
)

func TestParseVersion(t *testing.T) {
	for text, want := range map[string]Version{
		"/usr/sbin/mysqld  Ver 9.7.4-2 for Linux on x86_64 ((Debian))":                        {9, 7, 4},
		"mysqld  Ver 8.0.43-0ubuntu0.24.04.2 for Linux on x86_64 ((Ubuntu))":                  {8, 0, 43},
		"/usr/sbin/mysqld  Ver 8.4.5-5 for Linux on x86_64 (Percona Server (GPL), Release 5)": {8, 4, 5},
		"mysqld  Ver 5.7.44 for Linux on x86_64 (MySQL Community Server (GPL))":               {},
		"mariadbd  Ver 10.11.6-MariaDB-0+deb12u1 for debian-linux-gnu on x86_64 (Debian 12)":  {},
		"mysqld  Ver 11.4.2-MariaDB for Linux on x86_64 (Source distribution)":                {},
		"Segmentation fault": {},
		"":                   {},
	} {
		v, err := parseVersion(text)
		require.Equal(t, want, v, text)
		require.Equal(t, want == Version{}, err != nil, text)
	}
	require.True(t, Version{8, 4, 0}.AtLeast(8, 2, 0))
	require.False(t, Version{8, 1, 9}.AtLeast(8, 2, 0))
	require.True(t, Version{8, 9, 4}.less(Version{9, 0, 0}))
	require.Equal(t, Version{9, 7, 4}, installedVersion("/x/mysql-9.7.4"))
}

func TestPickMirror(t *testing.T) {
	record := func(uri, origin, label, component string) string {
		text := "MetaKey: x\n"
		if origin != "" {
			text += "Origin: " + origin + "\nLabel: " + label + "\n"
		}
		return text + "Component: " + component + "\nRepo-URI: " + uri + "\nTarget-Of: deb\n"
	}
	security := record("http://m.example/debian-security/", "Debian", "Debian-Security", "main")
	vendor := record("https://vendor.example/apt/", "Vendor", "Vendor", "main")
	debian := record("http://m.example/debian/", "Debian", "Debian", "main")
	ubuntu := record("http://u.example/ubuntu/", "Ubuntu", "Ubuntu", "main")
	for want, targets := range map[string]string{
		"http://m.example/debian/":     security + "\n" + vendor + "\n" + debian,
		"http://other.example/debian/": record("http://m.example/debian-security/", "", "", "main") + "\n" + record("http://other.example/debian/", "", "", "main"),
		"":                             ubuntu + "\n" + vendor,
	} {
		require.Equal(t, want, pickMirror(targets))
	}
	require.Equal(t, "", pickMirror(""))
}

// program makes an executable that prints a version, and is no server.
func program(t *testing.T, dir, version string) string {
	t.Helper()
	path := filepath.Join(dir, "mysqld")
	require.NoError(t, os.WriteFile(path, fmt.Appendf(nil, "#!/bin/sh\necho 'mysqld  Ver %s'\n", version), 0o700))
	return path
}

func TestFind(t *testing.T) {
	if isFile("/usr/sbin/mysqld") {
		t.Setenv("HOME", t.TempDir()) // the rest of the test sets PATH; this one is found beside it
	}
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	dir, shell := t.TempDir(), os.Getenv("PATH")
	t.Setenv(EnvBinary, "")

	t.Setenv("PATH", dir+":"+shell)
	program(t, dir, "8.4.6 for Linux on x86_64")
	b, err := Find(t.Context())
	require.NoError(t, err)
	require.Equal(t, Version{8, 4, 6}, b.Version)

	for _, old := range []string{"5.7.44 for Linux", "10.11.6-MariaDB for Linux"} {
		program(t, dir, old)
		_, err = Find(t.Context())
		require.ErrorIs(t, err, errs.NoMySQL)
		require.ErrorContains(t, err, filepath.Join(dir, "mysqld"), "what was found and why it is not used")
	}

	named := program(t, t.TempDir(), "9.9.9 for Linux")
	t.Setenv(EnvBinary, named)
	b, err = Find(t.Context())
	require.NoError(t, err)
	require.Equal(t, named, b.Path)
	for _, wrong := range []string{"/nonexistent", dir, program(t, t.TempDir(), "5.6.1 for Linux")} {
		t.Setenv(EnvBinary, wrong)
		_, err = Find(t.Context())
		require.ErrorIs(t, err, errs.BadInput)
		require.ErrorContains(t, err, EnvBinary)
		_, err = Ensure(t.Context(), nil)
		require.ErrorIs(t, err, errs.BadInput, "what somebody asked for by name is not replaced by an install")
	}
}

func TestInstallSaysWhatIsMissing(t *testing.T) {
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	t.Setenv(EnvBinary, "")
	t.Setenv("PATH", t.TempDir())
	if isFile("/usr/sbin/mysqld") {
		return // this machine has what the test takes away
	}
	_, err := Ensure(t.Context(), nil)
	require.ErrorIs(t, err, errs.NoMySQL)
	require.ErrorContains(t, err, "apt-get")
	require.Contains(t, errs.Of(err).NextSteps()[0], EnvBinary)
}

// fakeApt puts an apt-get on the PATH that fails as the real one does.
func fakeApt(t *testing.T, script string) {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{"apt-get": script, "apt-config": "", "dpkg": ""} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"+text+"\n"), 0o700))
	}
	t.Setenv("PATH", dir+":/bin:/usr/bin")
}

func TestInstallWithoutANetwork(t *testing.T) {
	if isFile("/usr/sbin/mysqld") || !isFile(keyrings[0]) && !isFile(keyrings[1]) {
		return
	}
	cache := t.TempDir()
	t.Setenv("XDG_CACHE_HOME", cache)
	t.Setenv(EnvBinary, "")
	const targets = `if [ "$1" = indextargets ]; then printf 'Component: main\nRepo-URI: http://mirror.example/debian/\n'; exit; fi; `
	for script, says := range map[string]string{
		"echo broken >&2; exit 1": "broken",
		"true":                    "knows no mirror",
		targets + `echo "E: Temporary failure resolving 'mirror.example'" >&2; exit 100`:                                    "mirror.example",
		targets + `if [ "$1" = update ]; then exit; fi; echo "E: Unable to locate package mysql-server-core" >&2; exit 100`: "Unable to locate package",
		targets + `true`: "no packages",
	} {
		fakeApt(t, script)
		_, err := Install(t.Context(), nil)
		require.ErrorIs(t, err, errs.NoMySQL, script)
		require.ErrorContains(t, err, says)
		require.Contains(t, errs.Of(err).NextSteps()[0], EnvBinary)
		left, _ := filepath.Glob(filepath.Join(cache, "braid", "*"))
		require.Equal(t, []string{filepath.Join(cache, "braid", "install.lock")}, left, "M1: nothing half done is left")
	}
}

func TestCacheWithoutAHome(t *testing.T) {
	t.Setenv("HOME", "")
	t.Setenv("XDG_CACHE_HOME", "")
	tmp := t.TempDir()
	t.Setenv("TMPDIR", tmp)
	dir, err := cacheDir()
	require.NoError(t, err)
	require.Contains(t, dir, tmp)
	require.NoError(t, os.Chmod(dir, 0o777)) //nolint:gosec // that is what is tested
	_, err = cacheDir()
	require.Error(t, err, "a directory that others can write is not trusted")
}
