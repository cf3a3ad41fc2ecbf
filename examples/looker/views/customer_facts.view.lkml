# One row per customer, from SQL. The filter reaches into it through Liquid.
view: customer_facts {
  label: "Customers' history"
  derived_table: {
    sql:
      SELECT
        o.customer_id,
        COUNT(*) AS order_count,
        MIN(o.created_at) AS first_order_at,
        MAX(o.created_at) AS last_order_at
      FROM ${orders.SQL_TABLE_NAME} AS o
      WHERE o.status <> 'canceled'
        AND {% condition ordered_between %} o.created_at {% endcondition %}
      GROUP BY o.customer_id ;;
  }

  filter: ordered_between {
    type: date
  }
  dimension: customer_id {
    primary_key: yes
    hidden: yes
    type: number
    sql: ${TABLE}.customer_id ;;
  }
  dimension: order_count {
    type: number
    sql: ${TABLE}.order_count ;;
  }
  dimension: is_regular {
    type: yesno
    sql: ${order_count} >= 5 ;;
  }
  dimension_group: first_order {
    type: time
    timeframes: [raw, date, month, year]
    sql: ${TABLE}.first_order_at ;;
  }
  dimension_group: as_customer {
    type: duration
    intervals: [day, month]
    sql_start: ${first_order_raw} ;;
    sql_end: ${TABLE}.last_order_at ;;
  }

  measure: average_orders {
    description: "Mean orders per customer who ordered."
    type: average
    sql: ${order_count} ;;
  }
}
