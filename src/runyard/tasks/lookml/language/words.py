"""The words of LookML: which types, parameters and values exist. Data for `checks`; one place to add a new
parameter of the language."""

from __future__ import annotations

_DIMENSION_TYPES = """
    string number yesno date date_time tier location zipcode distance bin duration int unquoted
    duration_second duration_minute duration_hour duration_day duration_week duration_month duration_quarter duration_year
"""
DIMENSION_TYPES = frozenset(_DIMENSION_TYPES.split())

_MEASURE_TYPES = """
    count count_distinct sum sum_distinct average average_distinct min max median median_distinct percentile percentile_distinct
    list date number string yesno percent_of_total percent_of_previous running_total period_over_period int
"""
MEASURE_TYPES = frozenset(_MEASURE_TYPES.split())
GROUP_TYPES = frozenset({"time", "duration", "custom_calendar"})
PARAMETER_TYPES = frozenset({"unquoted", "string", "number", "yesno", "date", "date_time"})
JOIN_TYPES = frozenset({"left_outer", "inner", "full_outer", "cross"})

_FIELD = """
    label label_from_parameter view_label group_label group_item_label description hidden alias required_fields tags html link action
    sql type value_format value_format_name drill_fields can_filter fields suggest_dimension suggest_explore suggest_persist_for suggestable
    suggestions full_suggestions bypass_suggest_restrictions case_sensitive order_by_field required_access_grants
    alpha_sort allow_approximate_optimization approximate approximate_threshold map_layer_name style skip_drill_filter
    allow_fill convert_tz datatype primary_key tiers bins case string_datatype sql_latitude sql_longitude sql_start sql_end
    start_location_field end_location_field units filters filter default_value allowed_value allowed_values precision
    sql_distinct_key percentile list_field direction default_dimension based_on based_on_time kind period value_to_date
    timeframes intervals hidden_timeframes rank parent_field value_is_raw can_time_filter expression sql_foreign_key
    drillable synonyms execute_html ai_context
"""
_VIEW = """
    label view_label extends extension final sql_table_name derived_table suggestions fields_hidden_by_default required_access_grants
    set dimension dimension_group measure filter parameter drill_fields include view_name primary_key ai_context
"""
_JOIN = """
    type relationship sql_on sql foreign_key from fields view_label required_joins sql_where sql_table_name outer_only
    required_access_grants view_name sql_foreign_key
"""
_EXPLORE = """
    label group_label description hidden tags view_name view_label from extends extension final fields join always_join always_filter
    conditionally_filter access_filter access_filter_fields sql_always_where sql_always_having sql_table_name required_access_grants
    persist_for persist_with symmetric_aggregates cancel_grouping_fields case_sensitive aggregate_table query hidden_fields
    required_joins sql_preamble ai_context query_timezone set
"""
_MODEL = """
    connection label include explore view datagroup access_grant named_value_format map_layer week_start_day fiscal_month_offset
    case_sensitive persist_for persist_with test extends fields template application visualization localization_settings project_name
    constant local_dependency remote_dependency new_lookml_runtime map_layers aggregate_awareness sql_preamble cancel_grouping_fields
    explore_defaults view_defaults set marketplace_ref
"""
PARAMETERS = {
    "view": frozenset(_VIEW.split()),
    "join": frozenset(_JOIN.split()),
    "explore": frozenset(_EXPLORE.split()),
    "dimension": frozenset(_FIELD.split()),
    "dimension_group": frozenset(_FIELD.split()),
    "measure": frozenset(_FIELD.split()),
    "filter": frozenset(_FIELD.split()),
    "parameter": frozenset(_FIELD.split()),
    "": frozenset(_MODEL.split()),
}
"""Parameters by the kind of block they stand in; "" is the top of a file."""
