package mysqlproto

import (
	"context"
	"encoding/binary"

	"github.com/go-mysql-org/go-mysql/mysql"

	"braid/internal/mysqlwire"
)

// Prepared is what a server says of a statement without running it.
type Prepared struct {
	ID      uint32
	Params  []Column
	Columns []Column
}

// Describe asks the server for a statement's parameters and columns. MySQL's refusal is a *mysql.MyError.
func (c *Client) Describe(ctx context.Context, sql string) (Prepared, error) {
	defer c.Under(ctx)()
	if err := c.Send(mysql.COM_STMT_PREPARE, []byte(sql)); err != nil {
		return Prepared{}, err
	}
	c.answer()
	var out Prepared
	head, err := c.prepareHead()
	if err != nil {
		return out, err
	}
	out.ID = head.id
	if out.Params, err = c.definitions(head.params); err != nil {
		return out, err
	}
	if out.Columns, err = c.definitions(head.columns); err != nil {
		return out, err
	}
	return out, c.Send(mysql.COM_STMT_CLOSE, binary.LittleEndian.AppendUint32(nil, out.ID))
}

type prepareHead struct {
	id              uint32
	columns, params int
	packet          []byte
}

func (c *Client) prepareHead() (prepareHead, error) {
	p, err := c.ReadPacket(1 << 20)
	if err != nil {
		return prepareHead{}, lost(err)
	}
	if len(p) > 0 && p[0] == mysql.ERR_HEADER {
		return prepareHead{}, refusal(p)
	}
	r := mysqlwire.Fields{P: p}
	r.Byte()
	h := prepareHead{id: r.Uint32(), columns: int(r.Uint16()), params: int(r.Uint16()), packet: p}
	if r.Bad {
		return h, lost(errMalformed)
	}
	return h, nil
}

func (c *Client) definitions(n int) ([]Column, error) {
	if n == 0 {
		return nil, nil
	}
	c.columns = uint64(n)
	return c.Columns()
}

// RelayPrepare sends the answer to COM_STMT_PREPARE on. MySQL's refusal is sent on too and is no error.
func (c *Client) RelayPrepare(dst *ServerConn) error {
	c.answer()
	head, err := c.prepareHead()
	if e := AsMySQL(err); e != nil {
		return asClient(dst.WriteError(e))
	}
	if err != nil {
		return err
	}
	if err := dst.WritePacket(head.packet); err != nil {
		return asClient(err)
	}
	for _, n := range []int{head.params, head.columns} {
		cols, err := c.definitions(n)
		if err != nil {
			return err
		}
		if err := dst.writeDefinitions(cols); err != nil {
			return asClient(err)
		}
	}
	return nil
}

// WritePrepared answers COM_STMT_PREPARE.
func (c *ServerConn) WritePrepared(id uint32, params, columns []Column) error {
	p := binary.LittleEndian.AppendUint32([]byte{mysql.OK_HEADER}, id)
	p = binary.LittleEndian.AppendUint16(p, uint16(len(columns)))
	p = binary.LittleEndian.AppendUint16(p, uint16(len(params)))
	if err := c.WritePacket(append(p, 0, 0, 0)); err != nil {
		return err
	}
	if err := c.writeDefinitions(params); err != nil {
		return err
	}
	return c.writeDefinitions(columns)
}

func (c *ServerConn) writeDefinitions(cols []Column) error {
	if len(cols) == 0 {
		return nil
	}
	for _, col := range cols {
		if err := c.WritePacket(col.append(nil)); err != nil {
			return err
		}
	}
	return c.endColumns(c.status(0), 0)
}
