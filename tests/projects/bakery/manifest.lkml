project_name: "bakery"

constant: CONNECTION {
  value: "bakery"
  export: override_optional
}
