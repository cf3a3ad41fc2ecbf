project_name: "calendar"

constant: DATES_TABLE {
  value: "dates"
  export: override_required
}
