view: returns {
  label: "Returns"
  sql_table_name: returns ;;

  dimension: id {
    primary_key: yes
    hidden: yes
    type: number
    sql: ${TABLE}.id ;;
  }
  dimension: order_item_id {
    hidden: yes
    type: number
    sql: ${TABLE}.order_item_id ;;
  }
  dimension: reason {
    sql: ${TABLE}.reason ;;
  }
  dimension: refund {
    type: number
    value_format_name: eur
    sql: ${TABLE}.refund ;;
  }
  dimension_group: returned {
    type: time
    timeframes: [date, month]
    sql: ${TABLE}.created_at ;;
  }

  measure: count_returns {
    description: "Parcels that came back."
    type: count
  }
  measure: total_refund {
    description: "What was paid back."
    type: sum
    sql: ${refund} ;;
    value_format_name: eur
  }
}
