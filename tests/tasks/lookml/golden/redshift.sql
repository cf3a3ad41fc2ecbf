-- every dimension
SELECT
  orders.made_at AS "orders.at_raw",
  TO_CHAR(CAST(orders.made_at AS TIMESTAMP), 'YYYY-MM-DD HH24:MI:SS') AS "orders.at_time",
  CAST(orders.made_at AS DATE) AS "orders.at_date",
  CAST(DATEADD(day, -MOD(MOD(CAST(DATE_PART('dow', CAST(orders.made_at AS TIMESTAMP)) AS INTEGER) + 6, 7) + 1, 7), CAST(orders.made_at AS DATE)) AS DATE) AS "orders.at_week",
  TO_CHAR(CAST(orders.made_at AS TIMESTAMP), 'YYYY-MM') AS "orders.at_month",
  TO_CHAR(DATE_TRUNC('quarter', CAST(orders.made_at AS TIMESTAMP)), 'YYYY-MM') AS "orders.at_quarter",
  CAST(DATE_PART('year', CAST(orders.made_at AS TIMESTAMP)) AS INTEGER) AS "orders.at_year",
  TO_CHAR(CAST(orders.made_at AS TIMESTAMP), 'HH24:MI') AS "orders.at_time_of_day",
  TO_CHAR(CAST(orders.made_at AS TIMESTAMP), 'YYYY-MM-DD HH24') AS "orders.at_hour",
  CAST(DATE_PART('hour', CAST(orders.made_at AS TIMESTAMP)) AS INTEGER) AS "orders.at_hour_of_day",
  TO_CHAR(CAST(orders.made_at AS TIMESTAMP), 'YYYY-MM-DD HH24:MI') AS "orders.at_minute",
  TO_CHAR(CAST(orders.made_at AS TIMESTAMP), 'YYYY-MM-DD HH24:MI:SS') AS "orders.at_second",
  CASE DATE_PART('dow', CAST(orders.made_at AS TIMESTAMP)) WHEN 0 THEN 'Sunday' WHEN 1 THEN 'Monday' WHEN 2 THEN 'Tuesday' WHEN 3 THEN 'Wednesday' WHEN 4 THEN 'Thursday' WHEN 5 THEN 'Friday' WHEN 6 THEN 'Saturday' END AS "orders.at_day_of_week",
  CAST(MOD(MOD(CAST(DATE_PART('dow', CAST(orders.made_at AS TIMESTAMP)) AS INTEGER) + 6, 7) + 1, 7) AS INTEGER) AS "orders.at_day_of_week_index",
  CAST(DATE_PART('day', CAST(orders.made_at AS TIMESTAMP)) AS INTEGER) AS "orders.at_day_of_month",
  CAST(DATE_PART('doy', CAST(orders.made_at AS TIMESTAMP)) AS INTEGER) AS "orders.at_day_of_year",
  CAST(DATE_PART('week', CAST(orders.made_at AS TIMESTAMP)) AS INTEGER) AS "orders.at_week_of_year",
  CAST(DATE_PART('month', CAST(orders.made_at AS TIMESTAMP)) AS INTEGER) AS "orders.at_month_num",
  CASE DATE_PART('month', CAST(orders.made_at AS TIMESTAMP)) - 1 WHEN 0 THEN 'January' WHEN 1 THEN 'February' WHEN 2 THEN 'March' WHEN 3 THEN 'April' WHEN 4 THEN 'May' WHEN 5 THEN 'June' WHEN 6 THEN 'July' WHEN 7 THEN 'August' WHEN 8 THEN 'September' WHEN 9 THEN 'October' WHEN 10 THEN 'November' WHEN 11 THEN 'December' END AS "orders.at_month_name",
  CONCAT('Q', CAST(CAST(DATE_PART('quarter', CAST(orders.made_at AS TIMESTAMP)) AS INTEGER) AS VARCHAR)) AS "orders.at_quarter_of_year",
  CASE WHEN (orders.made_at IS NOT NULL) THEN 'Yes' ELSE 'No' END AS "orders.at_yesno",
  TO_CHAR(CAST(orders.made_at AS TIMESTAMP), 'YYYY-MM-DD HH24:MI:SS.MS') AS "orders.at_millisecond",
  TO_CHAR(CAST(orders.made_at AS TIMESTAMP), 'YYYY-MM-DD HH24:MI:SS.US') AS "orders.at_microsecond",
  CAST(DATE_PART('month', DATEADD(month, -1, CAST(orders.made_at AS TIMESTAMP))) AS INTEGER) AS "orders.at_fiscal_month_num",
  CONCAT(CONCAT(CONCAT('FY', CAST(CAST(DATE_PART('year', DATEADD(month, -1, CAST(orders.made_at AS TIMESTAMP))) AS INTEGER) AS VARCHAR)), '-'), CONCAT('Q', CAST(CAST(DATE_PART('quarter', DATEADD(month, -1, CAST(orders.made_at AS TIMESTAMP))) AS INTEGER) AS VARCHAR))) AS "orders.at_fiscal_quarter",
  CONCAT('Q', CAST(CAST(DATE_PART('quarter', DATEADD(month, -1, CAST(orders.made_at AS TIMESTAMP))) AS INTEGER) AS VARCHAR)) AS "orders.at_fiscal_quarter_of_year",
  CAST(DATE_PART('year', DATEADD(month, -1, CAST(orders.made_at AS TIMESTAMP))) AS INTEGER) AS "orders.at_fiscal_year",
  TO_CHAR(DATEADD(hour, -MOD(CAST(DATE_PART('hour', CAST(orders.made_at AS TIMESTAMP)) AS INTEGER), 4), DATE_TRUNC('hour', CAST(orders.made_at AS TIMESTAMP))), 'YYYY-MM-DD HH24') AS "orders.at_hour4",
  TO_CHAR(DATEADD(minute, -MOD(CAST(DATE_PART('minute', CAST(orders.made_at AS TIMESTAMP)) AS INTEGER), 15), DATE_TRUNC('minute', CAST(orders.made_at AS TIMESTAMP))), 'YYYY-MM-DD HH24:MI') AS "orders.at_minute15",
  TO_CHAR(DATEADD(second, -MOD(CAST(DATE_PART('second', CAST(orders.made_at AS TIMESTAMP)) AS INTEGER), 10), DATE_TRUNC('second', CAST(orders.made_at AS TIMESTAMP))), 'YYYY-MM-DD HH24:MI:SS.MS') AS "orders.at_second10",
  TO_CHAR(DATEADD(millisecond, -MOD(CAST(MOD(CAST(DATE_PART('milliseconds', CAST(orders.made_at AS TIMESTAMP)) AS INTEGER), 1000) AS INTEGER), 250), DATE_TRUNC('milliseconds', CAST(orders.made_at AS TIMESTAMP))), 'YYYY-MM-DD HH24:MI:SS.MS') AS "orders.at_millisecond250",
  CAST(FLOOR(DATEDIFF(microsecond, CAST(orders.made_at AS TIMESTAMP), CAST((TIMESTAMP '2025-02-28 11:22:33') AS TIMESTAMP)) / 1000000.0) AS INTEGER) AS "orders.seconds_past",
  CAST(FLOOR(DATEDIFF(microsecond, CAST(orders.made_at AS TIMESTAMP), CAST((TIMESTAMP '2025-02-28 11:22:33') AS TIMESTAMP)) / 60000000.0) AS INTEGER) AS "orders.minutes_past",
  CAST(FLOOR(DATEDIFF(microsecond, CAST(orders.made_at AS TIMESTAMP), CAST((TIMESTAMP '2025-02-28 11:22:33') AS TIMESTAMP)) / 3600000000.0) AS INTEGER) AS "orders.hours_past",
  CAST(FLOOR(DATEDIFF(microsecond, CAST(orders.made_at AS TIMESTAMP), CAST((TIMESTAMP '2025-02-28 11:22:33') AS TIMESTAMP)) / 86400000000.0) AS INTEGER) AS "orders.days_past",
  CAST(FLOOR(DATEDIFF(microsecond, CAST(orders.made_at AS TIMESTAMP), CAST((TIMESTAMP '2025-02-28 11:22:33') AS TIMESTAMP)) / 604800000000.0) AS INTEGER) AS "orders.weeks_past",
  CAST(FLOOR((DATEDIFF(month, CAST(orders.made_at AS TIMESTAMP), CAST((TIMESTAMP '2025-02-28 11:22:33') AS TIMESTAMP)) - CASE WHEN DATEADD(month, DATEDIFF(month, CAST(orders.made_at AS TIMESTAMP), CAST((TIMESTAMP '2025-02-28 11:22:33') AS TIMESTAMP)), CAST(orders.made_at AS TIMESTAMP)) > CAST((TIMESTAMP '2025-02-28 11:22:33') AS TIMESTAMP) THEN 1 ELSE 0 END) / 1.0) AS INTEGER) AS "orders.months_past",
  CAST(FLOOR((DATEDIFF(month, CAST(orders.made_at AS TIMESTAMP), CAST((TIMESTAMP '2025-02-28 11:22:33') AS TIMESTAMP)) - CASE WHEN DATEADD(month, DATEDIFF(month, CAST(orders.made_at AS TIMESTAMP), CAST((TIMESTAMP '2025-02-28 11:22:33') AS TIMESTAMP)), CAST(orders.made_at AS TIMESTAMP)) > CAST((TIMESTAMP '2025-02-28 11:22:33') AS TIMESTAMP) THEN 1 ELSE 0 END) / 3.0) AS INTEGER) AS "orders.quarters_past",
  CAST(FLOOR((DATEDIFF(month, CAST(orders.made_at AS TIMESTAMP), CAST((TIMESTAMP '2025-02-28 11:22:33') AS TIMESTAMP)) - CASE WHEN DATEADD(month, DATEDIFF(month, CAST(orders.made_at AS TIMESTAMP), CAST((TIMESTAMP '2025-02-28 11:22:33') AS TIMESTAMP)), CAST(orders.made_at AS TIMESTAMP)) > CAST((TIMESTAMP '2025-02-28 11:22:33') AS TIMESTAMP) THEN 1 ELSE 0 END) / 12.0) AS INTEGER) AS "orders.years_past",
  CASE WHEN orders.price IS NULL THEN 'Undefined' WHEN orders.price < 10 THEN 'Below 10' WHEN orders.price < 50 THEN '10 to 49' WHEN orders.price < 90 THEN '50 to 89' WHEN orders.price >= 90 THEN '90 or Above' END AS "orders.size",
  CASE WHEN (orders.status = 'paid') THEN 'Yes' ELSE 'No' END AS "orders.is_paid",
  CAST(orders.weight AS VARCHAR) || ',' || CAST(orders.id AS VARCHAR) AS "orders.place",
  CASE WHEN orders.price > 50 THEN 'O''Neill \\\\ dear' ELSE 'cheap' END AS "orders.label",
  COALESCE(SUM(orders.price), 0) AS "orders.total",
  AVG(orders.price) AS "orders.mean",
  PERCENTILE_CONT(0.5) WITHIN GROUP (ORDER BY orders.weight) AS "orders.middle",
  LISTAGG(DISTINCT CAST(orders.status AS VARCHAR), '|RECORD|') WITHIN GROUP (ORDER BY CAST(orders.status AS VARCHAR)) AS "orders.statuses"
FROM orders AS orders
WHERE ((orders.made_at >= TIMESTAMP '2024-06-07 00:00:00' AND orders.made_at < TIMESTAMP '2024-06-14 00:00:00'))
  AND (orders.status LIKE 'p^%%' ESCAPE '^' AND NOT COALESCE(orders.status = 'O''b', FALSE))
GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 32, 33, 34, 35, 36, 37, 38, 39, 40, 41, 42, 43;
-- repeated rows
SELECT
  customers.city AS "customers.city",
  COALESCE((SUM(DISTINCT CAST(FLOOR(COALESCE(orders.price, 0) * 1000000.0) AS DECIMAL(38, 0)) + STRTOL(LEFT(MD5(CAST(orders.id AS VARCHAR)), 15), 16)::DECIMAL(38, 0) * 100000000 + STRTOL(RIGHT(MD5(CAST(orders.id AS VARCHAR)), 15), 16)::DECIMAL(38, 0)) - SUM(DISTINCT STRTOL(LEFT(MD5(CAST(orders.id AS VARCHAR)), 15), 16)::DECIMAL(38, 0) * 100000000 + STRTOL(RIGHT(MD5(CAST(orders.id AS VARCHAR)), 15), 16)::DECIMAL(38, 0))) / 1000000.0, 0) AS "orders.total",
  (COALESCE((SUM(DISTINCT CAST(FLOOR(COALESCE(orders.price, 0) * 1000000.0) AS DECIMAL(38, 0)) + STRTOL(LEFT(MD5(CAST(orders.id AS VARCHAR)), 15), 16)::DECIMAL(38, 0) * 100000000 + STRTOL(RIGHT(MD5(CAST(orders.id AS VARCHAR)), 15), 16)::DECIMAL(38, 0)) - SUM(DISTINCT STRTOL(LEFT(MD5(CAST(orders.id AS VARCHAR)), 15), 16)::DECIMAL(38, 0) * 100000000 + STRTOL(RIGHT(MD5(CAST(orders.id AS VARCHAR)), 15), 16)::DECIMAL(38, 0))) / 1000000.0, 0) / NULLIF(COUNT(DISTINCT CASE WHEN orders.price IS NOT NULL THEN orders.id END), 0)) AS "orders.mean",
  COUNT(items.id) AS "items.count"
FROM orders AS orders
LEFT JOIN items AS items ON orders.id = items.order_id
LEFT JOIN customers AS customers ON orders.customer_id = customers.id
GROUP BY 1;
-- in a zone
SELECT
  CAST(DATEADD(day, -MOD(MOD(CAST(DATE_PART('dow', CAST(CONVERT_TIMEZONE('UTC', 'Europe/Oslo', CAST(orders.made_at AS TIMESTAMP)) AS TIMESTAMP)) AS INTEGER) + 6, 7) + 1, 7), CAST(CONVERT_TIMEZONE('UTC', 'Europe/Oslo', CAST(orders.made_at AS TIMESTAMP)) AS DATE)) AS DATE) AS "orders.made_week",
  COUNT(*) AS "orders.count"
FROM orders AS orders
GROUP BY 1;
-- periods
WITH running AS (
SELECT
  TO_CHAR(CAST(orders.made_at AS TIMESTAMP), 'YYYY-MM') AS orders__made_month,
  COUNT(*) AS orders__count
FROM orders AS orders
GROUP BY 1
), before_0 AS (
SELECT
  TO_CHAR(CAST(DATEADD(year, 1, CAST(orders.made_at AS TIMESTAMP)) AS TIMESTAMP), 'YYYY-MM') AS orders__made_month,
  COUNT(*) AS orders__count
FROM orders AS orders
WHERE (DATEADD(year, 1, CAST(orders.made_at AS TIMESTAMP)) < TIMESTAMP '2024-06-13 14:15:16')
GROUP BY 1
)
SELECT
  running.orders__made_month AS "orders.made_month",
  before_0.orders__count AS "orders.to_date"
FROM running
LEFT JOIN before_0 ON (running.orders__made_month = before_0.orders__made_month OR (running.orders__made_month IS NULL AND before_0.orders__made_month IS NULL));
