connection: "@{CONNECTION}"
label: "Marketing"

include: "/views/customers.view"
include: "/views/visits.view"
include: "/views/orders.view"
include: "/views/address.view"

explore: visits {
  label: "Web visits"
  # The conversion rate needs both sides of the visit.
  join: customers {
    type: left_outer
    relationship: many_to_one
    sql_on: ${customers.id} = ${visits.customer_id} ;;
  }
  join: orders {
    view_label: "Orders of the same day"
    relationship: many_to_many
    sql_on: ${orders.customer_id} = ${visits.customer_id} AND ${orders.created_date} = ${visits.started_date} ;;
    fields: [orders.status, orders.created_date, orders.count_orders]
  }
}
