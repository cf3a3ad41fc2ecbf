select order_id, customer, status, total, ordered_on from {{ ref("stg_orders") }}
