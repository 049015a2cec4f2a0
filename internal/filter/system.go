package filter

// System reports whether a database is the server's, or our own: rows of it are never followed.
func System(db string) bool {
	switch db {
	case "mysql", "information_schema", "performance_schema", "sys", "ndbinfo", "_braid":
		return true
	}
	return false
}
