# What the finance team adds, without touching the views of others.
view: +order_items {
  measure: total_cost {
    description: "What the goods cost us."
    type: sum
    sql: ${quantity} * ${products.cost} ;;
    required_access_grants: [sees_margins]
  }
  measure: total_margin {
    description: "Sales less cost."
    type: number
    sql: ${total_sales} - ${total_cost} ;;
    required_access_grants: [sees_margins]
  }
}

explore: +order_items {
  query: sales_by_category {
    dimensions: [products.category]
    measures: [order_items.total_sales, order_items.total_margin]
  }
}
