"""Python for envtool: the layer kinds `pip` and `python-project`, and `language: python`.

plugin.py        hooks (the entry point)
language.py      an env and its project's files -> layers (pure)
facts.py         what pyproject.toml and setup.py say about a project (pure)
requirements.py  requirement files, dependency groups, extras -> lines for pip (pure)
kinds.py         the two layer kinds
resolving.py     lines -> pins, by pip in a container
index.py         the host's own pip configuration, without its secrets
missing.py       what a failed build misses, and the package that has it
versions.py      a version for projects that ask version control
inside.py        runs in containers, under the container's Python (3.8 and later); with it
beside.py        what a build makes that belongs beside the sources
tagged.py        what the project's own rule finds in tags, and a version for versioningit
"""

__version__ = "0.3.0"
