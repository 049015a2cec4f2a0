package vschema_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"braid/internal/vschema"
)

const customer = `{
  "sharded": true,
  "vindexes": {
    "hash": {"type": "hash"},
    "names": {"type": "unicode_loose_md5"}
  },
  "tables": {
    "customer": {
      "column_vindexes": [{"column": "customer_id", "name": "hash"}, {"columns": ["name"], "name": "names"}],
      "auto_increment": {"column": "customer_id", "sequence": "commerce.customer_seq"}
    },
    "country": {"type": "reference"}
  }
}`

func TestShardedKeyspace(t *testing.T) {
	k, err := vschema.Parse([]byte(customer))
	require.NoError(t, err)
	require.True(t, k.Sharded)
	require.Equal(t, []string{"country", "customer"}, k.TableNames())
	v, columns, ok := k.PrimaryVindex("customer")
	require.True(t, ok)
	require.Equal(t, "hash", v.Type())
	require.Equal(t, []string{"customer_id"}, columns)
	_, _, ok = k.PrimaryVindex("country")
	require.False(t, ok)
	_, _, ok = k.PrimaryVindex("nobody")
	require.False(t, ok)
	keyspace, table := k.Sequence("customer").Split()
	require.Equal(t, []string{"commerce", "customer_seq"}, []string{keyspace, table})
	require.Nil(t, k.Sequence("country"))
	require.Equal(t, vschema.TypeReference, k.Table("country").Type)
	require.Nil(t, k.Table("nobody"))
}

func TestUnshardedKeyspace(t *testing.T) {
	k, err := vschema.Parse([]byte(`{"tables": {"product": {}, "customer_seq": {"type": "sequence"}}}`))
	require.NoError(t, err)
	require.False(t, k.Sharded)
	_, _, ok := k.PrimaryVindex("product")
	require.False(t, ok)
	require.Equal(t, vschema.TypeSequence, k.Table("customer_seq").Type)
	empty, err := vschema.Parse([]byte(`{}`))
	require.NoError(t, err)
	require.Equal(t, "{}", empty.String())
}

func TestRoundTrip(t *testing.T) {
	k, err := vschema.Parse([]byte(customer))
	require.NoError(t, err)
	again, err := vschema.Parse(k.JSON())
	require.NoError(t, err)
	require.Equal(t, k.String(), again.String())
	require.JSONEq(t, customer, k.String())
}

func TestStrict(t *testing.T) {
	table := func(body string) string {
		return `{"sharded": true, "vindexes": {"hash": {"type": "hash"}}, "tables": {"t": ` + body + `}}`
	}
	for _, c := range []struct{ in, why string }{
		{`{"sharde": true}`, `unknown field "sharde"`},
		{`{} {}`, "something follows"},
		{`[]`, "vschema: json"},
		{table(`{"column_vindex": []}`), `unknown field "column_vindex"`},
		{table(`{}`), "table t: the keyspace is sharded, and the table has no column vindex"},
		{table(`null`), "table t: it has no name or no definition"},
		{table(`{"column_vindexes": [{"column": "id", "name": "hush"}]}`), `table t: column vindex 1: unknown vindex "hush"; the keyspace has hash`},
		{table(`{"column_vindexes": [{"column": "id"}]}`), "table t: column vindex 1: it names no vindex"},
		{table(`{"column_vindexes": [{"name": "hash"}]}`), "table t: column vindex 1: it names no column"},
		{table(`{"column_vindexes": [{"columns": [""], "name": "hash"}]}`), "it names no column"},
		{table(`{"column_vindexes": [{"column": "a", "columns": ["b"], "name": "hash"}]}`), "exclude each other"},
		{table(`{"column_vindexes": [{"columns": ["a", "b"], "name": "hash"}]}`), "vindex hash takes one column, not a, b"},
		{table(`{"type": "referance"}`), `table t: unknown type "referance"`},
		{table(`{"type": "sequence"}`), "table t: a sequence must be in an unsharded keyspace"},
		{table(`{"type": "reference", "column_vindexes": [{"column": "id", "name": "hash"}]}`), "a reference table has no column vindexes"},
		{table(`{"column_vindexes": [{"column": "id", "name": "hash"}], "auto_increment": {"column": "id", "sequence": "seq"}}`), `sequence "seq": want keyspace.table`},
		{table(`{"column_vindexes": [{"column": "id", "name": "hash"}], "auto_increment": {"sequence": "a.b"}}`), "auto_increment: it names no column"},
		{`{"sharded": true, "vindexes": {"v": {"type": "hush"}}}`, `vindex v: unknown vindex type "hush"; known are binary,`},
		{`{"sharded": true, "vindexes": {"v": {"type": "hash", "params": {"table": "x"}}}}`, "takes no parameters: table"},
		{`{"sharded": true, "vindexes": {"v": null}}`, "vindex v has no definition"},
		{`{"vindexes": {"v": {"type": "hash"}}}`, "the keyspace is not sharded"},
		{`{"tables": {"t": {"column_vindexes": [{"column": "id", "name": "v"}]}}}`, "table t: column vindex 1: the keyspace is not sharded"},
		{`{"tables": {"t": {"type": "sequence", "auto_increment": {"column": "id", "sequence": "a.b"}}}}`, "is itself a sequence"},
	} {
		_, err := vschema.Parse([]byte(c.in))
		require.ErrorContains(t, err, c.why, c.in)
	}
}

// All mistakes are told at once.
func TestErrorsAreCollected(t *testing.T) {
	_, err := vschema.Parse([]byte(`{"sharded": true, "tables": {"a": {}, "b": {"type": "x"}}}`))
	require.ErrorContains(t, err, "table a")
	require.ErrorContains(t, err, "table b")
}
