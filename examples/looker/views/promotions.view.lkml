view: promotions {
  label: "Promotions"
  sql_table_name: promotions ;;

  dimension: id {
    primary_key: yes
    hidden: yes
    type: number
    sql: ${TABLE}.id ;;
  }
  dimension: code {
    sql: ${TABLE}.code ;;
  }
  dimension: percent_off {
    type: number
    sql: ${TABLE}.percent_off ;;
  }
  dimension_group: starts {
    type: time
    timeframes: [date]
    convert_tz: no
    datatype: date
    sql: ${TABLE}.starts_on ;;
  }
  dimension_group: ends {
    type: time
    timeframes: [date]
    convert_tz: no
    datatype: date
    sql: ${TABLE}.ends_on ;;
  }
}
