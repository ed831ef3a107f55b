"""What a passed task was made from and by, as an in-toto Statement v1 with a SLSA Provenance v1 predicate.

docs/evidence.md describes every field, and is what `buildType` stands for. Nothing in it is signed: it says what this
envtool did, to whoever trusts this machine.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from io import BufferedReader
from typing import Any

from envtool import __version__
from envtool.build.context import Context
from envtool.build.scheduler import Stack
from envtool.errors import Interrupted
from envtool.fs import hashing
from envtool.fs.beneath import DirectoryReplacedError, open_beneath, open_top
from envtool.fs.directory import OpenDirectory
from envtool.model import Env, Json, Task
from envtool.project import git, refs, rundir
from envtool.run import stack_contents
from envtool.run.result import Result

STATEMENT = "https://in-toto.io/Statement/v1"
PREDICATE = "https://slsa.dev/provenance/v1"
BUILD_TYPE = "urn:envtool:docs:evidence:task:1"
BUILDER = "urn:envtool:local"
ENDING = ".intoto.json"
MAX_COMPARE_SECONDS = 60.0  # seconds that may be taken to compare a project with what was committed
MAX_HASHED = 64 << 20  # bytes of a tracked file that is compared with what was committed


def make_statement(
    env: Env,
    task: Task,
    stack: Stack,
    result: Result,
    *,
    root: str,
    arch: str,
    arguments: Sequence[str] = (),
    commit: str = "",
    view: str = "",
    check: Callable[[], None] | None = None,
) -> dict[str, Json]:
    """The statement about a task that passed. `commit` is what git says of the project (`<hex>` or `<hex>-dirty`),
    `view` the digest of the project as the task saw it; both empty where nobody knows.

    Subjects are the outputs; a task without any vouches for what it printed. Raises OSError, and what `check` raises,
    which is called often.
    """
    with OpenDirectory.open(root) as project:
        outputs = [_resource_descriptor(name, project.read(name), check) for name in _files(root, result.outputs)]
    log = (
        [_resource_descriptor(os.path.basename(result.log), rundir.open_file(result.log), check)] if result.log else []
    )
    return {
        "_type": STATEMENT,
        "subject": [*(outputs or log)],
        "predicateType": PREDICATE,
        "predicate": {
            "buildDefinition": {
                "buildType": BUILD_TYPE,
                "externalParameters": {"env": env.name, "task": task.name, "arguments": [*arguments]},
                "internalParameters": _internal_parameters(env, task, stack, arch),
                "resolvedDependencies": [*_dependencies(stack, commit, view)],
            },
            "runDetails": {
                "builder": {"id": BUILDER, "version": {"envtool": __version__}},
                "metadata": {
                    "invocationId": f"{os.path.basename(os.path.dirname(result.log))}/{env.name}/{task.name}",
                    "startedOn": _time(result.started),
                    "finishedOn": _time(result.started + result.seconds),
                },
                **({"byproducts": [*log]} if outputs else {}),
            },
        },
    }


def write_statement(env: Env, task: Task, stack: Stack, setting: Context, result: Result, *, view: str = "") -> str:
    """Write the statement beside the log of a passed task; its path, empty where it could not be written: evidence is
    a help, never a reason to fail."""
    path = path_for(result.log)
    try:
        said = make_statement(
            env,
            task,
            stack,
            result,
            root=setting.root,
            arch=setting.arch,
            arguments=setting.arguments,
            commit=describe_commit(setting.root, setting.cancel.reader),
            view=view,
            check=setting.cancel.check,
        )
        text = json.dumps(said, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
        with rundir.create_file(
            path
        ) as file:  # names that are no UTF-8 cannot be said in JSON: their bytes become U+FFFD
            file.write(text.encode("utf-8", "surrogateescape").decode("utf-8", "replace").encode())
    except (OSError, Interrupted):
        return ""
    return path


def path_for(log: str) -> str:
    """Where the statement of the task with this log is."""
    return log.removesuffix(".log") + ENDING


def reusable_statement(log: str, *, same: bool) -> bytes:
    """The statement of the task with this log as it may be told another time; empty where there is none. Unless that
    is of the `same` commit, it names none: another commit, or another checkout, may have the same files. Raises
    OSError."""
    try:
        with rundir.open_file(path_for(log)) as file:
            text = file.read()
    except FileNotFoundError:
        return b""
    if same:
        return text
    said = json.loads(text)
    for each in said["predicate"]["buildDefinition"]["resolvedDependencies"]:
        if each["name"] == "project":
            each["digest"].pop("gitCommit", None)
            each.pop("annotations", None)
    return (json.dumps(said, indent=1, sort_keys=True, ensure_ascii=False) + "\n").encode()


def bundle(results: Sequence[Any]) -> str:
    """The statements of those of the results that have one, a line each (JSON Lines)."""
    lines = []
    for result in results:
        try:
            with rundir.open_file(path_for(result.log)) as file:
                lines.append(json.dumps(json.load(file), sort_keys=True, ensure_ascii=False) + "\n")
        except (OSError, ValueError, RecursionError):
            continue  # it did not pass, or somebody else wrote there since
    return "".join(lines)


def describe_commit(root: str, cancel: int = -1) -> str:
    """The commit that is checked out, `-dirty` at its end where tracked files differ from it or that cannot be told;
    empty outside git, and where there is no commit that we can read."""
    try:
        repository = git.find_repository(root)
        head = refs.head_commit(repository) if repository else ""
        os.close(open_top(root))  # it is still the project that this is said of
    except (git.RepositoryError, DirectoryReplacedError):
        return ""
    if not head or repository is None:
        return head
    return head + ("-dirty" if _Comparison(cancel).is_dirty(repository, head) else "")


class _Comparison:
    """A project and its submodules against what was committed: all together within one limit of time, each repository
    once, and none that is reached through a link: what takes longer, or comes again, cannot be told."""

    def __init__(self, cancel: int) -> None:
        self._cancel = cancel
        self._until = time.monotonic() + MAX_COMPARE_SECONDS
        self._seen: set[tuple[int, int]] = set()

    def is_dirty(self, repository: git.Repository, head: str) -> bool:
        """Whether the index or the files differ from a commit, those of submodules too.

        Not git's `status`: it filters contents with programs, and asks in submodules. The index is compared by git,
        times and sizes of files too; a content that may differ is hashed here as it is. Who keeps files in another form
        than they are checked in (line ends, filters) and touches them has a project that is dirty until git has looked
        at it again.
        """
        if repository.identity in self._seen:
            return True
        self._seen.add(repository.identity)
        try:
            if self._ask(repository, "diff-index", "--cached", "--quiet", head, "--")[0]:
                return True
            rows = [row.partition(b"\t") for row in self._ask(repository, "ls-files", "-s", "-z")[1].split(b"\0")[:-1]]
            entries = {name: entry.split(b" ") for entry, _, name in rows}
            modules = [os.fsdecode(name) for name, entry in entries.items() if entry[0] == b"160000"]
            git.check_names(b"".join(name + b"\0" for name in entries), repository)
            apart = [f":(exclude,top,literal){name}" for name in modules]
            words = ("diff-files", "--name-only", "-z", "--", ":/", *apart)
            for name in self._ask(repository, *words)[1].split(b"\0")[:-1]:
                self._left()
                if not _matches_index(repository.top, os.fsdecode(name), *map(bytes.decode, entries[name])):
                    return True
            return any(self._is_module_dirty(repository, name, entries[os.fsencode(name)][1]) for name in modules)
        except (git.RepositoryError, OSError, KeyError, TypeError, RecursionError):
            return True

    def _is_module_dirty(self, repository: git.Repository, name: str, commit: bytes) -> bool:
        self._left()
        try:
            os.close(open_beneath(repository.top, name, os.O_PATH | os.O_DIRECTORY, follow=False))
        except FileNotFoundError:  # it is not checked out
            return False
        inner = git.find_nested_repository(repository, os.path.join(repository.top, name))
        return inner is not None and (
            refs.head_commit(inner) != commit.decode() or self.is_dirty(inner, commit.decode())
        )

    def _ask(self, repository: git.Repository, *words: str) -> tuple[int, bytes]:
        asked = git.start_git(repository, repository.top, words, configured=False)
        status, output, errors = asked.ended(self._cancel, self._left())
        if status not in (0, 256) or b"error: " in errors:
            raise git.RepositoryError("no answer")
        return status, output

    def _left(self) -> float:
        """Seconds. Raises git.Failure where there are none."""
        left = self._until - time.monotonic()
        if left <= 0:
            raise git.RepositoryError("no time is left")
        return left


def _matches_index(top: str, name: str, mode: str, blob: str, stage: str) -> bool:
    """Whether a file stands as an entry of the index says: mode in octal, id in hex. Raises OSError."""
    directory = open_beneath(top, os.path.dirname(name), os.O_PATH | os.O_DIRECTORY, follow=False)
    try:
        last = os.path.basename(name)
        found = os.stat(last, dir_fd=directory, follow_symlinks=False)
        if stage != "0" or found.st_size > MAX_HASHED:
            return False
        if stat.S_ISLNK(found.st_mode):
            content = os.fsencode(os.readlink(last, dir_fd=directory))
            kind = "120000"
        else:
            with open(open_beneath(directory, last, follow=False), "rb") as file:
                found = os.fstat(file.fileno())
                if not stat.S_ISREG(found.st_mode):
                    return False
                content = file.read(MAX_HASHED + 1)
            kind = "100755" if found.st_mode & 0o100 else "100644"
    finally:
        os.close(directory)
    digest = hashlib.new("sha1" if len(blob) == 40 else "sha256", b"blob %d\0" % len(content), usedforsecurity=False)
    digest.update(content)
    return kind == mode and digest.hexdigest() == blob


def _internal_parameters(env: Env, task: Task, stack: Stack, arch: str) -> dict[str, Json]:
    return {
        "architecture": arch,
        "commands": [[*command.words()] for command in task.commands],
        "network": env.network,
        "passed": [*env.passed],  # names alone: their values are this machine's own
        "source_date_epoch": stack.epoch,
        "stack": f"sha256:{stack_contents.stack_digest(stack)}",
        "user": task.user,
        "variables": {**env.set},
        "workdir": env.workdir,
    }


def _dependencies(stack: Stack, commit: str, view: str) -> Iterator[Json]:
    """The project, the layers bottom first, and every pinned file that they were made of."""
    if commit or view:
        name, _, dirty = commit.partition("-")
        known: dict[str, Json] = {"gitCommit": name} if name else {}
        seen: dict[str, Json] = {"envtoolView": view} if view else {}
        yield {"name": "project", "digest": known | seen, **({"annotations": {"dirty": bool(dirty)}} if name else {})}
    for made, step in zip(stack.made, stack_contents.sbom_layers(stack), strict=True):
        yield {
            "name": f"{made.settled.node.subject} {step.name}",
            "digest": {"sha256": step.diff_id.removeprefix("sha256:")},
            "mediaType": "application/vnd.oci.image.layer.v1.tar",
            "annotations": {"kind": step.kind, "key": step.key, "pinned": step.pinned},
        }
    seen_files: set[tuple[str, str]] = set()
    for made, step in zip(stack.made, stack_contents.sbom_layers(stack), strict=True):
        for fetch in sorted(made.settled.fetches, key=lambda fetch: fetch.name):
            if (fetch.name, fetch.sha256) not in seen_files:
                seen_files.add((fetch.name, fetch.sha256))
                yield {
                    "name": fetch.name,
                    "digest": {"sha256": fetch.sha256},
                    "annotations": {"of": f"{made.settled.node.subject} {step.name}"},
                }


def _files(root: str, outputs: Sequence[str]) -> list[str]:
    """The regular files among outputs, and in directories among them; sorted."""
    found: set[str] = set()
    for output in outputs:
        path = os.path.join(root, output)
        if os.path.isdir(path) and not os.path.islink(path):
            for directory, _, names in os.walk(path):
                found |= {os.path.relpath(os.path.join(directory, name), root) for name in names}
        else:
            found.add(output)
    regular = [name for name in found if not os.path.islink(os.path.join(root, name))]
    return sorted(name for name in regular if os.path.isfile(os.path.join(root, name)))


def _resource_descriptor(name: str, file: BufferedReader, check: Callable[[], None] | None) -> dict[str, Json]:
    with file:
        return {"name": name, "digest": {"sha256": hashing.sha256_of_file(file, check)}}


def _time(seconds: float) -> str:
    """RFC 3339, UTC, in whole seconds, as SLSA asks."""
    return datetime.fromtimestamp(int(seconds), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
