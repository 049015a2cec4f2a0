package sqlconn

import (
	"strconv"
	"strings"

	"braid/internal/base/errs"
)

// Unsupported says why no session is made with servers of a version, and what to do; both are empty for MySQL 8.0 and later. The version is
// that of a server's greeting.
func Unsupported(version string) (why, remedy string) {
	major, _ := strconv.Atoi(version[:max(strings.IndexByte(version, '.'), 0)])
	switch {
	case strings.Contains(strings.ToLower(version), "mariadb"): // its greeting may begin with 5.5.5, too
		return "it is MariaDB, whose binlog and GTIDs are of another kind", "use a MySQL server: MariaDB can be neither source nor target"
	case major < 8:
		return "it is older than MySQL 8.0, and lacks what exact reading and writing need",
			"upgrade the server; to read from it, a replica of it that runs MySQL 8.0 or later will do"
	}
	return "", ""
}

// supported refuses the servers of Unsupported by name, instead of with what their first answer happens to be.
func (c *Conn) supported() error {
	if why, remedy := Unsupported(c.ServerVersion()); why != "" {
		return errs.New(errs.ServerUnsupported, nil, "MySQL server at %s, version %s: %s", c.cfg.Addr, c.ServerVersion(), why).With(remedy)
	}
	return nil
}
