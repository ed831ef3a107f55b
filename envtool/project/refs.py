"""What a repository has checked out, and its tags: read from its own files (HEAD, packed-refs, refs/).

Everything is bounded, only object ids are believed, and no name leads out of the git directory. A repository that keeps
its refs in another way (reftable) has none that we know.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator

from envtool.fs.beneath import open_beneath
from envtool.project import git

MAX_TAGS = 100_000  # tags
MAX_PACKED_REFS = 64 << 20  # bytes of packed-refs
_TAGS = "refs/tags/"
_MAX_NESTING = 100  # directories in each other
_MAX_SYMREF_DEPTH = 5  # of a ref that names another one, as git has it


def head_commit(repository: git.Repository) -> str:
    """The commit that is checked out, in lower-case hex; empty where there is none yet, or none that can be told.
    Raises git.Failure."""
    name = "HEAD"
    for _ in range(_MAX_SYMREF_DEPTH):
        said = _read(repository, name, shared=name != "HEAD")
        if not said and name != "HEAD":
            return dict(_packed(repository)).get(name, "")
        if not said and _is_name(target := _target(repository)):  # as git wrote it in its first years, and still reads
            said = f"ref: {target}"
        if not said.startswith("ref:"):
            return said if _is_id(said) else ""
        name = said[4:].strip()
        if not _is_name(name):
            return ""
    return ""


def read_tags(repository: git.Repository) -> list[tuple[str, str]]:
    """(name, object id in hex) of every tag, sorted: `refs/tags/…`. Raises git.Failure."""
    found = {name: value for name, value in _packed(repository) if name.startswith(_TAGS)}
    for number, name in enumerate(_loose(repository)):
        if number == MAX_TAGS:
            raise git.RepositoryError(
                f"{repository.common}/refs/tags has more than {MAX_TAGS} files: `git pack-refs --all` helps"
            )
        if _is_id(value := _read(repository, name, shared=True)):
            found[name] = value
    return sorted(found.items())


def nearest_tag(repository: git.Repository, names: Collection[str]) -> str:
    """Which of these tags `git describe --tags` names for what is checked out; empty where none of them is reachable.
    Raises git.Failure."""
    wanted = [(name, value) for name, value in read_tags(repository) if name.removeprefix(_TAGS) in names]
    commit = head_commit(repository)
    if not wanted or not commit:
        return ""
    files = {"HEAD": f"{commit}\n".encode()}
    packed = "".join(f"{value} {name}\n" for name, value in wanted)
    files["packed-refs"] = packed.encode("utf-8", "surrogateescape")
    if shallow := _read(repository, "shallow", shared=True):  # where history ends: ids alone
        files["shallow"] = "".join(f"{line}\n" for line in shallow.split("\n") if _is_id(line)).encode()
    words = ("describe", "--tags", "--abbrev=0")
    _, output, _ = git.start_git(repository, repository.top, words, configured=False, files=files).ended()
    name = output.decode("utf-8", "surrogateescape").removesuffix("\n")
    return name if name in names else ""


def _loose(repository: git.Repository) -> Iterator[str]:
    """Names of the files below refs/tags; no link is followed."""
    pending = ["refs/tags"]
    while pending:
        below = pending.pop()
        for name, inner in _entries(repository, below):
            if not inner:
                yield f"{below}/{name}"
            elif below.count("/") < _MAX_NESTING:
                pending.append(f"{below}/{name}")


def _entries(repository: git.Repository, below: str) -> list[tuple[str, bool]]:
    """(name, whether it is a directory) of what is in a directory of refs."""
    try:
        top = repository.enter(shared=True)
        try:
            descriptor = open_beneath(top, below, os.O_RDONLY | os.O_DIRECTORY, follow=False)
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
