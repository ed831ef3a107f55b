"""Our own kinds of base and layer. Each uses `envtool.api` and nothing else of envtool, as a plugin would."""
