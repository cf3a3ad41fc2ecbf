select ordered_on, sum(total) as total, count(*) as orders
from {{ ref("orders") }} where status = 'paid' group by ordered_on
