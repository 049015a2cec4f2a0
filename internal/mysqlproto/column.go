package mysqlproto

import (
	"encoding/binary"

	"github.com/go-mysql-org/go-mysql/mysql"

	"braid/internal/mysqlwire"
)

// Column is a column definition of a result.
type Column struct {
	Schema, Table, OrgTable string
	Name, OrgName           string
	Collation               uint16 // id of the collation that the client receives
	Length                  uint32
	Type                    byte // mysql.MYSQL_TYPE_…
	Flags                   uint16
	Decimals                byte
}

const (
	collationUTF8MB4 = 255 // utf8mb4_0900_ai_ci
	collationBinary  = 63
)

// Text makes columns of strings, for results that this program writes itself.
func Text(names ...string) []Column {
	cols := make([]Column, len(names))
	for i, name := range names {
		cols[i] = Column{Name: name, OrgName: name, Collation: collationUTF8MB4, Length: 1024, Type: mysql.MYSQL_TYPE_VAR_STRING, Decimals: 0x1f}
	}
	return cols
}

// Int makes a column of 64-bit integers.
func Int(name string) Column {
	return Column{Name: name, OrgName: name, Collation: collationBinary, Length: 21, Type: mysql.MYSQL_TYPE_LONGLONG, Flags: mysql.BINARY_FLAG}
}

// ParseColumn reads a column definition.
func ParseColumn(p []byte) (Column, error) {
	r := mysqlwire.Fields{P: p}
	r.Bytes() // catalog: always "def"
	c := Column{Schema: string(r.Bytes()), Table: string(r.Bytes()), OrgTable: string(r.Bytes()), Name: string(r.Bytes()), OrgName: string(r.Bytes())}
	r.Int() // length of the rest
	c.Collation, c.Length, c.Type, c.Flags, c.Decimals = r.Uint16(), r.Uint32(), r.Byte(), r.Uint16(), r.Byte()
	return c, malformed(r)
}

// append writes the definition as it goes over the wire.
func (c Column) append(dst []byte) []byte {
	dst = mysqlwire.AppendBytes(dst, "def")
	for _, s := range [...]string{c.Schema, c.Table, c.OrgTable, c.Name, c.OrgName} {
		dst = mysqlwire.AppendBytes(dst, s)
	}
	dst = append(dst, 0x0c, byte(c.Collation), byte(c.Collation>>8))
	dst = binary.LittleEndian.AppendUint32(dst, c.Length)
	return append(dst, c.Type, byte(c.Flags), byte(c.Flags>>8), c.Decimals, 0, 0)
}

// Unsigned says that an integer column has no sign.
func (c Column) Unsigned() bool { return c.Flags&mysql.UNSIGNED_FLAG != 0 }
