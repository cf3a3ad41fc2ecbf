"""Mistakes that people make in LookML, as changes of the example shop, each with exactly the findings that it
must give."""

from __future__ import annotations

from .shop import Change

CHANGES = (
    Change("a renamed column", "views/products.view.lkml", "${TABLE}.brand ;;", "${TABLE}.brnd ;;", (
        ("sql", "products.brand", "views/products.view.lkml", 20),
    )),
    Change("a dropped dimension", "views/products.view.lkml", "  dimension: brand {\n    sql: ${TABLE}.brand ;;\n  }\n", "", (
        ("lookml/unknown_field", "products", "views/products.view.lkml", 4),
        ("lookml/unknown_field", "products.list_of_brands", "views/products.view.lkml", 50),
        ("sql", "products.list_of_brands", "views/products.view.lkml", 50),
    )),
    Change("a broken reference", "views/customers.view.lkml", "${age} < 30", "${agee} < 30", (
        ("lookml/unknown_field", "customers.segment", "views/customers.view.lkml", 51),
        ("sql", "customers.segment", "views/customers.view.lkml", 51),
        ("sql", "customers.segment", "views/customers.view.lkml", 51),
        ("sql", "customers.segment", "views/customers.view.lkml", 51),
        ("sql", "customers.segment", "views/customers.view.lkml", 51),
    )),
    Change("a deleted join", "explores/sales.explore.lkml", "  join: products {\n    relationship: many_to_one\n    sql_on: ${products.id} = ${order_items.product_id} ;;\n  }\n", "", (
        ("assert", "refunds_do_not_multiply_sales", "tests/sales.test.lkml", 15),
        ("content", "Sales · Sales by month", "dashboards/sales.dashboard.lookml", 11),
        ("content", "Sales · Share of each category", "dashboards/sales.dashboard.lookml", 26),
        ("lookml/unknown_field", "order_items", "explores/sales.explore.lkml", 56),
        ("lookml/unknown_field", "order_items", "refinements/finance.lkml", 6),
        ("lookml/unknown_field", "order_items", "tests/sales.test.lkml", 17),
        ("sql", "order_items.total_cost", "refinements/finance.lkml", 6),
    )),
    Change("a misspelt measure filter field", "views/order_items.view.lkml", "filters: [orders.status: \"-canceled\"]", "filters: [orders.state: \"-canceled\"]", (
        ("assert", "every_country_is_ranked", "views/order_items.view.lkml", 68),
        ("assert", "refunds_do_not_multiply_sales", "views/order_items.view.lkml", 68),
        ("assert", "sales_of_2025_are_as_booked", "views/order_items.view.lkml", 68),
        ("lookml/unknown_field", "order_items.total_sales", "views/order_items.view.lkml", 68),
        ("sql", "ecommerce/customers", "views/order_items.view.lkml", 68),
        ("sql", "order_items.total_sales", "views/order_items.view.lkml", 68),
    )),
    Change("a misspelt filter value", "views/orders.view.lkml", 'filters: [is_late: "Yes"]', 'filters: [is_late: "Yess"]', (
        ("lookml/filter", "orders.is_late", "views/orders.view.lkml", 85),
        ("sql", "orders.count_late_orders", "views/orders.view.lkml", 85),
        ("sql", "orders.count_late_orders", "views/orders.view.lkml", 85),
    )),
    Change("a misspelt view", "explores/sales.explore.lkml", "from: stores", "from: store", (
        ("lookml/unknown_view", "customers", "explores/sales.explore.lkml", 92),
        ("sql", "ecommerce/customers", "explores/sales.explore.lkml", 92),
    )),
    Change("a misspelt include", "models/marketing.model.lkml", 'include: "/views/visits.view"', 'include: "/views/visit.view"', (
        ("lookml/include", "include", "models/marketing.model.lkml", 5),
        ("lookml/unknown_view", "visits", "models/marketing.model.lkml", 9),
        ("sql", "marketing/visits", "models/marketing.model.lkml", 9),
    )),
    Change("a missing ;;", "views/stores.view.lkml", "sql: ${TABLE}.name ;;", "sql: ${TABLE}.name", (
        ("lookml/syntax", "syntax", "views/stores.view.lkml", 15),
    )),
    Change("an unclosed brace", "views/promotions.view.lkml", "  dimension: code {\n    sql: ${TABLE}.code ;;\n  }", "  dimension: code {\n    sql: ${TABLE}.code ;;\n", (
        ("lookml/syntax", "syntax", "views/promotions.view.lkml", 1),
        ("sql", "ecommerce/order_items", "explores/sales.explore.lkml", 16),
        ("sql", "ecommerce/orders", "explores/sales.explore.lkml", 16),
    )),
    Change("a wrong table", "views/returns.view.lkml", "sql_table_name: returns ;;", "sql_table_name: refunds ;;", (
        ("assert", "refunds_do_not_multiply_sales", "views/returns.view.lkml", 3),
        ("sql", "ecommerce/order_items", "views/returns.view.lkml", 3),
    )),
    Change("a broken join condition", "explores/sales.explore.lkml", "${returns.order_item_id} = ${order_items.id}", "${returns.order_item_id} = ${order_items.idd}", (
        ("assert", "refunds_do_not_multiply_sales", "explores/sales.explore.lkml", 47),
        ("lookml/unknown_field", "order_items", "explores/sales.explore.lkml", 47),
        ("sql", "ecommerce/order_items", "explores/sales.explore.lkml", 47),
    )),
    Change("a column renamed in a derived table", "views/customer_facts.view.lkml", "MIN(o.created_at) AS first_order_at", "MIN(o.created_on) AS first_order_at", (
        ("sql", "ecommerce/customers", "views/customer_facts.view.lkml", 9),
        ("sql", "ecommerce/order_items", "views/customer_facts.view.lkml", 9),
    )),
    Change("a column of a native derived table gone", "views/country_sales.view.lkml", "      column: sales { field: order_items.total_sales }\n", "", (
        ("assert", "every_country_is_ranked", "views/country_sales.view.lkml", 9),
        ("sql", "ecommerce/customers", "views/country_sales.view.lkml", 9),
    )),
    Change("a wrong expectation of a test", "tests/sales.test.lkml", "= 200612.94", "= 200612.95", (
        ("assert", "sales_of_2025_are_as_booked · sales_match_the_books", "tests/sales.test.lkml", 8),
    )),
    Change("a test on an unknown field", "tests/keys.test.lkml", "column: customer { field: customers.id }", "column: customer { field: customer.id }", (
        ("assert", "every_order_has_a_customer", "tests/keys.test.lkml", 13),
        ("lookml/expression", "orders", "tests/keys.test.lkml", 19),
        ("lookml/unknown_field", "orders", "tests/keys.test.lkml", 16),
    )),
    Change("a misspelt function in a test", "tests/keys.test.lkml", "NOT is_null(", "NOT isnull(", (
        ("assert", "every_order_has_a_customer · customer_is_known", "tests/keys.test.lkml", 19),
        ("lookml/expression", "orders", "tests/keys.test.lkml", 19),
    )),
    Change("a dashboard's field gone", "dashboards/sales.dashboard.lookml", "pivots: [products.category]", "pivots: [products.categorie]", (
        ("content", "Sales · Sales by month", "dashboards/sales.dashboard.lookml", 12),
    )),
    Change("a dashboard's explore gone", "dashboards/customers.dashboard.lookml", "explore: customers", "explore: customer", (
        ("content", "Customers · Where they live", "dashboards/customers.dashboard.lookml", 7),
    )),
    Change("a dashboard filter renamed", "dashboards/sales.dashboard.lookml", "      Country: stores.country", "      Land: stores.country", (
        ("content", "Sales · Sales by month", "dashboards/sales.dashboard.lookml", 20),
    )),
    Change("a Look's filter gone", "content/look_42_late_orders.json", "stores.country", "stores.land", (
        ("content", "Late orders · Late orders", "content/look_42_late_orders.json", 9),
    )),
    Change("an unknown timeframe", "views/returns.view.lkml", "timeframes: [date, month]", "timeframes: [date, mnth]", (
        ("lookml/unknown_timeframe", "returns.returned", "views/returns.view.lkml", 26),
        ("sql", "returns.returned_mnth", "views/returns.view.lkml", 24),
    )),
    Change("an unknown type", "views/visits.view.lkml", "  dimension: pages {\n    type: number", "  dimension: pages {\n    type: numbre", (
        ("lookml/unknown_type", "visits.pages", "views/visits.view.lkml", 20),
    )),
    Change("a circle", "views/orders.view.lkml", "sql: ${status} = 'canceled' ;;", "sql: ${is_canceled} ;;", (
        ("lookml/circular_reference", "orders.is_canceled", "views/orders.view.lkml", 30),
        ("sql", "orders.is_canceled", "views/orders.view.lkml", 30),
        ("sql", "orders.is_canceled", "views/orders.view.lkml", 30),
    )),
    Change("a measure in a dimension", "views/orders.view.lkml", "sql: ${days_to_delivery} > 7 ;;", "sql: ${average_days_to_delivery} > 7 ;;", (
        ("lookml/measure_in_dimension", "orders.is_late", "views/orders.view.lkml", 52),
        ("sql", "orders.is_late", "views/orders.view.lkml", 52),
        ("sql", "orders.is_late", "views/orders.view.lkml", 52),
    )),
    Change("an unknown constant", "views/order_items.view.lkml", "@{VAT_PERCENT}", "@{VAT}", (
        ("lookml/unknown_constant", "unknown_constant", "views/order_items.view.lkml", 45),
        ("sql", "order_items.amount_net", "views/order_items.view.lkml", 45),
    )),
    Change("Liquid without its end", "views/orders.view.lkml", "      {% endif %} ;;", "      ;;", (
        ("lookml/liquid", "liquid", "views/orders.view.lkml", 70),
        ("sql", "orders.period", "views/orders.view.lkml", 70),
        ("sql", "orders.period", "views/orders.view.lkml", 70),
    )),
    Change("a primary key lost", "views/order_items.view.lkml", "    primary_key: yes\n", "", (
        ("assert", "refunds_do_not_multiply_sales", "views/order_items.view.lkml", 63),
        ("lookml/no_primary_key", "order_items", "views/order_items.view.lkml", 1),
        ("style/V110", "order_items", "views/order_items.view.lkml", 1),
    )),
    Change("a field twice", "views/stores.view.lkml", "  measure: count_stores {", "  dimension: name {\n    sql: 1 ;;\n  }\n  measure: count_stores {", (
        ("lookml/duplicate", "stores.name", "views/stores.view.lkml", 29),
    )),
    Change("an unknown parameter", "views/stores.view.lkml", "type: yesno", "typ: yesno", (
        ("lookml/unknown_parameter", "unknown_parameter", "views/stores.view.lkml", 18),
    )),
    Change("an unknown access grant", "views/products.view.lkml", "  dimension: cost {\n    type: number\n    value_format_name: eur\n    required_access_grants: [sees_margins]", "  dimension: cost {\n    type: number\n    value_format_name: eur\n    required_access_grants: [sees_margin]", (
        ("lookml/unknown_access_grant", "unknown_access_grant", "views/products.view.lkml", 30),
    )),
    Change("an unknown datagroup", "explores/sales.explore.lkml", "datagroup_trigger: nightly", "datagroup_trigger: nigthly", (
        ("lookml/unknown_datagroup", "unknown_datagroup", "explores/sales.explore.lkml", 64),
    )),
    Change("an access filter on an unknown field", "explores/sales.explore.lkml", "field: stores.country", "field: stores.land", (
        ("lookml/unknown_field", "order_items", "explores/sales.explore.lkml", 28),
    )),
    Change("a refinement of nothing", "refinements/finance.lkml", "view: +order_items", "view: +order_item", (
        ("lookml/unknown_refined", "unknown_refined", "refinements/finance.lkml", 2),
    )),
    Change("a set renamed", "views/customers.view.lkml", "set: contact {", "set: contacts {", (
        ("lookml/unknown_set", "customers.count_customers", "views/customers.view.lkml", 61),
        ("lookml/unknown_set", "orders", "explores/sales.explore.lkml", 74),
    )),
    Change("a sum of texts", "views/returns.view.lkml", "    type: sum\n    sql: ${refund} ;;", "    type: sum\n    sql: ${reason} ;;", (
        ("assert", "refunds_do_not_multiply_sales", "tests/sales.test.lkml", 15),
        ("sql", "returns.total_refund", "views/returns.view.lkml", 37),
    )),
    Change("bad style", "views/stores.view.lkml", "measure: count_stores", "measure: storeCount", (
        ("style/M100", "stores.storeCount", "views/stores.view.lkml", 29),
        ("style/M103", "stores.storeCount", "views/stores.view.lkml", 29),
    )),
    # Orders stand in the explores order_items and orders with all their fields; visits takes three of them,
    # none of these (hence twice each). Measures that only pass the cause on (count_late_orders by its filter,
    # share_of_late_orders) are not told again.
    Change("an interval taken away", "views/orders.view.lkml", "intervals: [hour, day]", "intervals: [hour]", (
        ("lookml/unknown_field", "orders.average_days_to_delivery", "views/orders.view.lkml", 96),
        ("lookml/unknown_field", "orders.is_late", "views/orders.view.lkml", 52),
        ("sql", "orders.average_days_to_delivery", "views/orders.view.lkml", 96),
        ("sql", "orders.average_days_to_delivery", "views/orders.view.lkml", 96),
        ("sql", "orders.is_late", "views/orders.view.lkml", 52),
        ("sql", "orders.is_late", "views/orders.view.lkml", 52),
    )),
    # order_items has amount_net; the explore orders takes two other fields of its items.
    Change("a renamed constant", "manifest.lkml", "VAT_PERCENT", "VAT_PERCNT", (
        ("lookml/unknown_constant", "unknown_constant", "views/order_items.view.lkml", 45),
        ("sql", "order_items.amount_net", "views/order_items.view.lkml", 45),
    )),
    # Customers are in four explores: order_items, orders (without contact*), customers, visits.
    Change("a filter of a dimension that is neither yes nor no", "views/customers.view.lkml", 'filters: [is_business: "No"]', 'filters: [is_business: "Nope"]', (
        ("lookml/filter", "customers.is_business", "views/customers.view.lkml", 67),
        *(("sql", "customers.average_age", "views/customers.view.lkml", 67),) * 4,
    )),
    Change("a broken Liquid tag", "views/orders.view.lkml", "{% else %}", "{% esle %}", (
        ("lookml/liquid", "liquid", "views/orders.view.lkml", 72),
        *(("sql", "orders.period", "views/orders.view.lkml", 72),) * 2,
    )),
)  # fmt: skip
