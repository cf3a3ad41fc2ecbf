test: sales_of_2025_are_as_booked {
  explore_source: order_items {
    column: year { field: orders.created_year }
    column: total_sales { field: order_items.total_sales }
    filters: [orders.created_year: "2025"]
  }
  assert: sales_match_the_books {
    expression: round(${order_items.total_sales}, 2) = 200612.94 ;;
  }
  assert: it_is_one_year {
    expression: count(${orders.created_year}) = 1 ;;
  }
}

test: refunds_do_not_multiply_sales {
  explore_source: order_items {
    column: category { field: products.category }
    column: sales { field: order_items.total_sales }
    column: refund { field: returns.total_refund }
  }
  assert: refunds_are_less_than_sales {
    expression: ${returns.total_refund} >= 0 AND ${returns.total_refund} < ${order_items.total_sales} ;;
  }
  assert: no_category_is_nearly_all_of_it {
    expression: ${order_items.total_sales} / sum(${order_items.total_sales}) < 0.95 ;;
  }
}

test: deliveries_come_after_orders {
  explore_source: orders {
    column: status { field: orders.status }
    column: created { field: orders.created_date }
    column: delivered { field: orders.delivered_date }
    filters: [orders.status: "delivered"]
  }
  assert: delivered_later {
    expression: diff_days(${orders.created_date}, ${orders.delivered_date}) >= 0 ;;
  }
}

test: every_country_is_ranked {
  explore_source: customers {
    column: country { field: customers.country }
    column: rank { field: country_sales.sales_rank }
    column: customers { field: customers.count_customers }
  }
  assert: rank_is_there {
    expression: coalesce(${country_sales.sales_rank}, 0) >= 1 ;;
  }
  assert: somebody_lives_there {
    expression: ${customers.count_customers} > 0 AND length(${customers.country}) = 2 ;;
  }
}
