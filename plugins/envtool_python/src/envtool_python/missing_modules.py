"""Which modules a failed task missed, and how an env gets them. Pure."""

from __future__ import annotations

import re
import sys

# A name with dots is of a package that is there, without this module. pytest puts `E   ` before it.
_MISSING = re.compile(
    r"^(?:[E>| ]{0,80}ModuleNotFoundError: No module named '([A-Za-z_]\w{0,100})'"
    r"|\S{0,500}python[\d.]{0,5}: No module named ([A-Za-z_]\w{0,100}))(?:$| \()",
    re.MULTILINE | re.ASCII,
)
_OF_PROJECTS = {"conftest", "helpers", "src", "test", "testing", "tests", "util", "utils"}
_MOST = 3  # modules that a hint names


def missing_module_hint(output: str) -> str:
    """Returns what to do about the modules that Python did not find; "" if the output names none. It names no package:
    a stranger may own the one of that name."""
    modules = [match[1] or match[2] for match in _MISSING.finditer(output)]
    names = [name for name in dict.fromkeys(modules) if name not in _OF_PROJECTS | sys.stdlib_module_names]
    if not names:
        return ""
    shown = ", ".join(f"`{name}`" for name in names[:_MOST]) + (", …" if len(names) > _MOST else "")
    what = "a module" if len(names) == 1 else "modules"
    packages = "the package that has it" if len(names) == 1 else "the packages that have them"
    return (
        f"no layer has {what} {shown}: add {packages} to the env, by `extras: […]` or `groups: […]` of the project,"
        " or by `packages: […]`"
    )
