"""The provenance of a task that passed, as an in-toto Statement v1 with a SLSA Provenance v1 predicate.

docs/evidence.md describes every field; `buildType` refers to it. The statement is not signed: it is worth as much as
the reader's trust in this machine.
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
from envtool.fs.tree_walk import walk_tree
from envtool.model import Env, Json, Task
from envtool.project import git, refs, rundir
from envtool.run import stack_contents
from envtool.run.result import Result
from envtool.run.task_request import Artefact
from envtool.services.service_request import ServiceRequest

STATEMENT = "https://in-toto.io/Statement/v1"
PREDICATE = "https://slsa.dev/provenance/v1"
BUILD_TYPE = "urn:envtool:docs:evidence:task:1"
BUILDER = "urn:envtool:local"
ENDING = ".intoto.json"
MAX_COMPARE_SECONDS = 60.0  # seconds for the comparison of a project with its commit
MAX_HASHED = 64 << 20  # bytes of a tracked file that is compared with its commit


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
    services: Sequence[ServiceRequest] = (),
    artefacts: Sequence[Artefact] = (),
    check: Callable[[], None] | None = None,
) -> dict[str, Json]:
    """Returns the statement about a task that passed. `commit` is the project's commit (`<hex>` or `<hex>-dirty`),
    `view` the digest of the project as the task saw it; both are empty if they are not known. `services` ran beside it,
    `artefacts` are what it got from the tasks that it needs.

    Subjects are the outputs; of a task without outputs, its log. `check` is called often. Raises OSError, and what
    `check` raises.
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
                "internalParameters": _internal_parameters(env, task, stack, arch, services),
                "resolvedDependencies": [
                    *_dependencies(stack, commit, view),
                    *_service_layers(services),
                    *_needed_files(artefacts),
                ],
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


def write_statement(
    env: Env,
    task: Task,
    stack: Stack,
    context: Context,
    result: Result,
    *,
    view: str = "",
    services: Sequence[ServiceRequest] = (),
    artefacts: Sequence[Artefact] = (),
    describe: Callable[[], str] | None = None,
) -> bytes:
    """Writes the statement beside the log of a passed task. `describe` returns the project's commit in place of
    `describe_commit`. Returns the statement; empty if it could not be written: a missing statement is no reason for a
    task to fail."""
    try:
        statement = make_statement(
            env,
            task,
            stack,
            result,
            root=context.root,
            arch=context.arch,
            arguments=context.arguments,
            commit=describe() if describe else describe_commit(context.root, context.cancel.reader),
            view=view,
            services=services,
            artefacts=artefacts,
            check=context.cancel.check,
        )
        text = format_statement(statement)
        # JSON cannot hold names that are not UTF-8: their bytes become U+FFFD
        content = text.encode("utf-8", "surrogateescape").decode("utf-8", "replace").encode()
        with rundir.create_file(path_for(result.log)) as file:
            file.write(content)
    except (OSError, Interrupted):
        return b""
    return content


def format_statement(statement: Json) -> str:
    """Returns JSON with a space of indentation for each level, and a line end. It is what json.dumps returns, which
    takes three times as long: with indentation it is not the one that is written in C.
    """
    return f"{_format(statement, '')}\n"


def _format(value: Json, indent: str) -> str:
    if isinstance(value, str):
        return json.encoder.encode_basestring(value)
    inner = f"{indent} "
    if isinstance(value, dict) and value:
        rows = [f"{inner}{json.encoder.encode_basestring(key)}: {_format(value[key], inner)}" for key in sorted(value)]
    elif isinstance(value, list) and value:
        rows = [f"{inner}{_format(item, inner)}" for item in value]
    else:
        return json.dumps(value)
    first, last = "{}" if isinstance(value, dict) else "[]"
    lines = ",\n".join(rows)
    return f"{first}\n{lines}\n{indent}{last}"


def path_for(log: str) -> str:
    """Returns the path of the statement for the task with this log."""
    return log.removesuffix(".log") + ENDING


def reusable_statement(text: bytes, *, same: bool) -> bytes:
    """Returns a statement (empty: none) in the form in which the result cache stores it. Unless later uses of the
    result are at the `same` commit, the commit is left out: another commit, or another checkout, may have the same
    files."""
    if same or b'"gitCommit"' not in text:
        return text
    statement = json.loads(text)
    for dependency in statement["predicate"]["buildDefinition"]["resolvedDependencies"]:
        if dependency["name"] == "project":
            dependency["digest"].pop("gitCommit", None)
            dependency.pop("annotations", None)
    return format_statement(statement).encode()


def bundle(results: Sequence[Any]) -> str:
    """Returns the statements of those results that have one, a line each (JSON Lines)."""
    lines = []
    for result in results:
        try:
            with rundir.open_file(path_for(result.log)) as file:
                lines.append(json.dumps(json.load(file), sort_keys=True, ensure_ascii=False) + "\n")
        except (OSError, ValueError, RecursionError):
            continue  # the task did not pass, or another program wrote there since
    return "".join(lines)


def describe_commit(root: str, cancel: int = -1) -> str:
    """Returns the commit that is checked out, with `-dirty` at its end if tracked files differ from it or if that
    cannot be found out; empty outside git, and if no commit can be read."""
    try:
        repository = git.find_repository(root)
        head = refs.head_commit(repository) if repository else ""
        os.close(open_top(root))  # raises if another directory took the project's place meanwhile
    except (git.RepositoryError, DirectoryReplacedError):
        return ""
    if not head or repository is None:
        return head
    return head + ("-dirty" if _Comparison(cancel).is_dirty(repository, head) else "")


class _Comparison:
    """Compares a project and its submodules with their commits: all within one time limit, each repository once, and
    none that is reached through a link. A repository that takes longer, or comes again, counts as dirty."""

    def __init__(self, cancel: int) -> None:
        self._cancel = cancel
        self._deadline = time.monotonic() + MAX_COMPARE_SECONDS
        self._seen: set[tuple[int, int]] = set()

    def is_dirty(self, repository: git.Repository, head: str) -> bool:
        """Returns whether the index or the files differ from a commit, in submodules too.

        This is not git's `status`, which filters contents with programs and starts git in submodules. git compares the
        index, and times and sizes of files; a content that may differ is hashed here without filters. If git stores
        files in another form than they have in the work tree (line ends, filters), a touched file counts as dirty until
        git has read it again.
        """
        if repository.identity in self._seen:
            return True
        self._seen.add(repository.identity)
        try:
            if self._run_git(repository, "diff-index", "--cached", "--quiet", head, "--")[0]:
                return True
            rows = [
                row.partition(b"\t") for row in self._run_git(repository, "ls-files", "-s", "-z")[1].split(b"\0")[:-1]
            ]
            entries = {name: entry.split(b" ") for entry, _, name in rows}
            modules = [os.fsdecode(name) for name, entry in entries.items() if entry[0] == b"160000"]
            git.check_names(b"".join(name + b"\0" for name in entries), repository)
            excludes = [f":(exclude,top,literal){name}" for name in modules]
            arguments = ("diff-files", "--name-only", "-z", "--", ":/", *excludes)
            for name in self._run_git(repository, *arguments)[1].split(b"\0")[:-1]:
                self._remaining_seconds()
                if not _matches_index(repository.top, os.fsdecode(name), *map(bytes.decode, entries[name])):
                    return True
            return any(self._is_module_dirty(repository, name, entries[os.fsencode(name)][1]) for name in modules)
        except (git.RepositoryError, OSError, KeyError, TypeError, RecursionError):
            return True

    def _is_module_dirty(self, repository: git.Repository, name: str, commit: bytes) -> bool:
        self._remaining_seconds()
        try:
            os.close(open_beneath(repository.top, name, os.O_PATH | os.O_DIRECTORY, follow=False))
        except FileNotFoundError:  # the submodule is not checked out
            return False
        inner = git.find_nested_repository(repository, os.path.join(repository.top, name))
        return inner is not None and (
            refs.head_commit(inner) != commit.decode() or self.is_dirty(inner, commit.decode())
        )

    def _run_git(self, repository: git.Repository, *arguments: str) -> tuple[int, bytes]:
        process = git.start_git(repository, repository.top, arguments, configured=False)
        status, output, errors = process.ended(self._cancel, self._remaining_seconds())
        if status not in (0, 256) or b"error: " in errors:
            raise git.RepositoryError("no answer")
        return status, output

    def _remaining_seconds(self) -> float:
        """Returns the remaining seconds. Raises git.RepositoryError if there are none."""
        seconds = self._deadline - time.monotonic()
        if seconds <= 0:
            raise git.RepositoryError("no time is left")
        return seconds


def _matches_index(top: str, name: str, mode: str, blob: str, stage: str) -> bool:
    """Returns whether a file is as an entry of the index says: mode in octal, id in hex. Raises OSError."""
    directory = open_beneath(top, os.path.dirname(name), os.O_PATH | os.O_DIRECTORY, follow=False)
    try:
        basename = os.path.basename(name)
        info = os.stat(basename, dir_fd=directory, follow_symlinks=False)
        if stage != "0" or info.st_size > MAX_HASHED:
            return False
        if stat.S_ISLNK(info.st_mode):
            content = os.fsencode(os.readlink(basename, dir_fd=directory))
            kind = "120000"
        else:
            with open(open_beneath(directory, basename, follow=False), "rb") as file:
                info = os.fstat(file.fileno())
                if not stat.S_ISREG(info.st_mode):
                    return False
                content = file.read(MAX_HASHED + 1)
            kind = "100755" if info.st_mode & 0o100 else "100644"
    finally:
        os.close(directory)
    digest = hashlib.new("sha1" if len(blob) == 40 else "sha256", b"blob %d\0" % len(content), usedforsecurity=False)
    digest.update(content)
    return kind == mode and digest.hexdigest() == blob


def _internal_parameters(
    env: Env, task: Task, stack: Stack, arch: str, services: Sequence[ServiceRequest]
) -> dict[str, Json]:
    beside: list[Json] = [
        {"name": service.name, "command": [*service.command], "replicas": service.replicas, "prepare": service.prepare}
        for service in services
    ]
    return {
        **({"allow": [*env.allow]} if env.allow else {}),
        **({"services": beside} if beside else {}),
        **({"secrets": names} if (names := _secret_names(task, services)) else {}),
        "architecture": arch,
        "commands": [[*command.words()] for command in task.commands],
        "network": env.network,
        "passed": [*env.passed],  # names only: values are private to this machine
        "source_date_epoch": stack.epoch,
        "stack": f"sha256:{stack_contents.stack_digest(stack)}",
        "user": task.user,
        "variables": {**env.set},
        "workdir": env.workdir,
    }


def _secret_names(task: Task, services: Sequence[ServiceRequest]) -> list[Json]:
    """Returns the names of the secrets that a task or its services have."""
    uses = {use.name for use in task.secrets}
    return [*sorted(uses.union(place.name for service in services for place in service.secrets))]


def _dependencies(stack: Stack, commit: str, view: str) -> Iterator[Json]:
    """Yields the project, the layers bottom first, and every pinned file that they were built from."""
    if commit or view:
        name, _, dirty = commit.partition("-")
        commit_digest: dict[str, Json] = {"gitCommit": name} if name else {}
        view_digest: dict[str, Json] = {"envtoolView": view} if view else {}
        yield {
            "name": "project",
            "digest": commit_digest | view_digest,
            **({"annotations": {"dirty": bool(dirty)}} if name else {}),
        }
    for made in stack.layers:
        node, layer = made.resolved.node, made.layer
        yield {
            "name": f"{node.subject} {node.spec.name}",
            "digest": {"sha256": layer.diff_id.removeprefix("sha256:")},
            "mediaType": "application/vnd.oci.image.layer.v1.tar",
            "annotations": {"kind": node.kind.name, "key": layer.key, "pinned": node.is_pinned},
        }
    seen_files: set[tuple[str, str]] = set()
    for made in stack.layers:
        for fetch in sorted(made.resolved.fetches, key=lambda fetch: fetch.name):
            if (fetch.name, fetch.sha256) not in seen_files:
                seen_files.add((fetch.name, fetch.sha256))
                yield {
                    "name": fetch.name,
                    "digest": {"sha256": fetch.sha256},
                    "annotations": {"of": f"{made.resolved.node.subject} {made.resolved.node.spec.name}"},
                }


def _service_layers(services: Sequence[ServiceRequest]) -> Iterator[Json]:
    """Yields the layers of the services that ran beside a task, bottom first."""
    for service in services:
        for number, layer in enumerate(service.stack, 1):
            yield {
                "name": f"service {service.name} {number}",
                "digest": {"sha256": layer.diff_id.removeprefix("sha256:")},
                "mediaType": "application/vnd.oci.image.layer.v1.tar",
            }


def _needed_files(artefacts: Sequence[Artefact]) -> Iterator[Json]:
    """Yields the files of needed tasks; links have no content of their own."""
    for artefact in artefacts:
        if not artefact.link:
            yield {"name": f"artefact {artefact.path}", "digest": {"sha256": artefact.sha256}}


def _files(root: str, outputs: Sequence[str]) -> list[str]:
    """Returns the regular files among outputs and in directories among them, sorted."""
    paths: set[str] = set()
    for output in outputs:
        path = os.path.join(root, output)
        if os.path.isdir(path) and not os.path.islink(path):
            for directory, _, names in walk_tree(path):
                paths |= {os.path.relpath(os.path.join(directory, name), root) for name in names}
        else:
            paths.add(output)
    regular = [name for name in paths if not os.path.islink(os.path.join(root, name))]
    return sorted(name for name in regular if os.path.isfile(os.path.join(root, name)))


def _resource_descriptor(name: str, file: BufferedReader, check: Callable[[], None] | None) -> dict[str, Json]:
    with file:
        return {"name": name, "digest": {"sha256": hashing.sha256_of_file(file, check)}}


def _time(seconds: float) -> str:
    """Returns a time in RFC 3339, UTC, in whole seconds, as SLSA requires."""
    return datetime.fromtimestamp(int(seconds), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
