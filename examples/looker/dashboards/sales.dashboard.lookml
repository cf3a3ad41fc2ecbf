- dashboard: sales
  title: Sales
  layout: newspaper
  preferred_viewer: dashboards-next
  elements:
  - title: Sales by month
    name: sales_by_month
    model: ecommerce
    explore: order_items
    type: looker_column
    fields: [orders.created_month, products.category, order_items.total_sales]
    pivots: [products.category]
    fill_fields: [orders.created_month]
    filters:
      orders.is_canceled: 'No'
    sorts: [orders.created_month desc, products.category]
    limit: 500
    listen:
      Date: orders.created_date
      Country: stores.country
  - title: Share of each category
    name: share
    model: ecommerce
    explore: order_items
    type: looker_pie
    fields: [products.category, order_items.total_sales]
    sorts: [order_items.total_sales desc]
    dynamic_fields:
    - table_calculation: share
      label: Share
      expression: ${order_items.total_sales} / sum(${order_items.total_sales})
      value_format_name: percent_1
    hidden_fields: [order_items.total_sales]
    listen:
      Date: orders.created_date
  - name: note
    type: text
    title_text: About
    body_text: Canceled orders are left out.
  filters:
  - name: Date
    title: Date
    type: field_filter
    default_value: 12 months
    model: ecommerce
    explore: order_items
    field: orders.created_date
  - name: Country
    title: Country
    type: field_filter
    default_value: ''
    model: ecommerce
    explore: order_items
    field: stores.country
    listens_to_filters: [Date]
