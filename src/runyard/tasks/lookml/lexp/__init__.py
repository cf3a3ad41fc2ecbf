"""Looker expressions ("Lexp"): the language of data tests' `expression`, read by `parser`, evaluated over
fetched rows by `evaluate`.

Pure and exact: numbers are decimals, yes/no/null is three-valued, a whole column is computed at a time so
that table functions are easy.
"""
