{{ config(materialized="ephemeral") }}
select order_id, customer, status, {{ money("cents") }} as total, cast(ordered_on as date) as ordered_on
from {{ ref("raw_orders") }}
