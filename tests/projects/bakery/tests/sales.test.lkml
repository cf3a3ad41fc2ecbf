test: orders_have_unique_ids {
  explore_source: order_items {
    column: id { field: orders.id }
    column: count { field: orders.count }
    sorts: [orders.count: desc]
    limit: 1
  }
  assert: one_row_per_id {
    expression: ${orders.count} = 1 ;;
  }
}
