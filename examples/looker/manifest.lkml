project_name: "ecommerce"

constant: CONNECTION {
  value: "shop"
  export: override_optional
}

constant: VAT_PERCENT {
  value: "20"
}

# Another team's project; `runyard lookml check` finds it in imported_projects/calendar.
local_dependency: {
  project: "calendar"
  override_constant: DATES_TABLE {
    value: "dates"
  }
}
