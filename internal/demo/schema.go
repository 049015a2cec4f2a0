package demo

// The tables and columns are those of Vitess's local example, so that people who know it feel at home.
const createTables = `
CREATE TABLE product (sku VARBINARY(128) NOT NULL, description VARBINARY(128), price BIGINT, PRIMARY KEY (sku));
CREATE TABLE customer (customer_id BIGINT NOT NULL, email VARBINARY(128), PRIMARY KEY (customer_id));
CREATE TABLE corder (order_id BIGINT NOT NULL, customer_id BIGINT NOT NULL, sku VARBINARY(128), price BIGINT, PRIMARY KEY (order_id));
CREATE TABLE customer_seq (id INT NOT NULL, next_id BIGINT NOT NULL, cache BIGINT NOT NULL, PRIMARY KEY (id)) COMMENT 'vitess_sequence';
CREATE TABLE order_seq (id INT NOT NULL, next_id BIGINT NOT NULL, cache BIGINT NOT NULL, PRIMARY KEY (id)) COMMENT 'vitess_sequence';
`

const commerceVSchema = `{
  "sharded": false,
  "tables": {
    "product": {},
    "customer": {"auto_increment": {"column": "customer_id", "sequence": "commerce.customer_seq"}},
    "corder": {"auto_increment": {"column": "order_id", "sequence": "commerce.order_seq"}},
    "customer_seq": {"type": "sequence"},
    "order_seq": {"type": "sequence"}
  }
}`

// The tables take their ids from the same sequences before and after they move.
const customerUnshardedVSchema = `{
  "sharded": false,
  "tables": {
    "customer": {"auto_increment": {"column": "customer_id", "sequence": "commerce.customer_seq"}},
    "corder": {"auto_increment": {"column": "order_id", "sequence": "commerce.order_seq"}}
  }
}`

const customerVSchema = `{
  "sharded": true,
  "vindexes": {"hash": {"type": "hash"}},
  "tables": {
    "customer": {
      "column_vindexes": [{"column": "customer_id", "name": "hash"}],
      "auto_increment": {"column": "customer_id", "sequence": "commerce.customer_seq"}
    },
    "corder": {
      "column_vindexes": [{"column": "customer_id", "name": "hash"}],
      "auto_increment": {"column": "order_id", "sequence": "commerce.order_seq"}
    }
  }
}`

const sequenceCache = 1000
