"""Git: mirrors, trees, smart HTTP. The only place that runs git; called by app through the Source port."""
