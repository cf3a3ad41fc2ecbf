include: "address.view"

view: customers {
  extends: [address]
  label: "Customers"
  sql_table_name: customers ;;

  dimension: id {
    primary_key: yes
    hidden: yes
    type: number
    sql: ${TABLE}.id ;;
  }
  dimension: name {
    sql: ${TABLE}.first_name || ' ' || ${TABLE}.last_name ;;
    link: {
      label: "This customer's orders"
      url: "/explore/ecommerce/orders?fields=orders.id&f[customers.name]={{ value | url_encode }}"
    }
  }
  dimension: email {
    tags: ["email"]
    sql: ${TABLE}.email ;;
  }
  dimension: is_business {
    type: yesno
    sql: ${TABLE}.is_business ;;
  }
  dimension_group: joined {
    type: time
    timeframes: [raw, date, week, month, quarter, year]
    sql: ${TABLE}.created_at ;;
  }
  dimension: age {
    type: number
    sql: 2026 - EXTRACT(YEAR FROM ${TABLE}.birth_date) ;;
  }
  dimension: age_group {
    type: tier
    tiers: [18, 30, 45, 60]
    style: integer
    sql: ${age} ;;
  }
  dimension: segment {
    case: {
      when: {
        sql: ${is_business} ;;
        label: "Business"
      }
      when: {
        sql: ${age} < 30 ;;
        label: "Young"
      }
      else: "Private"
    }
  }

  measure: count_customers {
    description: "Customers."
    type: count
    drill_fields: [contact*, joined_date]
  }
  measure: average_age {
    description: "Mean age in years, business customers left out."
    type: average
    sql: ${age} ;;
    filters: [is_business: "No"]
    value_format_name: decimal_1
  }
  measure: count_countries {
    description: "Countries that customers live in."
    type: count_distinct
    sql: ${country} ;;
  }

  set: contact {
    fields: [name, email]
  }
}
