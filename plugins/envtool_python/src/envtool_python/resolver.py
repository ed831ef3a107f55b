"""Requirement lines -> pins: the files that pip installs on the parent layers, and the files that their builds need.

pins.py has the format of pins.
"""

from __future__ import annotations

import json
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from envtool import api
from envtool.api.pip_indexes import redact_credentials, strip_credentials
from envtool_python import missing_libraries
from envtool_python.agent_script import NO_PYTHON, TOOLS, inside_binds, inside_command
from envtool_python.pins import Entry, project_path_of
from envtool_python.pip_config import (
    PipConfig,
    file_name,
    is_backend_failure,
    last_words,
    read_index,
    run_host_pip,
)
from envtool_python.pip_messages import explain_pip_error
from envtool_python.simple_index import with_replacement_index

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

TAGS = 500  # tags that one run of inside.py gets: an argument has at most 128 KiB
HINT_PYTHON = "add a layer that has it, such as `apt: [python3]`, and name it in this layer's `needs`"
_PROGRESS = re.compile(r"\s*(Collecting|Downloading|Using cached|Obtaining|Processing|Requirement already) ")
HINT_BUILD = "a build from source may want a compiler and headers: `apt: [build-essential, python3-dev]` below it"


def hint_for(output: str) -> str:
    """Returns what to do about pip's error; "" if nothing is known."""
    output = "\n".join(line for line in output.splitlines() if not _PROGRESS.match(line))  # `Collecting compiler-tools`
    if "No matching distribution" in output:
        return (
            "it was looked for where `pip config list` says on this machine; is the name right, the bound too narrow?"
        )
    if "conflicting dependencies" in output:
        return "loosen one of the requirements, or ask for fewer groups and extras"
    if "Multiple top-level" in output:
        return "if it is no package: `install: none` in the env; else tell setuptools which of them are its packages"
    if any(word in output for word in ("gcc", "Python.h", "compiler")):
        return HINT_BUILD
    return ""


def _newest_pip(site: api.Site, version: str, variables: Mapping[str, str]) -> Entry:
    """Returns the newest pip for a version of Python. Several layers of one run need the same: it is looked up once."""
    known: dict[tuple[str, tuple[tuple[str, str], ...]], Entry] = site.shared("pip: newest of each Python", dict)
    question = (version, tuple(sorted(variables.items())))
    if question not in known:
        known[question] = _find_newest_pip(site, version, variables)
    return known[question]


def _find_newest_pip(site: api.Site, version: str, variables: Mapping[str, str]) -> Entry:
    arguments = ("--quiet", "--dry-run", "--ignore-installed", "--no-deps", "--no-input", "--only-binary=:all:")
    report = json.loads(
        run_host_pip(
            site, "install", *arguments, "--python-version", version, "--report", "-", "pip", variables=variables
        )
    )
    item = report["install"][0]
    return {
        "name": "pip",
        "version": item["metadata"]["version"],
        "url": item["download_info"]["url"],
        "sha256": item["download_info"]["archive_info"]["hashes"]["sha256"],
        "size": 0,
    }


class Resolver:
    """One resolution: the container's Python, the host's index, and the files resolved so far."""

    def __init__(
        self, site: api.Site, *, python: str, venv: str, index: str = "", base_kind: str = "", machine: str = ""
    ) -> None:
        """`index` is the URL of an index that replaces the usual one; `machine` is for uv alone. Raises ResolveError,
        FetchError."""
        self.site = site
        self.python = python
        self.base_kind = base_kind  # for hints
        self.venv = venv
        self.files: list[Entry] = []
        self.places: Mapping[str, str] = {}  # positions of requirements for errors: PipRequest.places
        self.hashes: Sequence[Mapping[str, frozenset[str]]] = ()  # PipRequest.hashes, for uv alone
        self.build_lines: tuple[str, ...] = ()  # all that the project's build needs, if pyproject.toml says it
        self.info: dict[str, Any] = {}
        with ThreadPoolExecutor(1) as pool:  # the host's pip takes longer to start than the container
            configured = pool.submit(read_index, site)
            self.info = self.run_agent("info", {"venv": venv}, network=False)
            self.index: PipConfig = with_replacement_index(configured.result(), index, site)
        self.pip = self.add(self._pip())
        self.pip_bind = self._bind(self.pip)

    def run_agent(self, mode: str, document: api.Json, *, binds: Sequence[api.Bind] = (), network: bool = True) -> Any:
        """Runs one mode of inside.py in a container and returns its answer. Raises ResolveError, BuildError."""
        completed = self.site.run(
            inside_command(self.python, mode, document),
            env=self.index.variables if network else {},
            binds=(*inside_binds(), *(self.index.binds if network else ()), *binds),
            network=network,
        )
        if completed.status == NO_PYTHON:
            raise api.ResolveError(
                f"there is no {self.python} in this env",
                code="no-python",
                hint=HINT_PYTHON,
            )
        output = completed.stderr.decode(errors="replace")
        if completed.status != 0 and is_backend_failure(output):
            hint = missing_libraries.missing_package_hint(output, self.base_kind, self.site) or hint_for(output)
            raise api.BuildError(last_words(output), code="resolve", hint=hint, output=redact_credentials(output))
        if completed.status != 0:
            message, hint = explain_pip_error(redact_credentials(output), self.places, self.info, _lines(document))
            if message:
                raise api.ResolveError(message, code="resolve", hint=hint, output=redact_credentials(output))
            message = f"pip could not resolve the requirements: {last_words(output)}"
            raise api.ResolveError(message, code="resolve", hint=hint_for(output), output=redact_credentials(output))
        return json.loads(completed.stdout.decode().strip().rpartition("\n")[2])

    def match_tags(self, regex: str, tags: Sequence[str], *, anchored: bool) -> dict[str, str]:
        """Returns tag -> version text, for the tags that match a regular expression of the project's."""
        versions: dict[str, str] = {}
        for start in range(0, len(tags), TAGS):
            document: dict[str, api.Json] = {"regex": regex, "anchored": anchored}
            document["tags"] = [tag[:200] for tag in tags[start : start + TAGS]]
            versions |= self.run_agent("match", document, network=False)["versions"]
        return versions

    def _pip(self) -> Entry:
        """Returns the newest pip that runs on the container's Python; the host's own may be too new. It is pinned like
        any other file, so that the result does not depend on the host's pip.
        """
        version = ".".join(str(self.info["version"]).split(".")[:2])
        return dict(_newest_pip(self.site, version, self.host_variables()))

    def host_variables(self) -> dict[str, str]:
        """Returns the index's variables with paths of the host instead of the container's."""
        host_paths = {bind.target: bind.source for bind in self.index.binds}
        return {name: host_paths.get(value, value) for name, value in self.index.variables.items()}

    def add(self, entry: Entry, build: Sequence[int] = ()) -> int:
        """Adds a file, unless it is known, and returns its index in `files`. Raises ResolveError for a second file of
        one name."""
        for index, file in enumerate(self.files):
            if file["sha256"] == entry["sha256"]:
                return index
        url = strip_credentials(str(entry["url"]))
        if any(file_name(file["url"]) == file_name(url) for file in self.files):
            raise api.ResolveError(f"two different files are called {file_name(url)}", code="resolve")
        if not entry.get("direct") and not project_path_of(url):
            self.site.seen(entry["sha256"], url)
        self.files.append({**entry, "url": url, "build": list(build)})
        return len(self.files) - 1

    def _bind(self, index: int) -> api.Bind:
        """Fetches a resolved file and returns its bind into the container, under its own name."""
        entry = self.files[index]
        (path,) = self.site.fetch([self._fetch(entry)])
        return api.Bind(source=str(path), target=f"{TOOLS}/files/{file_name(entry['url'])}")

    def _fetch(self, entry: Entry) -> api.Fetch:
        """Returns the fetch of a resolved file, with its URL on this machine."""
        fetch = make_fetch(entry, self.index)
        path = project_path_of(str(entry["url"]))
        return replace(fetch, url=self.site.url(path)) if path else fetch

    def packages(self, document: Mapping[str, api.Json]) -> list[int]:
        """Resolves requirement lines and all builds that they need; returns the indices of the files to install."""
        answer = self.run_agent(
            "resolve", {**document, "venv": self.venv, "pip": self.pip_bind.target}, binds=[self.pip_bind]
        )
        return self.add_all(answer["files"])

    def add_all(self, entries: Sequence[Entry], parents: tuple[str, ...] = ()) -> list[int]:
        """Adds these files, after the files that builds of their source distributions need; returns their indices."""
        sources = [entry for entry in entries if not file_name(entry["url"]).endswith(".whl")]
        known_hashes = {entry["sha256"] for entry in self.files}
        new_sources = [entry for entry in sources if entry["sha256"] not in known_hashes]
        for entry in new_sources:
            if entry["sha256"] in parents:
                raise api.ResolveError(f"building {entry['name']} needs {entry['name']} itself", code="resolve")
        if new_sources:
            count = len(new_sources)
            question = "1 source distribution what its build needs"
            question = question if count == 1 else f"{count} source distributions what their builds need"
            self.site.note(f"asking {question}")
            self._add_builds(new_sources, parents)
        return [self.add(entry) for entry in entries]

    def _add_builds(self, sources: Sequence[Entry], parents: tuple[str, ...]) -> None:
        fetches = [self._fetch({**entry, "url": strip_credentials(entry["url"])}) for entry in sources]
        binds = [
            api.Bind(source=str(path), target=f"{TOOLS}/files/{fetch.name}")
            for fetch, path in zip(fetches, self.site.fetch(fetches), strict=True)
        ]
        needs = self.needs([{"file": bind.target, "hooks": ["build_wheel"]} for bind in binds], {}, binds)
        for entry, build_files in zip(sources, needs, strict=True):
            self.add(entry, self.add_all(build_files, (*parents, entry["sha256"])))

    def needs(
        self, sources: list[api.Json], variables: Mapping[str, str], binds: Sequence[api.Bind] = ()
    ) -> list[list[Entry]]:
        """Returns the files that each build needs; `sources` as in inside.py's document."""
        document: dict[str, api.Json] = {"pip": self.pip_bind.target, "variables": {**variables}, "sources": sources}
        answer: dict[str, list[list[Entry]]] = self.run_agent("needs", document, binds=[self.pip_bind, *binds])
        return answer["needs"]

    def project(self, root: str, hooks: Sequence[str], variables: Mapping[str, str]) -> list[int]:
        """Returns the indices of the files that the build of the project at `root` needs."""
        (files,) = self.needs([{"root": root, "hooks": list(hooks)}], variables)
        return self.add_all(files)

    def pins(self, use: str, chosen: Sequence[int], **more: api.Json) -> dict[str, api.Json]:
        """Returns the pins of all resolved files. `chosen` are the indices of the files for `use`; all others are for
        builds."""
        files: list[api.Json] = [
            _pin(
                entry,
                [file_name(self.files[build_index]["url"]) for build_index in entry["build"]],
                use if index in chosen else "build",
            )
            for index, entry in enumerate(self.files)
        ]
        return {"python": self.info, "pip": file_name(self.files[self.pip]["url"]), "files": files, **more}


def _lines(document: api.Json) -> list[str]:
    """Returns the requirements and constraints in a document of the mode `resolve`."""
    fields: Any = document
    return [*(line for call in fields.get("calls", ()) for line in call), *fields.get("constraints", ())]


def _pin(entry: Entry, build: list[str], use: str) -> Entry:
    pinned: Entry = {
        "name": entry["name"],
        "version": entry["version"],
        "file": file_name(entry["url"]),
        "sha256": entry["sha256"],
        "size": int(entry["size"]),
        "use": use,
    }
    if build:
        pinned["build"] = build
    if path := project_path_of(entry["url"]):
        pinned["path"] = path
    elif entry.get("direct"):
        pinned["url"] = entry["url"]
    return pinned


def make_fetch(entry: Entry, index: PipConfig) -> api.Fetch:
    """Returns the fetch of a pinned file."""
    url = str(entry["url"])
    return api.Fetch(url=index.opened(url), sha256=entry["sha256"], name=file_name(url), size=int(entry["size"]))
