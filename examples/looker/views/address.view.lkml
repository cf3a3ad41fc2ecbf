# An address, for views to extend.
view: address {
  extension: required

  dimension: city {
    group_label: "Address"
    sql: ${TABLE}.city ;;
  }
  dimension: country {
    group_label: "Address"
    map_layer_name: countries
    sql: ${TABLE}.country ;;
  }
  dimension: place {
    group_label: "Address"
    type: location
    sql_latitude: ${TABLE}.latitude ;;
    sql_longitude: ${TABLE}.longitude ;;
  }
}
