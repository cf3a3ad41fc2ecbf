test: order_items_have_unique_ids {
  explore_source: order_items {
    column: id { field: order_items.id }
    column: count { field: order_items.count_items }
    sorts: [order_items.count_items: desc]
    limit: 1
  }
  assert: one_row_per_id {
    expression: ${order_items.count_items} = 1 ;;
  }
}

test: every_order_has_a_customer {
  explore_source: orders {
    column: id { field: orders.id }
    column: customer { field: customers.id }
  }
  assert: customer_is_known {
    expression: NOT is_null(${customers.id}) ;;
  }
}
