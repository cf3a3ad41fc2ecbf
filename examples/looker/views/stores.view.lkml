include: "address.view"

view: stores {
  extends: [address]
  label: "Stores"
  sql_table_name: stores ;;

  dimension: id {
    primary_key: yes
    hidden: yes
    type: number
    sql: ${TABLE}.id ;;
  }
  dimension: name {
    sql: ${TABLE}.name ;;
  }
  dimension: is_flagship {
    type: yesno
    sql: ${TABLE}.kind = 'flagship' ;;
  }
  dimension_group: opened {
    type: time
    timeframes: [date, year]
    convert_tz: no
    datatype: date
    sql: ${TABLE}.opened_on ;;
  }

  measure: count_stores {
    description: "Stores."
    type: count
  }
}
