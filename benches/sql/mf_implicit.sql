-- Implicit factors of 1M users × 100k items, 21.8M pairs, and lists of ten for everybody.
--   tenure run benches/sql/mf_implicit.sql -v path=scale20m.parquet -v out=recommendations.parquet
CREATE EXTERNAL TABLE pairs STORED AS PARQUET LOCATION :'path';
CREATE VIEW events AS SELECT user_id, item_id, TIMESTAMP '2024-01-01 00:00:00' AS ts FROM pairs;
CREATE MODEL als WITH (model_type = 'mf_implicit', factors = 64, iterations = 5, split = 'none');
COPY (SELECT * FROM recommend(k => 10, model => 'als')) TO :'out' STORED AS PARQUET;
