"""The table that benchmarks read: lineitem-like, 22 mixed columns, about 250 bytes a row in Arrow."""

TABLE = "bench_lineitem"

CREATE = f"""
CREATE TABLE IF NOT EXISTS {TABLE} (
  id bigint PRIMARY KEY, order_id bigint NOT NULL, part_id integer NOT NULL, supplier_id integer NOT NULL,
  line_number smallint NOT NULL, warehouse_id integer, quantity numeric(12,2) NOT NULL, price numeric(12,2) NOT NULL,
  discount numeric(12,2) NOT NULL, tax numeric(12,2), weight double precision, ship_date date NOT NULL,
  commit_date date, receipt_date date, created_at timestamp NOT NULL, updated_at timestamptz NOT NULL,
  returned boolean NOT NULL, status text NOT NULL, mode text NOT NULL, instructions text, comment text, attributes json
)"""

FILL = f"""
INSERT INTO {TABLE}
SELECT g, g / 4, g % 200000, g % 10000, g % 7, CASE WHEN g % 11 = 0 THEN NULL ELSE g % 50 END,
  (g % 5000) / 100.0, (g % 9000000) / 100.0, (g % 10) / 100.0, CASE WHEN g % 13 = 0 THEN NULL ELSE (g % 8) / 100.0 END,
  g * 0.731, DATE '2024-01-01' + (g % 365)::int, DATE '2024-01-15' + (g % 365)::int,
  CASE WHEN g % 17 = 0 THEN NULL ELSE DATE '2024-02-01' + (g % 365)::int END,
  TIMESTAMP '2024-01-01' + g * INTERVAL '1 second', TIMESTAMPTZ '2024-01-01 00:00:00+00' + g * INTERVAL '7 seconds',
  g % 5 = 0, (ARRAY['open','filled','pending'])[g % 3 + 1], (ARRAY['AIR','RAIL','SHIP','TRUCK','MAIL'])[g % 5 + 1],
  CASE WHEN g % 4 = 0 THEN NULL ELSE 'DELIVER IN PERSON ' || g % 90 END,
  'règlement ' || md5(g::text) || ' 包装 🚚 ' || g % 1000, json_build_object('a', g % 100, 'b', 'x' || g % 7)
FROM generate_series({{first}}, {{last}}) AS g"""
