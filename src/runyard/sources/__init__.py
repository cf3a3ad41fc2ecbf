"""Git: bare repositories by project id, trees without a work tree, smart HTTP, checkouts from the local
mirror.

The only package that runs git. `app` builds one `GitSource` (the Source port) and mounts
`smart_http.GitHttp`; the runner calls `checkout`. Everything that comes from a stranger (refs, URLs, tree
entries, packs) is judged in `names`, `workspace` and `receive` before it acts.
"""

from runyard.sources.repositories import GitSource

__all__ = ["GitSource"]
