# A native derived table: its query is an explore's. It stands on another derived table's explore.
view: country_sales {
  label: "Sales of the country"
  derived_table: {
    explore_source: order_items {
      column: country { field: customers.country }
      column: sales { field: order_items.total_sales }
      column: customers { field: customers.count_customers }
      derived_column: sales_rank {
        sql: RANK() OVER (ORDER BY sales DESC) ;;
      }
    }
  }

  dimension: country {
    primary_key: yes
    hidden: yes
    sql: ${TABLE}.country ;;
  }
  dimension: sales {
    type: number
    value_format_name: eur
    sql: ${TABLE}.sales ;;
  }
  dimension: sales_rank {
    type: number
    sql: ${TABLE}.sales_rank ;;
  }
  dimension: sales_per_customer {
    type: number
    value_format_name: eur
    sql: ${sales} / NULLIF(${TABLE}.customers, 0) ;;
  }
}
