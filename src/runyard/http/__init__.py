"""ASGI plumbing shared by dialects: auth, limits, problems, streaming, ranges."""
