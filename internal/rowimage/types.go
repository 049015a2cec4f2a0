package rowimage

import "fmt"

// Column types as TABLE_MAP events number them.
const (
	typeTiny       = 1
	typeShort      = 2
	typeLong       = 3
	typeFloat      = 4
	typeDouble     = 5
	typeTimestamp  = 7 // the old temporal types, from tables made before MySQL 5.6.4
	typeLongLong   = 8
	typeInt24      = 9
	typeDate       = 10
	typeTime       = 11
	typeDatetime   = 12
	typeYear       = 13
	typeVarchar    = 15
	typeBit        = 16
	typeTimestamp2 = 17
	typeDatetime2  = 18
	typeTime2      = 19
	typeVector     = 242
	typeJSON       = 245
	typeDecimal    = 246
	typeEnum       = 247 // ENUM and SET arrive as STRING, with the real type in the metadata
	typeSet        = 248
	typeTinyBlob   = 249
	typeMediumBlob = 250
	typeLongBlob   = 251
	typeBlob       = 252
	typeVarString  = 253
	typeString     = 254
	typeGeometry   = 255
)

var typeNames = map[byte]string{
	typeTiny: "tinyint", typeShort: "smallint", typeInt24: "mediumint", typeLong: "int", typeLongLong: "bigint",
	typeFloat: "float", typeDouble: "double", typeDecimal: "decimal", typeBit: "bit", typeYear: "year", typeDate: "date",
	typeTime: "time", typeTime2: "time", typeDatetime: "datetime", typeDatetime2: "datetime",
	typeTimestamp: "timestamp", typeTimestamp2: "timestamp",
	typeVarchar: "varchar", typeVarString: "varchar", typeString: "char", typeEnum: "enum", typeSet: "set",
	typeTinyBlob: "blob", typeMediumBlob: "blob", typeLongBlob: "blob", typeBlob: "blob",
	typeJSON: "json", typeGeometry: "geometry", typeVector: "vector",
}

func typeName(t byte) string {
	if name, ok := typeNames[t]; ok {
		return name
	}
	return fmt.Sprintf("type %d", t)
}

// metaSize is how many bytes of the metadata block a type has.
func metaSize(t byte) (int, bool) {
	switch t {
	case typeTiny, typeShort, typeLong, typeLongLong, typeInt24, typeYear, typeDate, typeTime, typeDatetime, typeTimestamp:
		return 0, true
	case typeFloat, typeDouble, typeTimestamp2, typeDatetime2, typeTime2, typeJSON, typeGeometry, typeVector,
		typeTinyBlob, typeBlob, typeMediumBlob, typeLongBlob:
		return 1, true
	case typeVarchar, typeVarString, typeBit, typeDecimal, typeString, typeEnum, typeSet:
		return 2, true
	}
	return 0, false
}
