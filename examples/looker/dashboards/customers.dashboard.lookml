- dashboard: customers
  title: Customers
  elements:
  - title: Where they live
    name: map
    model: ecommerce
    explore: customers
    type: looker_map
    fields: [customers.country, customers.count_customers, country_sales.sales_per_customer]
    sorts: [customers.count_customers desc]
  - title: Visits and orders
    name: visits_and_orders
    merged_queries:
    - model: marketing
      explore: visits
      fields: [visits.started_month, visits.count_visits, visits.bounce_rate]
    - model: ecommerce
      explore: orders
      fields: [orders.created_month, orders.count_orders]
      join_fields:
      - source_field_name: visits.started_month
        field_name: orders.created_month
