package mysqld

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"braid/internal/process"
)

// minVersion is the oldest server that has what streams need: row metadata in the binlog, GTIDs, caching_sha2_password.
var minVersion = Version{8, 0, 0}

// Version is a server's version.
type Version struct{ Major, Minor, Patch int }

func (v Version) String() string { return fmt.Sprintf("%d.%d.%d", v.Major, v.Minor, v.Patch) }

// AtLeast compares versions.
func (v Version) AtLeast(major, minor, patch int) bool {
	return cmp.Or(v.Major-major, v.Minor-minor, v.Patch-patch) >= 0
}

var versionText = regexp.MustCompile(`\bVer (\d+)\.(\d+)\.(\d+)`)

// parseVersion reads what `mysqld --version` prints.
func parseVersion(text string) (Version, error) {
	if strings.Contains(text, "MariaDB") {
		return Version{}, errors.New("it is MariaDB, whose GTIDs and binlog differ")
	}
	m := versionText.FindStringSubmatch(text)
	if m == nil {
		return Version{}, fmt.Errorf("its version is not understood: %q", strings.TrimSpace(text))
	}
	var n [3]int
	for i := range n {
		n[i], _ = strconv.Atoi(m[i+1]) // digits by the pattern
	}
	v := Version{n[0], n[1], n[2]}
	if !v.AtLeast(minVersion.Major, minVersion.Minor, minVersion.Patch) {
		return Version{}, fmt.Errorf("it is MySQL %v, older than %v", v, minVersion)
	}
	return v, nil
}

// askVersion runs the program.
func (b *Binary) askVersion(ctx context.Context) (Version, error) {
	argv := append(append([]string{}, b.argv...), "--no-defaults", "--version")
	out, err := process.Run(ctx, process.Spec{Argv: argv, Env: b.env})
	if err != nil {
		return Version{}, err
	}
	return parseVersion(string(out))
}
