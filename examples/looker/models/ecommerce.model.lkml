connection: "@{CONNECTION}"
label: "E-commerce"

include: "/views/*.view"
include: "/explores/sales.explore"
include: "/refinements/*.lkml"
include: "/tests/*.lkml"
include: "/dashboards/*.dashboard"
include: "//calendar/views/dates.view"

week_start_day: monday
fiscal_month_offset: 3

datagroup: nightly {
  sql_trigger: SELECT MAX(id) FROM orders ;;
  max_cache_age: "24 hours"
}

persist_with: nightly

access_grant: sees_margins {
  user_attribute: department
  allowed_values: ["finance", "management"]
}

named_value_format: thousands {
  value_format: "#,##0,\" K\""
}
