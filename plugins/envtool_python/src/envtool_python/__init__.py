"""Python for envtool: the layer kinds `pip` and `python-project`, and `language: python`.

plugin.py        hooks (the entry point)
language.py      an env and its project's files -> layers (pure)
texts.py         files -> text, each by the rules of those who read it (pure)
facts.py         what pyproject.toml and setup.py say about a project (pure); of it
poetry.py        Poetry's notation
layout.py        whether it is a package
detecting.py     what `envtool init` writes for a project
needs.py         what its tests require (pure), with conventions.py
sources.py       where requirements come from, if not from the index (pure), with indexes.py
pythons.py       which Python is wanted, and which there is
requirements.py  requirement files, dependency groups, extras -> lines for pip (pure)
kinds.py         the two layer kinds
wanted.py        a layer's options -> lines for pip
resolving.py     lines -> pins, by pip in a container
index.py         the host's own pip configuration, without its secrets
missing.py       what a failed build misses, and the package that has it
versions.py      a version for projects that ask version control
inside.py        runs in containers, under the container's Python (3.8 and later); with it
beside.py        what a build makes that belongs beside the sources
calls.py         calls of pip, one after the other
compiling.py     .pyc files
tagged.py        what the project's own rule finds in tags, and a version for versioningit
"""

__version__ = "0.3.0"
