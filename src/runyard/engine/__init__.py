"""The verbs: each takes one transaction and a time; called by dialects, http, web and the runner, calls only
ports."""
