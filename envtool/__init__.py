"""envtool: test and build commands in throw-away containers, declared in one YAML file.

This module imports nothing, because every start of a container imports it.
"""

__version__ = "0.3.0"
