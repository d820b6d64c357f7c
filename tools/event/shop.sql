-- SPDX-License-Identifier: BSD-2-Clause
-- The shop of the event demo: the same rows every time.  Its numbers are made up, but evenly: each
-- category has about 50 products, each product 30 to 89 sales and up to 15 reviews, so that every
-- page costs about the same.
\set ON_ERROR_STOP on
SET max_parallel_workers_per_gather = 0;
SELECT setseed(0.5) \g /dev/null
BEGIN;

CREATE TABLE products AS
SELECT id, 'Product ' || id AS name, floor(random() * 275)::int AS category,
       199 + floor(random() * 20000)::int AS price
FROM generate_series(0, 13755) id;

CREATE TABLE orders AS
SELECT id, id * 365 / 200000 AS day, random() < 0.05 AS cancelled
FROM generate_series(0, 199999) id;

CREATE TABLE order_items AS
SELECT p.id AS product, (n * gap + floor(random() * gap))::int AS order_id,
       1 + floor(random() * 3)::int AS quantity,
       price * (80 + floor(random() * 21)::int) / 100 AS price
FROM (SELECT id, price, 30 + floor(random() * 60)::int AS n_sales FROM products OFFSET 0) p,
     LATERAL (SELECT 200000 / n_sales AS gap) g,
     LATERAL generate_series(0, n_sales - 1) n;

CREATE TABLE reviews AS
SELECT p.id AS product, floor(random() * 365)::int AS day, 1 + floor(random() * 5)::int AS stars
FROM (SELECT id, floor(random() * 16)::int AS n_reviews FROM products OFFSET 0) p,
     LATERAL generate_series(1, n_reviews) n;

ALTER TABLE products ADD PRIMARY KEY (id);
ALTER TABLE orders ADD PRIMARY KEY (id);
ALTER TABLE order_items ADD PRIMARY KEY (product, order_id);
CREATE INDEX ON products (category);
CREATE INDEX ON reviews (product);
GRANT SELECT ON products, orders, order_items, reviews TO shop;
COMMIT;

VACUUM ANALYZE;
CREATE EXTENSION pg_stat_statements;
