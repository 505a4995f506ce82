-- clv(user_id) over ten million rows of a million customers, beside the engine's own join with a table of scores. Look at the second and later times.
--   tenure -q run benches/sql/lookup.sql -v path=sim_tx_10m.parquet
CREATE EXTERNAL TABLE tx STORED AS PARQUET LOCATION :'path';
CREATE TABLE ev AS SELECT customer_id AS dense, customer_id * 7919 AS sparse, 'customer-' || customer_id AS name, ts, amount FROM tx;
CREATE TABLE scores AS SELECT dense, sparse, name, row_number() OVER (ORDER BY dense) * 1.0 AS clv FROM (SELECT DISTINCT dense, sparse, name FROM ev);
\timing on

CREATE VIEW events AS SELECT dense AS user_id, ts, amount FROM ev;
SELECT max(clv(dense)) AS by_dense_integers FROM ev;
SELECT max(clv(dense)) AS by_dense_integers FROM ev;
SELECT max(clv(dense)) AS by_dense_integers FROM ev;
SELECT max(s.clv) AS joined_by_integers FROM ev e JOIN scores s ON s.dense = e.dense;
SELECT max(s.clv) AS joined_by_integers FROM ev e JOIN scores s ON s.dense = e.dense;

CREATE OR REPLACE VIEW events AS SELECT sparse AS user_id, ts, amount FROM ev;
SELECT max(clv(sparse)) AS by_sparse_integers FROM ev;
SELECT max(clv(sparse)) AS by_sparse_integers FROM ev;
SELECT max(clv(sparse)) AS by_sparse_integers FROM ev;
SELECT max(s.clv) AS joined_by_integers FROM ev e JOIN scores s ON s.sparse = e.sparse;
SELECT max(s.clv) AS joined_by_integers FROM ev e JOIN scores s ON s.sparse = e.sparse;

CREATE OR REPLACE VIEW events AS SELECT name AS user_id, ts, amount FROM ev;
SELECT max(clv(name)) AS by_names FROM ev;
SELECT max(clv(name)) AS by_names FROM ev;
SELECT max(clv(name)) AS by_names FROM ev;
SELECT max(s.clv) AS joined_by_names FROM ev e JOIN scores s ON s.name = e.name;
SELECT max(s.clv) AS joined_by_names FROM ev e JOIN scores s ON s.name = e.name;
