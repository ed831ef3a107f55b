"""The kinds of base and layer that come with envtool. Each imports `envtool.api` alone, as a plugin would."""
