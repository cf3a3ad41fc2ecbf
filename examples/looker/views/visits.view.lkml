view: visits {
  label: "Visits"
  sql_table_name: visits ;;

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
  dimension: source {
    sql: ${TABLE}.source ;;
  }
  dimension: pages {
    type: number
    sql: ${TABLE}.pages ;;
  }
  dimension: is_bounce {
    type: yesno
    sql: ${pages} = 1 ;;
  }
  dimension_group: started {
    type: time
    timeframes: [raw, time, date, hour_of_day, day_of_week, month]
    sql: ${TABLE}.started_at ;;
  }
  dimension_group: stay {
    type: duration
    intervals: [second, minute]
    sql_start: ${started_raw} ;;
    sql_end: ${TABLE}.ended_at ;;
  }

  measure: count_visits {
    description: "Visits."
    type: count
  }
  measure: count_bounces {
    description: "Visits of one page."
    type: count
    filters: [is_bounce: "Yes"]
  }
  measure: bounce_rate {
    description: "Visits of one page of all visits."
    type: number
    sql: 1.0 * ${count_bounces} / NULLIF(${count_visits}, 0) ;;
    value_format_name: percent_1
  }
}
