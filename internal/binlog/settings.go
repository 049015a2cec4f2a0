package binlog

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"

	"braid/internal/sqlconn"
)

// Setting is a session variable under which a statement was run. Value is a literal; collations and SQL modes are numbers, as SET takes them.
type Setting struct {
	Name, Value string
	// Guarded variables need a privilege even to be set to what they are.
	Guarded bool
}

// Codes of the status variables of a QUERY event (libs/mysql/binlog/event/statement_events.h of the server).
const (
	statusFlags           = 0
	statusSQLMode         = 1
	statusCatalogOld      = 2
	statusAutoIncrement   = 3
	statusCharset         = 4
	statusTimeZone        = 5
	statusCatalog         = 6
	statusTimeNames       = 7
	statusCharsetDatabase = 8
	statusTableMap        = 9
	statusDataWritten     = 10
	statusInvoker         = 11
	statusUpdatedDBs      = 12
	statusMicroseconds    = 13
	statusTimestampNulls  = 16
	statusXid             = 17
	statusUTF8MB4         = 18
	statusRequireKey      = 19
	statusEncryption      = 20
)

// fixed are the lengths of variables whose values are not asked for.
var fixed = map[byte]int{
	statusFlags: 4, statusTimeNames: 2, statusCharsetDatabase: 2, statusTableMap: 8, statusDataWritten: 4, statusMicroseconds: 3, statusXid: 8,
	statusSQLMode: 8, statusCharset: 6, statusAutoIncrement: 4, statusTimestampNulls: 1, statusUTF8MB4: 2, statusRequireKey: 1, statusEncryption: 1,
}

// everyDB stands for the number of databases where they are too many to be named.
const everyDB = 254

var errShort = errors.New("status variables of a QUERY event are cut off")

// Settings reads the status variables of a QUERY event: the settings that decide what the text of a definition means. foreign_key_checks is not one of
// them: whoever runs the statement elsewhere decides whether rows are looked at.
func Settings(vars []byte) (all []Setting, err error) {
	r := statusReader{rest: vars}
	for len(r.rest) > 0 && r.err == nil {
		switch code := r.take(1)[0]; code {
		case statusSQLMode:
			all = append(all, Setting{Name: "sql_mode", Value: fmt.Sprint(binary.LittleEndian.Uint64(r.take(8)))})
		case statusCharset:
			all = append(all, Setting{Name: "character_set_client", Value: r.short()}, Setting{Name: "collation_connection", Value: r.short()},
				Setting{Name: "collation_server", Value: r.short()})
		case statusTimeZone:
			all = append(all, Setting{Name: "time_zone", Value: sqlconn.Quote(r.text())})
		case statusAutoIncrement:
			all = append(all, Setting{Name: "auto_increment_increment", Value: r.short()}, Setting{Name: "auto_increment_offset", Value: r.short()})
		case statusTimestampNulls:
			all = append(all, Setting{"explicit_defaults_for_timestamp", fmt.Sprint(r.take(1)[0]), true})
		case statusUTF8MB4:
			all = append(all, Setting{"default_collation_for_utf8mb4", r.short(), true})
		case statusRequireKey:
			all = append(all, Setting{"sql_require_primary_key", fmt.Sprint(r.take(1)[0]), true})
		case statusEncryption:
			all = append(all, Setting{"default_table_encryption", fmt.Sprint(r.take(1)[0]), true})
		default:
			r.skip(code)
		}
	}
	return all, r.err
}

// begunUS is when a session began to run a statement. The event's header has whole seconds; the rest is a status variable, if the statement has
// asked for it.
func begunUS(seconds uint32, vars []byte) int64 {
	us := int64(seconds) * 1_000_000
	r := statusReader{rest: vars}
	for len(r.rest) > 0 && r.err == nil {
		if code := r.take(1)[0]; code == statusMicroseconds {
			b := r.take(3)
			return us + (int64(b[0]) | int64(b[1])<<8 | int64(b[2])<<16)
		} else {
			r.skip(code)
		}
	}
	return us
}

// statusReader takes status variables apart. After an error it returns zeros.
type statusReader struct {
	rest []byte
	err  error
}

func (r *statusReader) take(n int) []byte {
	if n > len(r.rest) {
		r.err, r.rest = errShort, nil
	}
	if r.err != nil {
		return make([]byte, n)
	}
	out := r.rest[:n]
	r.rest = r.rest[n:]
	return out
}

func (r *statusReader) short() string { return fmt.Sprint(binary.LittleEndian.Uint16(r.take(2))) }

func (r *statusReader) text() string { return string(r.take(int(r.take(1)[0]))) }

// skip passes over a variable. The length of one that is not known is not known either, so that what lies behind it cannot be read.
func (r *statusReader) skip(code byte) {
	if n, known := fixed[code]; known {
		r.take(n)
		return
	}
	switch code {
	case statusCatalogOld:
		r.take(int(r.take(1)[0]) + 1)
	case statusCatalog, statusTimeZone:
		r.text()
	case statusInvoker:
		r.text()
		r.text()
	case statusUpdatedDBs:
		r.databases()
	default:
		r.err = fmt.Errorf("status variable %d of a QUERY event is not known: upgrade braid", code)
	}
}

func (r *statusReader) databases() {
	n := r.take(1)[0]
	if n == everyDB {
		return
	}
	for range n {
		end := strings.IndexByte(string(r.rest), 0)
		if end < 0 {
			r.err = errShort
			return
		}
		r.take(end + 1)
	}
}
