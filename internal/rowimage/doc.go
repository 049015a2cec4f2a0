// Package rowimage is about rows: how the binlog stores them, and the one form in which Braid compares, filters and writes them.
//
// # Model
//
// A [Row] has one cell per column, in table order. A cell is the text that MySQL's text protocol gives for the column, with
// time_zone '+00:00' and NAMES binary, made canonical so that a SELECT and a binlog image give identical bytes:
//
//	integers, YEAR, DECIMAL    the text, without the padding of ZEROFILL
//	FLOAT, DOUBLE              the shortest decimal text of the value as a 64-bit float (Go's 'g', -1, 64)
//	BIT, ENUM, SET             the number, unsigned
//	DATE, TIME, DATETIME,
//	TIMESTAMP                  the text with the column's fractional digits
//	CHAR, VARCHAR, TEXT        the bytes in the column's character set
//	BINARY(n)                  n bytes, padded with zeros
//	VARBINARY, BLOB, GEOMETRY,
//	VECTOR                     the bytes
//	JSON                       the text as MySQL renders it
//
// [SelectExpr] and [Canonical] make cells of a SELECT; a [Decoder] makes them of a row event; [AppendLiteral] writes one back.
//
// A [TableMap] is a parsed TABLE_MAP event; its [Decoder] is compiled for one table definition. It walks a row event in two steps, and
// the first is all that a filter needs:
//
//	body ──walk──▶ Image: offsets of each cell, no allocation ──cell──▶ canonical bytes, for the columns that are wanted
//
// For a filter, or for a user who needs bytes and not values, a [Cursor] stops after the first step: [Image.Raw] is a cell as the binlog
// has it, and a row can be found again by its offset in the body. An [Encoder] makes events of images, for another table, with some
// of the columns: what a BINLOG statement takes. A [Keeper] copies images out of events, raw and canonical cells in one piece.
//
// # Invariants
//
//   - Decoding an image and selecting the row give equal cells, for every type; the round trip against a real server proves it.
//   - Storing a cell with AppendLiteral and selecting it gives the cell again, with the one exception that AppendLiteral names.
//   - No input makes a parser panic or read outside of its argument, and none allocates more than a small multiple of its size.
//
// # Concurrency
//
// A TableMap is immutable. A Decoder owns scratch memory: one goroutine at a time.
//
// # Failure
//
// An image that does not fit its definition is an error that shows both sides, never a guess. Partial images (binlog_row_image other
// than FULL) are [ErrPartialImage]. Partial JSON updates (binlog_row_value_options=PARTIAL_JSON) are applied to the image before, so that
// users see whole images only; a difference that does not fit its document is an error that names its path.
package rowimage
