view: order_items {
  label: "Order items"
  sql_table_name: order_items ;;

  dimension: id {
    primary_key: yes
    hidden: yes
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
  dimension: unit_price {
    type: number
    value_format_name: eur
    sql: ${TABLE}.unit_price ;;
  }
  dimension: discount {
    type: number
    value_format_name: eur
    sql: ${TABLE}.discount ;;
  }
  dimension: amount {
    description: "What was paid for the line."
    type: number
    value_format_name: eur
    sql: ${quantity} * ${unit_price} - ${discount} ;;
  }
  dimension: amount_net {
    description: "Without value added tax."
    type: number
    value_format_name: eur
    sql: ${amount} * 100 / (100 + @{VAT_PERCENT}) ;;
  }
  dimension: size {
    type: tier
    tiers: [1, 3, 10]
    style: relational
    sql: ${quantity} ;;
  }

  measure: count_items {
    description: "Lines of orders."
    type: count
    drill_fields: [details*]
  }
  measure: total_quantity {
    description: "Pieces sold."
    type: sum
    sql: ${quantity} ;;
  }
  measure: total_sales {
    description: "What was paid, canceled orders left out."
    type: sum
    sql: ${amount} ;;
    filters: [orders.status: "-canceled"]
    value_format_name: eur
    drill_fields: [details*]
  }
  measure: average_sale {
    description: "Mean amount of a line."
    type: average
    sql: ${amount} ;;
    value_format_name: eur
  }
  measure: max_discount {
    description: "The largest discount."
    type: max
    sql: ${discount} ;;
  }
  measure: median_price {
    description: "Half of the lines cost less per piece."
    type: median
    sql: ${unit_price} ;;
  }
  measure: sales_per_order {
    description: "Mean basket."
    type: number
    sql: ${total_sales} / NULLIF(${orders.count_orders}, 0) ;;
    value_format_name: eur
  }

  set: details {
    fields: [orders.created_date, products.name, quantity, amount]
  }
}
