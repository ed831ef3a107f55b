"""The newest of a list of version numbers, found by jq: which every Debian has, each in its own version."""

import json
import subprocess
from typing import List

_NEWEST = 'max_by(split(".") | map(tonumber))'


def newest(versions: List[str]) -> str:
    """The greatest of `versions` ("1.10" is greater than "1.9"). Raises ValueError for an empty list."""
    if not versions:
        raise ValueError("no version to choose from")
    done = subprocess.run(
        ["jq", "--raw-output", _NEWEST], input=json.dumps(versions), capture_output=True, text=True, check=True
    )
    return done.stdout.strip()
