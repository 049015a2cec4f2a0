package mysqlproto

import (
	"encoding/binary"
	"errors"

	"github.com/go-mysql-org/go-mysql/mysql"

	"braid/internal/base/errs"
	"braid/internal/mysqlwire"
)

// OK is the end of a statement that went well: an OK packet, or what stands at the end of rows.
type OK struct {
	Affected uint64
	InsertID uint64
	Status   uint16 // mysql.SERVER_STATUS_…
	Warnings uint16
	Info     []byte
	State    []byte // what the session tracker reports, in its own encoding; empty when nothing changed
}

// InTransaction says that the session has an open transaction.
func (o OK) InTransaction() bool { return o.Status&mysql.SERVER_STATUS_IN_TRANS != 0 }

// More says that another result follows.
func (o OK) More() bool { return o.Status&mysql.SERVER_MORE_RESULTS_EXISTS != 0 }

// GTID is the transaction that the statement committed, when the session tracks GTIDs.
func (o OK) GTID() string {
	for r := (mysqlwire.Fields{P: o.State}); len(r.P) > 0 && !r.Bad; {
		kind := r.Byte()
		body := r.Bytes()
		if kind == mysql.SESSION_TRACK_GTIDS && len(body) > 1 {
			gtid := mysqlwire.Fields{P: body[1:]} // the first byte names the encoding, 0 is the only one
			return string(gtid.Bytes())
		}
	}
	return ""
}

// clone makes o independent of the packet that it was read from.
func (o OK) clone() OK {
	o.Info, o.State = append([]byte(nil), o.Info...), append([]byte(nil), o.State...)
	return o
}

func parseOK(p []byte, caps uint32) (OK, error) {
	r := mysqlwire.Fields{P: p[1:]}
	o := OK{Affected: r.Int(), InsertID: r.Int()}
	o.Status, o.Warnings = r.Uint16(), r.Uint16()
	if caps&mysql.CLIENT_SESSION_TRACK == 0 {
		o.Info = r.P
		return o, malformed(r)
	}
	if len(r.P) > 0 {
		o.Info = r.Bytes()
	}
	if o.Status&mysql.SERVER_SESSION_STATE_CHANGED != 0 {
		o.State = r.Bytes()
	}
	return o, malformed(r)
}

func malformed(r mysqlwire.Fields) error {
	if r.Bad {
		return errMalformed
	}
	return nil
}

func (o OK) append(dst []byte, header byte, caps uint32) []byte {
	if caps&mysql.CLIENT_SESSION_TRACK == 0 || len(o.State) == 0 {
		o.Status &^= mysql.SERVER_SESSION_STATE_CHANGED
		o.State = nil
	}
	dst = mysqlwire.AppendInt(mysqlwire.AppendInt(append(dst, header), o.Affected), o.InsertID)
	dst = binary.LittleEndian.AppendUint16(dst, o.Status)
	dst = binary.LittleEndian.AppendUint16(dst, o.Warnings)
	switch {
	case caps&mysql.CLIENT_SESSION_TRACK == 0:
		dst = append(dst, o.Info...)
	case o.State != nil:
		dst = mysqlwire.AppendBytes(mysqlwire.AppendBytes(dst, o.Info), o.State)
	case len(o.Info) > 0:
		dst = mysqlwire.AppendBytes(dst, o.Info)
	}
	return dst
}

func appendEOF(dst []byte, status, warnings uint16) []byte {
	return append(dst, mysql.EOF_HEADER, byte(warnings), byte(warnings>>8), byte(status), byte(status>>8))
}

func parseErr(p []byte) (*mysql.MyError, error) {
	if len(p) < 3 {
		return nil, errMalformed
	}
	e := &mysql.MyError{Code: binary.LittleEndian.Uint16(p[1:]), State: mysql.DEFAULT_MYSQL_STATE}
	p = p[3:]
	if len(p) >= 6 && p[0] == '#' {
		e.State, p = string(p[1:6]), p[6:]
	}
	e.Message = string(p)
	return e, nil
}

func appendErr(dst []byte, e *mysql.MyError) []byte {
	dst = append(dst, mysql.ERR_HEADER, byte(e.Code), byte(e.Code>>8), '#')
	state := e.State
	if len(state) != 5 {
		state = mysql.DEFAULT_MYSQL_STATE
	}
	return append(append(dst, state...), e.Message...)
}

// Error makes a MySQL error.
func Error(code uint16, state, message string) *mysql.MyError {
	return &mysql.MyError{Code: code, State: state, Message: message}
}

// AsError is what a client is told of err: the entry of the catalogue if err is an occurrence of one, else MySQL's own error.
func AsError(err error) *mysql.MyError {
	if _, known := errors.AsType[*errs.Error](err); !known {
		if e := AsMySQL(err); e != nil {
			return e
		}
	}
	e := errs.Of(err)
	return Error(e.MySQLErrno, e.SQLState, e.Error()+" ["+e.Code+"]")
}

// AsMySQL is MySQL's own error in err's chain, or nil.
func AsMySQL(err error) *mysql.MyError {
	if e, ok := errors.AsType[*mysql.MyError](err); ok {
		return e
	}
	return nil
}
