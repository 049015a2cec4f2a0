package rowimage

import "braid/internal/schema"

// kind groups the data types whose cells are read and written alike.
type kind uint8

const (
	kindUnknown kind = iota
	kindInt
	kindYear
	kindDecimal
	kindFloat
	kindDouble
	kindBit
	kindEnum // and SET
	kindTime // DATE, TIME, DATETIME, TIMESTAMP: text
	kindText
	kindBinary // fixed length, padded with zeros
	kindBlob   // and VARBINARY, GEOMETRY, VECTOR: raw bytes
	kindJSON
)

var kinds = map[string]kind{
	"tinyint": kindInt, "smallint": kindInt, "mediumint": kindInt, "int": kindInt, "bigint": kindInt,
	"year": kindYear, "decimal": kindDecimal, "float": kindFloat, "double": kindDouble, "bit": kindBit,
	"enum": kindEnum, "set": kindEnum,
	"date": kindTime, "time": kindTime, "datetime": kindTime, "timestamp": kindTime,
	"char": kindText, "varchar": kindText, "tinytext": kindText, "text": kindText, "mediumtext": kindText, "longtext": kindText,
	"binary": kindBinary, "varbinary": kindBlob,
	"tinyblob": kindBlob, "blob": kindBlob, "mediumblob": kindBlob, "longblob": kindBlob,
	"geometry": kindBlob, "point": kindBlob, "linestring": kindBlob, "polygon": kindBlob, "multipoint": kindBlob,
	"multilinestring": kindBlob, "multipolygon": kindBlob, "geomcollection": kindBlob, "geometrycollection": kindBlob,
	"vector": kindBlob, "json": kindJSON,
}

func kindOf(col *schema.Column) kind { return kinds[col.DataType] }
