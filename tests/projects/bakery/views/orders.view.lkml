view: orders {
  sql_table_name: orders ;;

  dimension: id {
    primary_key: yes
    type: number
    sql: ${TABLE}.id ;;
  }
  dimension: customer_id {
    hidden: yes
    type: number
    sql: ${TABLE}.customer_id ;;
  }
  dimension: status {
    sql: ${TABLE}.status ;;
  }
  dimension: is_open {
    type: yesno
    sql: ${status} IN ('placed', 'baking') ;;
  }
  dimension_group: created {
    type: time
    timeframes: [raw, time, date, week, month, quarter, year, hour_of_day, day_of_week, fiscal_quarter]
    sql: ${TABLE}.created_at ;;
  }
  dimension_group: to_delivery {
    type: duration
    intervals: [hour, day]
    sql_start: ${created_raw} ;;
    sql_end: ${TABLE}.delivered_at ;;
  }
  parameter: granularity {
    type: unquoted
    default_value: "month"
    allowed_value: { value: "month" }
    allowed_value: { value: "day" }
  }
  dimension: period {
    label_from_parameter: granularity
    sql: {% if granularity._parameter_value == 'day' %} ${created_date} {% else %} ${created_month} {% endif %} ;;
  }
  measure: count {
    type: count
    drill_fields: [id, status, created_date]
  }
}
