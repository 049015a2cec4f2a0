//go:build !unix

package mysqlproto

// Alive says whether an idle connection looks usable. Here only what was read already is known.
func (c *Client) Alive() bool { return !c.Buffered() }
