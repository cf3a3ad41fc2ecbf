"""The only composition root: settings → ports → dialects → one ASGI application and the background loops. Called by cli."""

from runyard.app.first_start import make_token
from runyard.app.serving import serve_forever

__all__ = ["make_token", "serve_forever"]
