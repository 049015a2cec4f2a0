package vreplication

import (
	"slices"
	"strings"

	"braid/internal/sqlconn"
)

var denied = []uint16{1044, 1045, 1142, 1143, 1227, 1370}

// troubles are errors of MySQL that are waited out, and what ends them. A stream that meets one says so, tries again, and goes on by itself.
var troubles = []struct {
	codes  []uint16
	remedy string
}{
	{[]uint16{3, 20, 1021, 1041, 1114}, "the server has no space left: make room"},
	{[]uint16{1205, 1213}, "other sessions lock the same rows or tables: sys.innodb_lock_waits and sys.schema_table_lock_waits on the target show which; end them, or wait for them"},
	{denied, "GRANT what is missing to the account"},
	{[]uint16{1040, 1203, 1226}, "the server, or the account, has as many sessions as it may have: end some, or raise max_connections"},
}

// passing are errors of a server that is about to go down, or read-only, or that has ended the session or the statement.
var passing = []uint16{1053, 1317, 1836, 1927, 3100, 4031}

// erReadOnly is also the error of other options.
const erReadOnly = 1290

// remedy says what ends an error that is waited out; "" where nothing is known but to wait.
func remedy(err error) string {
	code := sqlconn.ErrCode(err)
	if code == erReadOnly && strings.Contains(err.Error(), "read-only") {
		return "the target is read-only: SET GLOBAL super_read_only=OFF, read_only=OFF"
	}
	for i := range troubles {
		if slices.Contains(troubles[i].codes, code) {
			return troubles[i].remedy
		}
	}
	return ""
}

// Passes says that an error of MySQL ends by itself, or when somebody does what remedy says. Those of privileges are not among them: at the begin of a
// stream they are an account that was given wrongly.
func Passes(err error) bool {
	code := sqlconn.ErrCode(err)
	return slices.Contains(passing, code) || remedy(err) != "" && !slices.Contains(denied, code)
}

// Trouble is an error that is waited out, as a message: with what ends it, where that is known.
func Trouble(err error) string {
	if err == nil {
		return ""
	}
	if what := remedy(err); what != "" {
		return err.Error() + "; " + what + "; then it goes on by itself"
	}
	return err.Error()
}
