"""Runyard: one run engine behind the CI APIs of GitLab, Depot, Looker and Datafold."""

__version__ = "0.1.0"
