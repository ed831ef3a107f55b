"""Reads what a repository has checked out, and its tags, from its own files (HEAD, packed-refs, refs/).

All reads are bounded, only object ids are accepted, and no name leads out of the git directory. Of a repository that
keeps its refs in another way (reftable) no refs are read.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator

from envtool.fs.beneath import open_beneath
from envtool.project import git

MAX_TAGS = 100_000  # tags
MAX_PACKED_REFS = 64 << 20  # bytes of packed-refs
_TAGS = "refs/tags/"
_MAX_NESTING = 100  # nested directories
_MAX_SYMREF_DEPTH = 5  # refs that name another ref; git's own limit


def head_commit(repository: git.Repository) -> str:
    """Returns the commit that is checked out, in lower-case hex; empty if there is none yet, or if it cannot be found
    out. Raises git.RepositoryError."""
    name = "HEAD"
    for _ in range(_MAX_SYMREF_DEPTH):
        content = _read(repository, name, shared=name != "HEAD")
        if not content and name != "HEAD":
            return dict(_packed(repository)).get(name, "")
        if not content and _is_name(target := _target(repository)):  # HEAD as a symlink: old, but git still reads it
            content = f"ref: {target}"
        if not content.startswith("ref:"):
            return content if _is_id(content) else ""
        name = content[4:].strip()
        if not _is_name(name):
            return ""
    return ""


def read_tags(repository: git.Repository) -> list[tuple[str, str]]:
    """Returns (name, object id in hex) of every tag, sorted: `refs/tags/…`. Raises git.RepositoryError."""
    tags = {name: value for name, value in _packed(repository) if name.startswith(_TAGS)}
    for number, name in enumerate(_loose(repository)):
        if number == MAX_TAGS:
            raise git.RepositoryError(
                f"{repository.common}/refs/tags has more than {MAX_TAGS} files: `git pack-refs --all` helps"
            )
        if _is_id(value := _read(repository, name, shared=True)):
            tags[name] = value
    return sorted(tags.items())


def nearest_tag(repository: git.Repository, names: Collection[str]) -> str:
    """Returns the one of these tags that `git describe --tags` names for the commit that is checked out; empty if none
    of them is reachable. Raises git.RepositoryError."""
    tags = [(name, value) for name, value in read_tags(repository) if name.removeprefix(_TAGS) in names]
    commit = head_commit(repository)
    if not tags or not commit:
        return ""
    files = {"HEAD": f"{commit}\n".encode()}
    packed = "".join(f"{value} {name}\n" for name, value in tags)
    files["packed-refs"] = packed.encode("utf-8", "surrogateescape")
    if shallow := _read(repository, "shallow", shared=True):  # the commits at which history ends: only ids pass
        files["shallow"] = "".join(f"{line}\n" for line in shallow.split("\n") if _is_id(line)).encode()
    arguments = ("describe", "--tags", "--abbrev=0")
    _, output, _ = git.start_git(repository, repository.top, arguments, configured=False, files=files).ended()
    name = output.decode("utf-8", "surrogateescape").removesuffix("\n")
    return name if name in names else ""


def _loose(repository: git.Repository) -> Iterator[str]:
    """Yields the names of the files below refs/tags; no link is followed."""
    pending = ["refs/tags"]
    while pending:
        directory = pending.pop()
        for name, is_directory in _entries(repository, directory):
            if not is_directory:
                yield f"{directory}/{name}"
            elif directory.count("/") < _MAX_NESTING:
                pending.append(f"{directory}/{name}")


def _entries(repository: git.Repository, directory: str) -> list[tuple[str, bool]]:
    """Returns (name, whether it is a directory) of each entry of a directory of refs."""
    try:
        top = repository.enter(shared=True)
        try:
            descriptor = open_beneath(top, directory, os.O_RDONLY | os.O_DIRECTORY, follow=False)
        finally:
            os.close(top)
        try:
            with os.scandir(descriptor) as entries:
                return [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries]
        finally:
            os.close(descriptor)
    except OSError:
        return []


def _packed(repository: git.Repository) -> Iterator[tuple[str, str]]:
    try:
        text = repository.read("packed-refs", MAX_PACKED_REFS, shared=True).decode("utf-8", "surrogateescape")
    except (OSError, git.SymlinkError):
        return
    for line in text.split("\n"):
        value, _, name = line.partition(" ")
        if _is_id(value):
            yield name, value


def _read(repository: git.Repository, name: str, *, shared: bool) -> str:
    try:
        return repository.read(name, shared=shared).decode("utf-8", "surrogateescape").strip()
    except (OSError, git.SymlinkError):
        return ""


def _target(repository: git.Repository) -> str:
    try:
        return repository.target("HEAD")
    except OSError:
        return ""


def _is_name(name: str) -> bool:
    return name.startswith("refs/") and not {"", ".", ".."}.intersection(name.split("/")) and "\0" not in name


def _is_id(text: str) -> bool:
    return len(text) in (40, 64) and not text.strip("0123456789abcdef")
