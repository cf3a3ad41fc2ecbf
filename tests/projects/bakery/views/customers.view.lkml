view: customers {
  sql_table_name: customers ;;

  dimension: id {
    primary_key: yes
    type: number
    sql: ${TABLE}.id ;;
  }
  dimension: email {
    tags: ["email"]
    sql: ${TABLE}.email ;;
  }
  dimension: city {
    sql: ${TABLE}.city ;;
  }
  dimension: place {
    type: location
    sql_latitude: ${TABLE}.latitude ;;
    sql_longitude: ${TABLE}.longitude ;;
  }
  measure: count {
    type: count
  }
}
