"""Named queries, one function each, by noun. Called by transaction.py only; every function takes the link of
the transaction."""
