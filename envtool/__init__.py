"""envtool: test and build commands in throw-away containers, declared in one YAML file.

This module imports nothing: it stands on the path of every container start.
"""

__version__ = "0.3.0"
