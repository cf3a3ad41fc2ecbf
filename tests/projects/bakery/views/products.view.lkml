view: products {
  sql_table_name: products ;;

  dimension: id {
    primary_key: yes
    type: number
    sql: ${TABLE}.id ;;
  }
  dimension: name {
    sql: ${TABLE}.name ;;
  }
  dimension: price {
    type: number
    sql: ${TABLE}.price ;;
  }
  dimension: kind {
    case: {
      when: { sql: ${name} LIKE '%bread%' ;; label: "Bread" }
      when: { sql: ${name} LIKE '%cake%' ;; label: "Cake" }
      else: "Other"
    }
  }
}
