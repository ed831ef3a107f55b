"""How git is asked: the words and the environment. Imports os alone: a warm command asks git too.

git is asked without changing anything (GIT_OPTIONAL_LOCKS=0), without the checkout's own hooks (core.fsmonitor), also
where the checkout belongs to another user (safe.directory).
"""

from __future__ import annotations

import os

WORDS = ("git", "-c", "safe.directory=*", "-c", "core.fsmonitor=false", "-c", "core.untrackedCache=false")
IGNORED = ("ls-files", "-oi", "--exclude-standard", "--directory", "-z", "--", ".")
LISTED = ("ls-files", "-c", "-o", "--exclude-standard", "-z", "--", ".")
KEPT = ("PATH", "HOME", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR", "XDG_CONFIG_HOME")  # of the caller's variables
OWN = {"GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C"}


def environment() -> dict[str, str]:
    """What git sees of ours: every GIT_* of the caller (a hook's GIT_DIR above all) is gone."""
    return {name: os.environ[name] for name in KEPT if name in os.environ} | OWN
