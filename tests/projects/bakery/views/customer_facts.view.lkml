view: customer_facts {
  derived_table: {
    sql:
      SELECT customer_id, COUNT(*) AS order_count, MIN(created_at) AS first_order_at
      FROM ${orders.SQL_TABLE_NAME}
      WHERE {% condition first_seen %} created_at {% endcondition %}
      GROUP BY customer_id ;;
  }
  filter: first_seen {
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
    sql: ${order_count} >= 3 ;;
  }
  dimension_group: first_order {
    type: time
    timeframes: [date, month]
    sql: ${TABLE}.first_order_at ;;
  }
}

# A native derived table: its query is itself an explore's.
view: city_sales {
  derived_table: {
    explore_source: order_items {
      column: city { field: customers.city }
      column: total { field: order_items.total_quantity }
    }
  }
  dimension: city {
    primary_key: yes
    sql: ${TABLE}.city ;;
  }
  dimension: total {
    type: number
    sql: ${TABLE}.total ;;
  }
}
