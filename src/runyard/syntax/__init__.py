"""Languages of strangers, read purely: YAML, expressions, variables, patterns, durations. Imports nobody."""
