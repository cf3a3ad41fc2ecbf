"""The content validator: `lookml` and `exported` read dashboards and Looks into `items`, `check` holds them
against the models."""
