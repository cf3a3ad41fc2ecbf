"""The assert validator: `tests` reads the data tests of models, `check` says what is wrong with them before a
query runs, `run` runs them."""
