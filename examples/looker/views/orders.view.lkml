view: orders {
  label: "Orders"
  sql_table_name: orders ;;

  dimension: id {
    primary_key: yes
    hidden: yes
    type: number
    sql: ${TABLE}.id ;;
  }
  dimension: customer_id {
    hidden: yes
    type: number
    sql: ${TABLE}.customer_id ;;
  }
  dimension: store_id {
    hidden: yes
    type: number
    sql: ${TABLE}.store_id ;;
  }
  dimension: promotion_id {
    hidden: yes
    type: number
    sql: ${TABLE}.promotion_id ;;
  }
  dimension: status {
    suggestions: ["placed", "shipped", "delivered", "canceled"]
    sql: ${TABLE}.status ;;
  }
  dimension: is_canceled {
    type: yesno
    sql: ${status} = 'canceled' ;;
  }
  dimension_group: created {
    type: time
    timeframes: [raw, time, hour_of_day, date, day_of_week, week, month, month_name, quarter, year, fiscal_quarter, fiscal_year]
    sql: ${TABLE}.created_at ;;
  }
  dimension_group: delivered {
    type: time
    timeframes: [raw, date, week, month]
    sql: ${TABLE}.delivered_at ;;
  }
  dimension_group: to_delivery {
    type: duration
    intervals: [hour, day]
    sql_start: ${created_raw} ;;
    sql_end: ${delivered_raw} ;;
  }
  dimension: is_late {
    type: yesno
    sql: ${days_to_delivery} > 7 ;;
  }

  parameter: granularity {
    type: unquoted
    default_value: "month"
    allowed_value: {
      label: "Day"
      value: "day"
    }
    allowed_value: {
      label: "Month"
      value: "month"
    }
  }
  dimension: period {
    label_from_parameter: granularity
    sql:
      {% if granularity._parameter_value == 'day' %}
        CAST(${created_date} AS VARCHAR)
      {% else %}
        ${created_month}
      {% endif %} ;;
  }

  measure: count_orders {
    description: "Orders, canceled ones included."
    type: count
    drill_fields: [id, status, created_date, customers.name]
  }
  measure: count_late_orders {
    description: "Orders that took more than a week."
    type: count
    filters: [is_late: "Yes"]
  }
  measure: share_of_late_orders {
    description: "Late orders of all orders."
    type: number
    sql: 1.0 * ${count_late_orders} / NULLIF(${count_orders}, 0) ;;
    value_format_name: percent_1
  }
  measure: average_days_to_delivery {
    description: "Mean days from order to door."
    type: average
    sql: ${days_to_delivery} ;;
  }
}
