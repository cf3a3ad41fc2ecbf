connection: "@{CONNECTION}"
label: "Bakery"

include: "/views/*.view"
include: "/tests/*.lkml"

week_start_day: sunday
fiscal_month_offset: 3

datagroup: nightly {
  sql_trigger: SELECT MAX(id) FROM orders ;;
  max_cache_age: "24 hours"
}

explore: order_items {
  label: "Sales"
  persist_with: nightly
  sql_always_where: ${orders.status} <> 'test' ;;

  join: orders {
    relationship: many_to_one
    sql_on: ${orders.id} = ${order_items.order_id} ;;
  }
  join: customers {
    relationship: many_to_one
    sql_on: ${customers.id} = ${orders.customer_id} ;;
  }
  join: products {
    relationship: many_to_one
    sql_on: ${products.id} = ${order_items.product_id} ;;
  }
  join: customer_facts {
    relationship: one_to_one
    sql_on: ${customer_facts.customer_id} = ${customers.id} ;;
  }
}

explore: customers {
  extends: [customers_base]
  join: customer_facts {
    relationship: one_to_one
    sql_on: ${customer_facts.customer_id} = ${customers.id} ;;
  }
  join: city_sales {
    relationship: many_to_one
    sql_on: ${city_sales.city} = ${customers.city} ;;
  }
}

explore: customers_base {
  extension: required
  view_name: customers
  join: orders {
    relationship: one_to_many
    sql_on: ${orders.customer_id} = ${customers.id} ;;
  }
}

# A refinement: what another team adds without touching the view.
view: +customers {
  dimension: has_email {
    description: "Whether we may write to them."
    type: yesno
    sql: ${email} IS NOT NULL ;;
  }
}
