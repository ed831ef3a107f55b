"""Shims: small scripts by which a program of an env runs from an editor or a shell, by `envtool exec` on the checkout.

Each begins with two lines that say whose it is. A file that does not begin so is never replaced or removed.
"""

from __future__ import annotations

import hashlib
import os
import re
import sys
from shlex import quote
from typing import TYPE_CHECKING, NamedTuple

from envtool.container.protected_paths import Protection, is_repository
from envtool.errors import UsageError
from envtool.fs import caller_paths
from envtool.model import PROJECT
from envtool.project import discovery

if TYPE_CHECKING:
    from envtool.app.env_programs import EnvProgram, ProjectPrograms
    from envtool.fs.directory import OpenDirectory

IGNORE = ".gitignore"
_HEAD = "#!/bin/sh\n"
_MARK = "# envtool shim 1 "
_FIRST = re.compile(rf"(?:{re.escape(_HEAD)})?{_MARK}([0-9a-f]{{64}}): ")
_MAX_HEAD = 200  # bytes in which the mark is


class WrittenShims(NamedTuple):
    """What `write_shims` did: programs by name."""

    directory: str  # absolute
    written: tuple[EnvProgram, ...]  # all that are there now
    changed: tuple[str, ...]  # names of those that are new or other than before
    removed: tuple[str, ...]


def write_shims(directory: str, found: ProjectPrograms) -> WrittenShims:
    """Writes a shim for each program into a directory, which is made if it is missing, and removes shims of the same
    project that are not among them. Raises UsageError where `directory` belongs to git or envtool, and where it has a
    file of one of the names that is not a shim of this project, before anything is written; and for an OSError."""
    place = os.path.abspath(directory)
    _check_place(place)
    mark = hashlib.sha256(found.spec.encode("utf-8", "surrogateescape")).hexdigest()
    try:
        with caller_paths.open_directory(place, found.root) as opened:
            return _write(opened, place, found, mark)
    except OSError as error:
        reason = error.strerror or str(error)
        raise UsageError(f"shims cannot be written to `{place}`: {reason}", code="shim-write") from error


def shim_text(program: EnvProgram, found: ProjectPrograms, mark: str) -> str:
    """Returns the script: it gives the program's words to `envtool exec`. A word that is a path in the checkout becomes
    the path in the container, and so do the value of an option (`--config=PATH`) and the working directory."""
    words = [sys.executable, "-P", "-m", "envtool", "exec", "-C", found.root]  # -P: no module of the working directory
    if os.path.basename(found.spec) != discovery.SPEC:
        words += ["--file", os.path.basename(found.spec)]
    name, root = quote(program.name), quote(found.root)
    return f"""\
{_HEAD}{_MARK}{mark}: `envtool shim` replaces and removes this file
if [ -n "${{_ENVTOOL_SHIM-}}" ]; then
  echo "envtool: its own search for a program found the shim $0: take its directory out of PATH" >&2
  exit 126
fi
export _ENVTOOL_SHIM=1
root={root}
count=$#
while [ "$count" -gt 0 ]; do
  word=$1
  shift
  case $word in
    "$root") word={PROJECT} ;;
    "$root"/*) word={PROJECT}${{word#"$root"}} ;;
    -*="$root" | -*="$root"/*)
      value=${{word#*=}}
      case $value in
        "$root" | "$root"/*) word=${{word%%=*}}={PROJECT}${{value#"$root"}} ;;
      esac
      ;;
  esac
  set -- "$@" "$word"
  count=$((count - 1))
done
set -- {name} "$@"
case ${{PWD-}} in
  "$root"/*) set -- /bin/sh -c 'cd "$0" && exec "$@"' "{PROJECT}${{PWD#"$root"}}" "$@" ;;
esac
exec {" ".join(map(quote, words))} {quote(program.env)} -- "$@"
"""


def _check_place(place: str) -> None:
    protection = Protection((), ())
    for path in dict.fromkeys((place, os.path.realpath(place))):
        for count, name in enumerate(parts := path.split("/"), 1):
            if reader := protection.reader(name):
                above = "/".join(parts[:count])
                hint = "choose a directory of its own, such as `.shims`"
                raise UsageError(
                    f"`{above}` is {reader}'s own: no shims are written there", code="shim-place", hint=hint
                )


def _write(directory: OpenDirectory, place: str, found: ProjectPrograms, mark: str) -> WrittenShims:
    names = directory.names()
    if is_repository(names):
        raise UsageError(f"`{place}` is git's own: no shims are written there", code="shim-place")
    owners = {name: _owner(directory, name) for name in names}
    wanted = {program.name: program for program in found.programs}
    for name in wanted:
        if owners.get(name, mark) != mark:
            other = "is a shim of another project" if owners[name] else "was not written by `envtool shim`"
            hint = "choose another directory, or move the file away"
            raise UsageError(f"`{place}/{name}` {other}", code="shim-foreign", hint=hint)
    changed: list[str] = []
    try:
        stale = _replace(directory, place, found, mark, owners, changed)
    except OSError as error:
        written = f"written before that: {', '.join(changed)}; " if changed else ""
        raise UsageError(
            f"shims cannot be written to `{place}`: {error.strerror or error}",
            code="shim-write",
            hint=f"{written}all others are as they were",
        ) from error
    return WrittenShims(place, found.programs, tuple(changed), tuple(stale))


def _replace(
    directory: OpenDirectory,
    place: str,
    found: ProjectPrograms,
    mark: str,
    owners: dict[str, str],
    changed: list[str],
) -> list[str]:
    """Writes what is missing or different, and adds its name to `changed`; then removes stale shims, and returns their
    names. `owners` are the marks of the files that are there. Raises OSError."""
    wanted = {program.name: program for program in found.programs}
    if not owners and found.programs and f"{place}/".startswith(f"{found.root}/"):
        # else the shims are files of the project, and each new one makes every task run again
        _write_file(directory, IGNORE, f"{_MARK}{mark}: `envtool shim` removes this file\n*\n", 0, new=True)
    for name, program in wanted.items():
        text = shim_text(program, found, mark)
        if name not in owners or not _is_same(directory, name, text):
            _write_file(directory, name, text, 0o755, new=name not in owners)
            changed.append(name)
    stale = sorted(name for name, owner in owners.items() if owner == mark and name not in wanted and name != IGNORE)
    for name in stale:
        directory.discard(name)
    return stale


def _owner(directory: OpenDirectory, name: str) -> str:
    """Returns the mark of the project whose shim a file is; "" if it is something else."""
    try:
        with directory.read(name) as file:
            match = _FIRST.match(file.read(_MAX_HEAD).decode(errors="replace"))
    except OSError:  # a directory, a link, a pipe, or a file that is not ours to read
        return ""
    return match[1] if match else ""


def _is_same(directory: OpenDirectory, name: str, text: str) -> bool:
    data = text.encode("utf-8", "surrogateescape")
    with directory.read(name) as file:
        return file.read(len(data) + 1) == data and bool(os.fstat(file.fileno()).st_mode & 0o100)


def _write_file(directory: OpenDirectory, name: str, text: str, mode: int, *, new: bool) -> None:
    with directory.atomic_write(name, mode, replace=not new, sync=False) as file:
        file.write(text.encode("utf-8", "surrogateescape"))
