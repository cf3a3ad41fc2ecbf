"""What the client library inside actions asks a server for: artifacts and caches (Twirp and REST), uploads of
blocks, identity tokens.

`door` routes · `callers` knows who asks · `artifacts`, `caches`, `identity` answer · `uploads` takes bytes.
Contracts: actions.md §10.
"""
