"""Lines -> pins: exactly the files that pip installs on the stack below, and what building them needs.

What pins are says pins.py.
"""

from __future__ import annotations

import json
import re
from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from envtool import api
from envtool_python import missing_libraries
from envtool_python.agent_script import NO_PYTHON, TOOLS, inside_binds, inside_command
from envtool_python.pins import Entry, project_path_of
from envtool_python.pip_config import (
    PipConfig,
    file_name,
    is_backend_failure,
    last_words,
    read_index,
    redact_credentials,
    run_host_pip,
    strip_credentials,
)
from envtool_python.pip_messages import explain_pip_error
from envtool_python.simple_index import with_replacement_index

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

TAGS = 500  # that are given at once: an argument has 128 KiB
HINT_PYTHON = "add a layer that has it, such as `apt: [python3]`, and name it in this layer's `needs`"
_PROGRESS = re.compile(r"\s*(Collecting|Downloading|Using cached|Obtaining|Processing|Requirement already) ")
HINT_BUILD = "a build from source may want a compiler and headers: `apt: [build-essential, python3-dev]` below it"


def hint_for(said: str) -> str:
    """What to do about what pip said."""
    said = "\n".join(line for line in said.splitlines() if not _PROGRESS.match(line))  # `Collecting compiler-tools`
    if "No matching distribution" in said:
        return (
            "it was looked for where `pip config list` says on this machine; is the name right, the bound too narrow?"
        )
    if "conflicting dependencies" in said:
        return "loosen one of the requirements, or ask for fewer groups and extras"
    if "Multiple top-level" in said:
        return "if it is no package: `install: none` in the env; else tell setuptools which of them are its packages"
    if any(word in said for word in ("gcc", "Python.h", "compiler")):
        return HINT_BUILD
    return ""


@lru_cache
def _newest_pip(version: str, variables: tuple[tuple[str, str], ...]) -> Entry:
    # asked once a process: several layers of one run ask for the same
    arguments = ("--quiet", "--dry-run", "--ignore-installed", "--no-deps", "--no-input", "--only-binary=:all:")
    report = json.loads(
        run_host_pip(
            "install", *arguments, "--python-version", version, "--report", "-", "pip", variables=dict(variables)
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
    """One resolution: the container's Python, the host's index, and the files settled so far."""

    def __init__(self, site: api.Site, *, python: str, venv: str, index: str = "", base_kind: str = "") -> None:
        """`index` is the URL of one that stands in the place of the usual one."""
        self.site = site
        self.python = python
        self.base_kind = base_kind  # for hints
        self.venv = venv
        self.index: PipConfig = with_replacement_index(read_index(site), index)
        self.files: list[Entry] = []
        self.places: Mapping[str, str] = {}  # of requirements, for what is said of them: Asked.places
        self.info: dict[str, Any] = {}
        self.info = self.inside("info", {"venv": venv}, network=False)
        self.pip = self.add(self._pip())
        self.pip_bind = self._bind(self.pip)

    def inside(self, mode: str, document: api.Json, *, binds: Sequence[api.Bind] = (), network: bool = True) -> Any:
        """Run one mode of inside.py in a container. Raises ResolveError."""
        done = self.site.run(
            inside_command(self.python, mode, document),
            env=self.index.variables if network else {},
            binds=(*inside_binds(), *(self.index.binds if network else ()), *binds),
            network=network,
        )
        if done.status == NO_PYTHON:
            raise api.ResolveError(
                f"there is no {self.python} in this env",
                code="no-python",
                hint=HINT_PYTHON,
            )
        said = done.stderr.decode(errors="replace")
        if done.status != 0 and is_backend_failure(said):
            hint = missing_libraries.missing_package_hint(said, self.base_kind, self.site) or hint_for(said)
            raise api.BuildError(last_words(said), code="resolve", hint=hint, output=redact_credentials(said))
        if done.status != 0:
            message, hint = explain_pip_error(redact_credentials(said), self.places, self.info, _lines(document))
            if message:
                raise api.ResolveError(message, code="resolve", hint=hint, output=redact_credentials(said))
            message = f"pip could not settle it: {last_words(said)}"
            raise api.ResolveError(message, code="resolve", hint=hint_for(said), output=redact_credentials(said))
        return json.loads(done.stdout.decode().strip().rpartition("\n")[2])

    def matched(self, regex: str, tags: Sequence[str], *, anchored: bool) -> dict[str, str]:
        """Tag -> what a regular expression of the project's takes for its version, of those that it fits."""
        found: dict[str, str] = {}
        for start in range(0, len(tags), TAGS):
            document: dict[str, api.Json] = {"regex": regex, "anchored": anchored}
            document["tags"] = [tag[:200] for tag in tags[start : start + TAGS]]
            found |= self.inside("match", document, network=False)["versions"]
        return found

    def _pip(self) -> Entry:
        """The newest pip that runs on the container's Python: the host's own may be too new for it. It is a pinned
        file like any other, so that what is installed does not depend on the host's.
        """
        version = ".".join(str(self.info["version"]).split(".")[:2])
        return dict(_newest_pip(version, tuple(sorted(self.host_variables().items()))))

    def host_variables(self) -> dict[str, str]:
        """The index's variables with the paths that hold on the host."""
        there = {bind.target: bind.source for bind in self.index.binds}
        return {name: there.get(value, value) for name, value in self.index.variables.items()}

    def add(self, entry: Entry, build: Sequence[int] = ()) -> int:
        """The index of a file, new or known."""
        for index, known in enumerate(self.files):
            if known["sha256"] == entry["sha256"]:
                return index
        url = strip_credentials(str(entry["url"]))
        if any(file_name(known["url"]) == file_name(url) for known in self.files):
            raise api.ResolveError(f"two different files are called {file_name(url)}", code="resolve")
        if not entry.get("direct") and not project_path_of(url):
            self.site.seen(entry["sha256"], url)
        self.files.append({**entry, "url": url, "build": list(build)})
        return len(self.files) - 1

    def _bind(self, index: int) -> api.Bind:
        """A settled file, fetched and shown in the container under its own name."""
        entry = self.files[index]
        (path,) = self.site.fetch([self._fetch(entry)])
        return api.Bind(source=str(path), target=f"{TOOLS}/files/{file_name(entry['url'])}")

    def _fetch(self, entry: Entry) -> api.Fetch:
        """The fetch of a settled file, where it is on this machine."""
        found = make_fetch(entry, self.index)
        path = project_path_of(str(entry["url"]))
        return replace(found, url=self.site.url(path)) if path else found

    def packages(self, document: Mapping[str, api.Json]) -> list[int]:
        """Settle requirement lines, and all builds that they need: indices of what is to be installed."""
        answer = self.inside(
            "resolve", {**document, "venv": self.venv, "pip": self.pip_bind.target}, binds=[self.pip_bind]
        )
        return self.settle(answer["files"])

    def settle(self, entries: Sequence[Entry], parents: tuple[str, ...] = ()) -> list[int]:
        """Indices of these files; for source distributions, first those of all that their builds need."""
        sources = [entry for entry in entries if not file_name(entry["url"]).endswith(".whl")]
        known = {entry["sha256"] for entry in self.files}
        fresh = [entry for entry in sources if entry["sha256"] not in known]
        for entry in fresh:
            if entry["sha256"] in parents:
                raise api.ResolveError(f"building {entry['name']} needs {entry['name']} itself", code="resolve")
        if fresh:
            self.site.note(f"asking {len(fresh)} source distributions what their builds need")
            self._builds(fresh, parents)
        return [self.add(entry) for entry in entries]

    def _builds(self, sources: Sequence[Entry], parents: tuple[str, ...]) -> None:
        fetches = [self._fetch({**entry, "url": strip_credentials(entry["url"])}) for entry in sources]
        binds = [
            api.Bind(source=str(path), target=f"{TOOLS}/files/{fetch.name}")
            for fetch, path in zip(fetches, self.site.fetch(fetches), strict=True)
        ]
        answer = self.inside(
            "needs",
            {
                "pip": self.pip_bind.target,
                "variables": {},
                "sources": [{"file": bind.target, "hooks": ["build_wheel"]} for bind in binds],
            },
            binds=[self.pip_bind, *binds],
        )
        for entry, needed in zip(sources, answer["needs"], strict=True):
            self.add(entry, self.settle(needed, (*parents, entry["sha256"])))

    def project(self, root: str, hooks: Sequence[str], variables: Mapping[str, str]) -> list[int]:
        """Indices of what the build of the project at `root` needs."""
        answer = self.inside(
            "needs",
            {
                "pip": self.pip_bind.target,
                "variables": dict(variables),
                "sources": [{"root": root, "hooks": list(hooks)}],
            },
            binds=[self.pip_bind],
        )
        return self.settle(answer["needs"][0])

    def pins(self, use: str, chosen: Sequence[int], **more: api.Json) -> dict[str, api.Json]:
        """All that was settled; `chosen` are the indices of what is for `use`, all else is there to build with."""
        files: list[api.Json] = [
            _pin(
                entry,
                [file_name(self.files[each]["url"]) for each in entry["build"]],
                use if index in chosen else "build",
            )
            for index, entry in enumerate(self.files)
        ]
        return {"python": self.info, "pip": file_name(self.files[self.pip]["url"]), "files": files, **more}


def _lines(document: api.Json) -> list[str]:
    """What `resolve` asks pip for, and its constraints."""
    asked: Any = document
    return [*(line for call in asked.get("calls", ()) for line in call), *asked.get("constraints", ())]


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
    """The fetch of a pinned file."""
    url = str(entry["url"])
    return api.Fetch(url=index.opened(url), sha256=entry["sha256"], name=file_name(url), size=int(entry["size"]))
