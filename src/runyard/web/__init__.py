"""Server-rendered pages over the engine's views."""
