"""The style validator: `config` reads `lkmlstyle.yaml` in both its forms, `catalogue` declares the rules,
`kinds` checks them, `check` runs them."""
