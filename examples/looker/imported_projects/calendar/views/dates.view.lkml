view: dates {
  label: "Calendar"
  sql_table_name: @{DATES_TABLE} ;;

  dimension: day {
    primary_key: yes
    hidden: yes
    type: date
    convert_tz: no
    datatype: date
    sql: ${TABLE}.day ;;
  }
  dimension: is_weekend {
    type: yesno
    sql: ${TABLE}.is_weekend ;;
  }
  dimension: is_holiday {
    type: yesno
    sql: ${TABLE}.holiday IS NOT NULL ;;
  }
  dimension: holiday {
    sql: ${TABLE}.holiday ;;
  }
}
