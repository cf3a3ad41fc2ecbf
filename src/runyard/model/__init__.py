"""The nouns: work, states, plans, triggers, errors. Frozen values, no I/O, no clock."""
