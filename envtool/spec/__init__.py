"""Text -> Spec. Pure: what it reads of the project comes through the `api.Project` it is given.

Reading order: node.py (values with places), parse.py (YAML), schema.py and check.py (one schema, its errors in our
words), template.py (Jinja2 on scalars), merge.py (extends, defaults), matrix.py, declare.py (bases and layers),
envs.py (one env), load.py (the road).
"""

from __future__ import annotations

from envtool.spec.docs import reference
from envtool.spec.load import load
from envtool.spec.schema import published, schema

__all__ = ["load", "published", "reference", "schema"]
