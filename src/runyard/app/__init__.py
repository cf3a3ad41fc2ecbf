"""The only composition root: settings → ports → dialects → one ASGI application and the background loops.
Called by cli."""
