# What every explore on orders has in common; it cannot be queried itself.
explore: orders_base {
  extension: required
  view_name: orders
  join: customers {
    relationship: many_to_one
    sql_on: ${customers.id} = ${orders.customer_id} ;;
  }
  join: stores {
    relationship: many_to_one
    sql_on: ${stores.id} = ${orders.store_id} ;;
  }
  join: promotions {
    relationship: many_to_one
    sql_on: ${promotions.id} = ${orders.promotion_id}
      AND ${orders.created_date} BETWEEN ${promotions.starts_date} AND ${promotions.ends_date} ;;
  }
}

explore: order_items {
  label: "Sales"
  description: "Every line of every order, with who bought what, where and when."
  extends: [orders_base]
  view_name: order_items
  sql_always_where: ${orders.status} <> 'test' ;;

  access_filter: {
    field: stores.country
    user_attribute: country
  }
  conditionally_filter: {
    filters: [orders.created_date: "after 2024-01-01"]
    unless: [orders.id]
  }

  join: orders {
    type: inner
    relationship: many_to_one
    sql_on: ${orders.id} = ${order_items.order_id} ;;
  }
  join: products {
    relationship: many_to_one
    sql_on: ${products.id} = ${order_items.product_id} ;;
  }
  join: returns {
    relationship: one_to_many
    sql_on: ${returns.order_item_id} = ${order_items.id} ;;
  }
  join: dates {
    relationship: many_to_one
    sql_on: ${dates.day} = ${orders.created_date} ;;
  }
  join: customer_facts {
    relationship: one_to_one
    sql_on: ${customer_facts.customer_id} = ${customers.id} ;;
  }

  aggregate_table: sales_by_month {
    query: {
      dimensions: [orders.created_month, products.category]
      measures: [order_items.total_sales]
    }
    materialization: {
      datagroup_trigger: nightly
    }
  }
}

explore: orders {
  extends: [orders_base]
  always_filter: {
    filters: [orders.status: "-test"]
  }
  fields: [ALL_FIELDS*, -customers.contact*]
  join: order_items {
    relationship: one_to_many
    sql_on: ${order_items.order_id} = ${orders.id} ;;
    fields: [order_items.count_items, order_items.total_quantity]
  }
}

explore: customers {
  join: customer_facts {
    relationship: one_to_one
    sql_on: ${customer_facts.customer_id} = ${customers.id} ;;
  }
  join: country_sales {
    relationship: many_to_one
    sql_on: ${country_sales.country} = ${customers.country} ;;
  }
  join: nearest_store {
    from: stores
    relationship: many_to_one
    sql_on: ${nearest_store.country} = ${customers.country} AND ${nearest_store.is_flagship} ;;
  }
}
