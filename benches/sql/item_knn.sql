-- Item neighbours of 1M users × 100k items, 21.8M pairs.
--   tenure run benches/sql/item_knn.sql -v path=scale20m.parquet
CREATE EXTERNAL TABLE pairs STORED AS PARQUET LOCATION :'path';
CREATE VIEW events AS SELECT user_id, item_id, TIMESTAMP '2024-01-01 00:00:00' AS ts FROM pairs;
CREATE MODEL knn WITH (model_type = 'item_knn', similarity = 'cosine', neighbours = 50, split = 'none');
