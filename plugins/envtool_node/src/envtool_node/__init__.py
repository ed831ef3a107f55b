"""Node.js for envtool: the layer kind `npm`, and `language: node`.

plugin.py     hooks (the entry point)
language.py   an env and its project's files -> layers (pure)
manifest.py   what package.json says (pure)
lockfile.py   package-lock.json and npm-shrinkwrap.json -> the tarballs that are wanted (pure)
npmrc.py      the host's own npm configuration: registries and credentials
kinds.py      the layer kind
resolving.py  files of the project -> pins, with the npm of the stack where something floats
building.py   the functions that run in the container that builds
"""

__version__ = "0.3.0"
