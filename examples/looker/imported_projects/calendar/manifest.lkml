project_name: "calendar"

constant: DATES_TABLE {
  value: "calendar_dates"
  export: override_required
}
