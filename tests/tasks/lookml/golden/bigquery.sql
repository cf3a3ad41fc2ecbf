-- every dimension
SELECT
  orders.made_at AS `orders_at_raw`,
  FORMAT_DATETIME('%Y-%m-%d %H:%M:%S', CAST(orders.made_at AS DATETIME)) AS `orders_at_time`,
  CAST(orders.made_at AS DATE) AS `orders_at_date`,
  CAST(DATE_ADD(CAST(orders.made_at AS DATE), INTERVAL -MOD(DATE_DIFF(CAST(CAST(orders.made_at AS DATETIME) AS DATE), DATE_TRUNC(CAST(CAST(orders.made_at AS DATETIME) AS DATE), ISOWEEK), DAY) + 1, 7) DAY) AS DATE) AS `orders_at_week`,
  FORMAT_DATETIME('%Y-%m', CAST(orders.made_at AS DATETIME)) AS `orders_at_month`,
  FORMAT_DATETIME('%Y-%m', DATETIME_TRUNC(CAST(orders.made_at AS DATETIME), QUARTER)) AS `orders_at_quarter`,
  CAST(EXTRACT(YEAR FROM CAST(orders.made_at AS DATETIME)) AS INT64) AS `orders_at_year`,
  FORMAT_DATETIME('%H:%M', CAST(orders.made_at AS DATETIME)) AS `orders_at_time_of_day`,
  FORMAT_DATETIME('%Y-%m-%d %H', CAST(orders.made_at AS DATETIME)) AS `orders_at_hour`,
  CAST(EXTRACT(HOUR FROM CAST(orders.made_at AS DATETIME)) AS INT64) AS `orders_at_hour_of_day`,
  FORMAT_DATETIME('%Y-%m-%d %H:%M', CAST(orders.made_at AS DATETIME)) AS `orders_at_minute`,
  FORMAT_DATETIME('%Y-%m-%d %H:%M:%S', CAST(orders.made_at AS DATETIME)) AS `orders_at_second`,
  FORMAT_DATETIME('%A', CAST(orders.made_at AS DATETIME)) AS `orders_at_day_of_week`,
  CAST(MOD(DATE_DIFF(CAST(CAST(orders.made_at AS DATETIME) AS DATE), DATE_TRUNC(CAST(CAST(orders.made_at AS DATETIME) AS DATE), ISOWEEK), DAY) + 1, 7) AS INT64) AS `orders_at_day_of_week_index`,
  CAST(EXTRACT(DAY FROM CAST(orders.made_at AS DATETIME)) AS INT64) AS `orders_at_day_of_month`,
  CAST(EXTRACT(DAYOFYEAR FROM CAST(orders.made_at AS DATETIME)) AS INT64) AS `orders_at_day_of_year`,
  CAST(EXTRACT(ISOWEEK FROM CAST(orders.made_at AS DATETIME)) AS INT64) AS `orders_at_week_of_year`,
  CAST(EXTRACT(MONTH FROM CAST(orders.made_at AS DATETIME)) AS INT64) AS `orders_at_month_num`,
  FORMAT_DATETIME('%B', CAST(orders.made_at AS DATETIME)) AS `orders_at_month_name`,
  CONCAT('Q', CAST(CAST(EXTRACT(QUARTER FROM CAST(orders.made_at AS DATETIME)) AS INT64) AS STRING)) AS `orders_at_quarter_of_year`,
  CASE WHEN (orders.made_at IS NOT NULL) THEN 'Yes' ELSE 'No' END AS `orders_at_yesno`,
  FORMAT_DATETIME('%Y-%m-%d %H:%M:%E3S', CAST(orders.made_at AS DATETIME)) AS `orders_at_millisecond`,
  FORMAT_DATETIME('%Y-%m-%d %H:%M:%E6S', CAST(orders.made_at AS DATETIME)) AS `orders_at_microsecond`,
  CAST(EXTRACT(MONTH FROM DATETIME_ADD(CAST(orders.made_at AS DATETIME), INTERVAL -1 MONTH)) AS INT64) AS `orders_at_fiscal_month_num`,
  CONCAT(CONCAT(CONCAT('FY', CAST(CAST(EXTRACT(YEAR FROM DATETIME_ADD(CAST(orders.made_at AS DATETIME), INTERVAL -1 MONTH)) AS INT64) AS STRING)), '-'), CONCAT('Q', CAST(CAST(EXTRACT(QUARTER FROM DATETIME_ADD(CAST(orders.made_at AS DATETIME), INTERVAL -1 MONTH)) AS INT64) AS STRING))) AS `orders_at_fiscal_quarter`,
  CONCAT('Q', CAST(CAST(EXTRACT(QUARTER FROM DATETIME_ADD(CAST(orders.made_at AS DATETIME), INTERVAL -1 MONTH)) AS INT64) AS STRING)) AS `orders_at_fiscal_quarter_of_year`,
  CAST(EXTRACT(YEAR FROM DATETIME_ADD(CAST(orders.made_at AS DATETIME), INTERVAL -1 MONTH)) AS INT64) AS `orders_at_fiscal_year`,
  FORMAT_DATETIME('%Y-%m-%d %H', DATETIME_ADD(DATETIME_TRUNC(CAST(orders.made_at AS DATETIME), HOUR), INTERVAL -MOD(CAST(EXTRACT(hour FROM CAST(orders.made_at AS DATETIME)) AS INT64), 4) HOUR)) AS `orders_at_hour4`,
  FORMAT_DATETIME('%Y-%m-%d %H:%M', DATETIME_ADD(DATETIME_TRUNC(CAST(orders.made_at AS DATETIME), MINUTE), INTERVAL -MOD(CAST(EXTRACT(minute FROM CAST(orders.made_at AS DATETIME)) AS INT64), 15) MINUTE)) AS `orders_at_minute15`,
  FORMAT_DATETIME('%Y-%m-%d %H:%M:%E3S', DATETIME_ADD(DATETIME_TRUNC(CAST(orders.made_at AS DATETIME), SECOND), INTERVAL -MOD(CAST(EXTRACT(second FROM CAST(orders.made_at AS DATETIME)) AS INT64), 10) SECOND)) AS `orders_at_second10`,
  FORMAT_DATETIME('%Y-%m-%d %H:%M:%E3S', DATETIME_ADD(DATETIME_TRUNC(CAST(orders.made_at AS DATETIME), MILLISECOND), INTERVAL -MOD(CAST(EXTRACT(MILLISECOND FROM CAST(orders.made_at AS DATETIME)) AS INT64), 250) MILLISECOND)) AS `orders_at_millisecond250`,
  CAST(FLOOR(DATETIME_DIFF(CAST((TIMESTAMP '2025-02-28 11:22:33') AS DATETIME), CAST(orders.made_at AS DATETIME), MICROSECOND) / 1000000.0) AS INT64) AS `orders_seconds_past`,
  CAST(FLOOR(DATETIME_DIFF(CAST((TIMESTAMP '2025-02-28 11:22:33') AS DATETIME), CAST(orders.made_at AS DATETIME), MICROSECOND) / 60000000.0) AS INT64) AS `orders_minutes_past`,
  CAST(FLOOR(DATETIME_DIFF(CAST((TIMESTAMP '2025-02-28 11:22:33') AS DATETIME), CAST(orders.made_at AS DATETIME), MICROSECOND) / 3600000000.0) AS INT64) AS `orders_hours_past`,
  CAST(FLOOR(DATETIME_DIFF(CAST((TIMESTAMP '2025-02-28 11:22:33') AS DATETIME), CAST(orders.made_at AS DATETIME), MICROSECOND) / 86400000000.0) AS INT64) AS `orders_days_past`,
  CAST(FLOOR(DATETIME_DIFF(CAST((TIMESTAMP '2025-02-28 11:22:33') AS DATETIME), CAST(orders.made_at AS DATETIME), MICROSECOND) / 604800000000.0) AS INT64) AS `orders_weeks_past`,
  CAST(FLOOR((DATETIME_DIFF(CAST((TIMESTAMP '2025-02-28 11:22:33') AS DATETIME), CAST(orders.made_at AS DATETIME), MONTH) - CASE WHEN DATETIME_ADD(CAST(orders.made_at AS DATETIME), INTERVAL DATETIME_DIFF(CAST((TIMESTAMP '2025-02-28 11:22:33') AS DATETIME), CAST(orders.made_at AS DATETIME), MONTH) MONTH) > CAST((TIMESTAMP '2025-02-28 11:22:33') AS DATETIME) THEN 1 ELSE 0 END) / 1.0) AS INT64) AS `orders_months_past`,
  CAST(FLOOR((DATETIME_DIFF(CAST((TIMESTAMP '2025-02-28 11:22:33') AS DATETIME), CAST(orders.made_at AS DATETIME), MONTH) - CASE WHEN DATETIME_ADD(CAST(orders.made_at AS DATETIME), INTERVAL DATETIME_DIFF(CAST((TIMESTAMP '2025-02-28 11:22:33') AS DATETIME), CAST(orders.made_at AS DATETIME), MONTH) MONTH) > CAST((TIMESTAMP '2025-02-28 11:22:33') AS DATETIME) THEN 1 ELSE 0 END) / 3.0) AS INT64) AS `orders_quarters_past`,
  CAST(FLOOR((DATETIME_DIFF(CAST((TIMESTAMP '2025-02-28 11:22:33') AS DATETIME), CAST(orders.made_at AS DATETIME), MONTH) - CASE WHEN DATETIME_ADD(CAST(orders.made_at AS DATETIME), INTERVAL DATETIME_DIFF(CAST((TIMESTAMP '2025-02-28 11:22:33') AS DATETIME), CAST(orders.made_at AS DATETIME), MONTH) MONTH) > CAST((TIMESTAMP '2025-02-28 11:22:33') AS DATETIME) THEN 1 ELSE 0 END) / 12.0) AS INT64) AS `orders_years_past`,
  CASE WHEN orders.price IS NULL THEN 'Undefined' WHEN orders.price < 10 THEN 'Below 10' WHEN orders.price < 50 THEN '10 to 49' WHEN orders.price < 90 THEN '50 to 89' WHEN orders.price >= 90 THEN '90 or Above' END AS `orders_size`,
  CASE WHEN (orders.status = 'paid') THEN 'Yes' ELSE 'No' END AS `orders_is_paid`,
  CAST(orders.weight AS STRING) || ',' || CAST(orders.id AS STRING) AS `orders_place`,
  CASE WHEN orders.price > 50 THEN 'O\'Neill \\\\ dear' ELSE 'cheap' END AS `orders_label`,
  COALESCE(SUM(orders.price), 0) AS `orders_total`,
  AVG(orders.price) AS `orders_mean`,
  APPROX_QUANTILES(orders.weight, 1000)[OFFSET(500)] AS `orders_middle`,
  STRING_AGG(DISTINCT CAST(orders.status AS STRING), '|RECORD|' ORDER BY CAST(orders.status AS STRING)) AS `orders_statuses`
FROM orders AS orders
WHERE ((orders.made_at >= TIMESTAMP '2024-06-07 00:00:00' AND orders.made_at < TIMESTAMP '2024-06-14 00:00:00'))
  AND (orders.status LIKE 'p\\%%' AND NOT COALESCE(orders.status = 'O\'b', FALSE))
GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 32, 33, 34, 35, 36, 37, 38, 39, 40, 41, 42, 43;
-- repeated rows
SELECT
  customers.city AS `customers_city`,
  COALESCE((SUM(DISTINCT CAST(FLOOR(COALESCE(orders.price, 0) * 1000000.0) AS BIGNUMERIC) + CAST(FARM_FINGERPRINT(CAST(orders.id AS STRING)) AS BIGNUMERIC)) - SUM(DISTINCT CAST(FARM_FINGERPRINT(CAST(orders.id AS STRING)) AS BIGNUMERIC))) / 1000000.0, 0) AS `orders_total`,
  (COALESCE((SUM(DISTINCT CAST(FLOOR(COALESCE(orders.price, 0) * 1000000.0) AS BIGNUMERIC) + CAST(FARM_FINGERPRINT(CAST(orders.id AS STRING)) AS BIGNUMERIC)) - SUM(DISTINCT CAST(FARM_FINGERPRINT(CAST(orders.id AS STRING)) AS BIGNUMERIC))) / 1000000.0, 0) / NULLIF(COUNT(DISTINCT CASE WHEN orders.price IS NOT NULL THEN orders.id END), 0)) AS `orders_mean`,
  COUNT(items.id) AS `items_count`
FROM orders AS orders
LEFT JOIN items AS items ON orders.id = items.order_id
LEFT JOIN customers AS customers ON orders.customer_id = customers.id
GROUP BY 1;
-- in a zone
SELECT
  CAST(DATE_ADD(CAST(DATETIME(TIMESTAMP(CAST(orders.made_at AS DATETIME), 'UTC'), 'Europe/Oslo') AS DATE), INTERVAL -MOD(DATE_DIFF(CAST(CAST(DATETIME(TIMESTAMP(CAST(orders.made_at AS DATETIME), 'UTC'), 'Europe/Oslo') AS DATETIME) AS DATE), DATE_TRUNC(CAST(CAST(DATETIME(TIMESTAMP(CAST(orders.made_at AS DATETIME), 'UTC'), 'Europe/Oslo') AS DATETIME) AS DATE), ISOWEEK), DAY) + 1, 7) DAY) AS DATE) AS `orders_made_week`,
  COUNT(*) AS `orders_count`
FROM orders AS orders
GROUP BY 1;
-- periods
WITH running AS (
SELECT
  FORMAT_DATETIME('%Y-%m', CAST(orders.made_at AS DATETIME)) AS orders__made_month,
  COUNT(*) AS orders__count
FROM orders AS orders
GROUP BY 1
), before_0 AS (
SELECT
  FORMAT_DATETIME('%Y-%m', CAST(DATETIME_ADD(CAST(orders.made_at AS DATETIME), INTERVAL 1 YEAR) AS DATETIME)) AS orders__made_month,
  COUNT(*) AS orders__count
FROM orders AS orders
WHERE (DATETIME_ADD(CAST(orders.made_at AS DATETIME), INTERVAL 1 YEAR) < TIMESTAMP '2024-06-13 14:15:16')
GROUP BY 1
)
SELECT
  running.orders__made_month AS `orders_made_month`,
  before_0.orders__count AS `orders_to_date`
FROM running
LEFT JOIN before_0 ON (running.orders__made_month = before_0.orders__made_month OR (running.orders__made_month IS NULL AND before_0.orders__made_month IS NULL));
