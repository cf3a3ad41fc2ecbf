view: order_items {
  sql_table_name: order_items ;;

  dimension: id {
    primary_key: yes
    type: number
    sql: ${TABLE}.id ;;
  }
  dimension: order_id {
    hidden: yes
    type: number
    sql: ${TABLE}.order_id ;;
  }
  dimension: product_id {
    hidden: yes
    type: number
    sql: ${TABLE}.product_id ;;
  }
  dimension: quantity {
    type: number
    sql: ${TABLE}.quantity ;;
  }
  dimension: line_price {
    type: number
    sql: ${quantity} * ${products.price} ;;
  }
  dimension: size {
    type: tier
    tiers: [1, 5, 20]
    style: integer
    sql: ${quantity} ;;
  }
  measure: total_quantity {
    type: sum
    sql: ${quantity} ;;
  }
  measure: total_sales {
    type: sum
    sql: ${line_price} ;;
    filters: [orders.status: "-canceled"]
  }
}
