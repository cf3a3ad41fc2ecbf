view: products {
  label: "Products"
  sql_table_name: products ;;
  drill_fields: [category, brand, name]

  dimension: id {
    primary_key: yes
    hidden: yes
    type: number
    sql: ${TABLE}.id ;;
  }
  dimension: name {
    sql: ${TABLE}.name ;;
    html: <b>{{ value }}</b> ;;
  }
  dimension: category {
    sql: ${TABLE}.category ;;
  }
  dimension: brand {
    sql: ${TABLE}.brand ;;
  }
  dimension: price {
    type: number
    value_format_name: eur
    sql: ${TABLE}.price ;;
  }
  dimension: cost {
    type: number
    value_format_name: eur
    required_access_grants: [sees_margins]
    sql: ${TABLE}.cost ;;
  }
  dimension: margin_percent {
    type: number
    required_access_grants: [sees_margins]
    sql: 100.0 * (${price} - ${cost}) / NULLIF(${price}, 0) ;;
  }
  dimension_group: launched {
    type: time
    timeframes: [date, month, year]
    convert_tz: no
    datatype: date
    sql: ${TABLE}.launched_on ;;
  }

  measure: count_products {
    description: "Products."
    type: count
  }
  measure: list_of_brands {
    description: "Brands, by name."
    type: list
    list_field: brand
  }
}
