"""Requirement lines -> pins, by uv. What uv is not used for, and what it cannot resolve, is left to pip (resolver.py).

The first container answers which Python there is and what uv chose, and chooses the pip of the pins. The answers of
one run about pip, and about the build requirements of the project, are kept for its other layers.
"""

from __future__ import annotations

import json
import re
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from envtool import api
from envtool_python.agent_script import TOOLS, uv_command, uv_resolving_binds
from envtool_python.pins import Entry
from envtool_python.pip_config import PipConfig, file_name, last_words, read_index
from envtool_python.pylock import NotPinnedError, check_metadata, entries_of
from envtool_python.requirements import name_of, normal
from envtool_python.resolver import Resolver, make_fetch
from envtool_python.simple_index import with_replacement_index
from envtool_python.uv_config import uv_variables
from envtool_python.uv_wheels import VERSION, fetch_uv, keep_program, uv_entry
from envtool_python.with_uv import OTHER_MACHINE

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from envtool_python.pip_calls import PipRequest

HINT_NO_WHEEL = (
    "a lock file of the project (uv.lock, poetry.lock, pdm.lock, pylock.toml) says it; or `envtool lock` on such a"
    " machine adds its entries"
)
BY_PIP = "the spec says `installer: pip`"


class LeftToPipError(Exception):
    """uv does not answer this; the message says why."""


class NoWheelError(LeftToPipError):
    """For another architecture, a package has only a source distribution."""


def reason_against(options: Mapping[str, Any], pip_request: PipRequest) -> str:
    """Returns why pip has to resolve these requirements; "" if uv may."""
    if options.get("installer") == "pip":
        return BY_PIP
    if pip_request.directories or pip_request.extras is not None:
        return "the project's own backend says what is required"
    lines = (*(line for call in pip_request.calls for line in call), *pip_request.constraints)
    if other := [line for line in lines if not _is_plain(line)]:
        return f"`{other[0]}` is more than a name and a version"
    return ""


def split_hashes(pip_request: PipRequest) -> PipRequest:
    """Returns the request with the hashes of its lines apart. uv knows no hashes while it chooses:
    `UvResolver.packages` compares them."""
    calls, hashes = [], []
    for call in pip_request.calls:
        parts = [line.split(" --hash=") for line in call]
        calls.append(tuple(line.rstrip() for line, *_ in parts))
        listed = {
            name_of(line): frozenset(value.strip().removeprefix("sha256:") for value in values)
            for line, *values in parts
        }
        hashes.append(listed if any(listed.values()) else {})
    return replace(pip_request, calls=tuple(calls), hashes=tuple(hashes))


def _is_plain(line: str) -> bool:
    """Whether a line is a name with versions and a marker alone: no option, hash, URL or path."""
    from packaging.requirements import Requirement

    try:
        return Requirement(line).url is None
    except (ValueError, RecursionError):
        return False


def _without_wheels(output: str) -> str:
    """Returns which packages have no wheel, by what uv says where it may build nothing; "" if it says nothing."""
    names = dict.fromkeys(re.findall(r"Wheels are required for `([\w.-]+)` because", output))
    listed = ", ".join(f"`{name}`" for name in names)
    reason = "has no wheel for it, and what a source distribution requires is asked where it is built"
    return f"{listed} {reason}" if names else ""


class UvResolver(Resolver):
    """As Resolver, by uv. Its methods raise LeftToPipError where pip has to answer."""

    def __init__(
        self, site: api.Site, *, python: str, venv: str, index: str = "", base_kind: str = "", machine: str = ""
    ) -> None:
        """`machine` is the architecture of the containers, if that is not `site.arch`."""
        self.site = site
        self.python = python
        self.base_kind = base_kind
        self.venv = venv
        self._machine = machine or site.arch
        self.files: list[Entry] = []
        self.places: Mapping[str, str] = {}
        self.build_lines = ()
        self.info: dict[str, Any] = {}
        self.hashes = ()
        self._said: list[list[str]] = []
        entry, pinned = uv_entry(self._machine), uv_entry(site.arch)
        if entry is None or pinned is None:
            raise LeftToPipError(f"there is no uv for {site.arch if entry else self._machine}")
        self.index: PipConfig = with_replacement_index(read_index(site), index, site)
        try:
            wheel = fetch_uv(entry, site, index)
        except (api.FetchError, api.ResolveError) as error:
            raise LeftToPipError(f"no index of this machine has uv {VERSION}: {error.message}") from None
        self.uv = self.add_known(pinned)
        self._uv_wheel = f"{TOOLS}/files/{entry['url']}"
        self._uv_binds = (api.Bind(source=wheel, target=self._uv_wheel), keep_program(wheel, self._machine, site))
        # pip's entry for each version of Python: by what this run asks with, and never in pins of another index
        memo: dict[str, dict[str, Entry]] = site.shared("pip: chosen by uv", dict)
        self._asked_with = json.dumps({**self.index.variables}, sort_keys=True)
        self._pips = memo.setdefault(self._asked_with, {})
        self._builds: dict[str, list[Entry]] = site.shared("pip: builds by uv", dict)

    @property
    def _is_native(self) -> bool:
        return self._machine == self.site.arch

    def _of_target(self, info: Mapping[str, Any]) -> dict[str, Any]:
        """Returns what the same Python of the target's architecture would say of itself."""
        names = {} if self._is_native else {name: info[name].replace(self._machine, self.site.arch)
                                            for name in ("abi", "platform")}  # fmt: skip
        return {**info, **names}

    def add_known(self, entry: Entry) -> int:
        """Adds a file whose URL `locate` finds, and returns its index."""
        self.files.append({**entry, "build": []})
        return len(self.files) - 1

    def _run_uv(self, mode: str, document: Mapping[str, api.Json], binds: Sequence[api.Bind] = ()) -> Any:
        """Runs a mode of with_uv.py and returns its answer; then `info` and `pip` are known."""
        entries = {version: make_fetch(entry, self.index) for version, entry in [*self._pips.items()]}
        pips = {
            version: api.Bind(source=str(path), target=f"{TOOLS}/files/{fetch.name}")
            for (version, fetch), path in zip(entries.items(), self.site.fetch([*entries.values()]), strict=True)
        }
        known: dict[str, api.Json] = {version: bind.target for version, bind in pips.items()}
        completed = self.site.run(
            uv_command(self.python, mode, {**document, "uv": self._uv_wheel, "venv": self.venv, "pips": known}),
            env=uv_variables(self.index) | ({} if self._is_native else {OTHER_MACHINE: self.site.arch}),
            binds=(*uv_resolving_binds(), *self.index.binds, *self._uv_binds, *{*pips.values()}, *binds),
            network=True,
        )
        if completed.status != 0:
            output = completed.stderr.decode(errors="replace")
            if reason := _without_wheels(output):
                raise NoWheelError(reason)
            raise LeftToPipError(last_words(output))
        answer = json.loads(completed.stdout.decode().strip().rpartition("\n")[2])
        self.info = self._of_target(answer["info"])
        if reason := answer.get("reason"):
            raise LeftToPipError(reason)
        self._said = answer["said"]
        if answer["pip"]:
            (self._pips[self._python_version()],) = self._entries(answer["pip"])
        self.pip = self.add(self._pips[self._python_version()])
        return answer

    def _entries(self, text: str) -> list[Entry]:
        try:
            entries = entries_of(text, self.info) if text else []
            for entry in entries:
                check_metadata(entry, self._said, str(self.info["version"]))
        except NotPinnedError as error:
            raise LeftToPipError(str(error)) from None
        return entries

    def packages(self, document: Mapping[str, api.Json]) -> list[int]:
        """As Resolver's."""
        answer = self._run_uv("resolve", {**document, "build": [*self.build_lines]})
        files: dict[str, Entry] = {}
        for number, text in enumerate(answer["calls"]):
            allowed = self.hashes[number] if number < len(self.hashes) else {}
            for entry in self._entries(text):
                if allowed and entry["sha256"] not in allowed.get(normal(entry["name"]), ()):
                    raise LeftToPipError(f"the requirement files have no hash of {file_name(entry['url'])}")
                files.setdefault(entry["name"], entry)
        with suppress(LeftToPipError):  # then the layer of the project asks itself, and says why
            if answer["build"]:
                self._builds[self._build_key()] = self._entries(answer["build"])
        return self.add_all([*files.values()])

    def _build_key(self) -> str:
        """What decides which files the project's build needs: where uv looks, for which Python, and the lines."""
        return json.dumps([self._asked_with, {**self.info, "extends": False}, self.build_lines], sort_keys=True)

    def project(self, root: str, hooks: Sequence[str], variables: Mapping[str, str]) -> list[int]:
        """As Resolver's; what a layer below resolved for this Python is not asked again."""
        if self.build_lines and self._builds:
            self.info = self._of_target(self.run_agent("info", {"venv": self.venv}, network=False))
            if (files := self._builds.get(self._build_key())) is not None:
                self.pip = self.add(self._pips[self._python_version()])
                return self.add_all(files)
        return super().project(root, hooks, variables)

    def _python_version(self) -> str:
        return ".".join(str(self.info["version"]).split(".")[:2])

    def needs(
        self, sources: list[api.Json], variables: Mapping[str, str], binds: Sequence[api.Bind] = ()
    ) -> list[list[Entry]]:
        """As Resolver's."""
        answer = self._run_uv("needs", {"variables": {**variables}, "sources": sources}, binds)
        return [self._entries(text) for text in answer["needs"]]

    def pins(self, use: str, chosen: Sequence[int], **more: api.Json) -> dict[str, api.Json]:
        """As Resolver's, with uv."""
        return {**super().pins(use, chosen, **more), "uv": file_name(self.files[self.uv]["url"])}


def _check_toolchains(stand_in: api.StandIn) -> None:
    """Raises ResolveError if a Python of `toolchain:` has another version for the other architecture."""
    for layer in stand_in.layers:
        if layer.kind == "python-toolchain":
            own, other = (pins["archives"][0]["version"] for pins in (layer.own_pins, layer.pins))  # type: ignore[index, call-overload]
            if own != other:
                raise api.ResolveError(
                    f"its Python is {other} there, and {own} here, which cannot answer for it",
                    code="other-platform",
                    hint="`toolchain: {python: …}` with a whole version that there is for both",
                )


def resolve_with_uv(
    options: Mapping[str, Any],
    make: Callable[[type[Resolver]], Resolver],
    ask: Callable[[Resolver], dict[str, api.Json]],
    check: Callable[[Resolver], None],
    reason: str,
    *,
    stand_in: api.StandIn | None = None,
) -> dict[str, api.Json]:
    """Returns what `ask` answers with a resolver that `make` makes: with uv, or with pip where there is a `reason` or
    uv leaves it to pip. `check` raises if the env's Python is not the project's. With `stand_in` it is for another
    architecture. Raises ResolveError where that or the spec leaves uv alone, and what `ask` raises."""
    hint = ""
    if stand_in is not None:
        _check_toolchains(stand_in)
    if not reason:
        try:
            resolver = make(UvResolver)
            pins = ask(resolver)
        except LeftToPipError as error:
            reason, hint = str(error), HINT_NO_WHEEL if isinstance(error, NoWheelError) else ""
        else:
            check(resolver)
            return pins
    if stand_in is not None:
        message = f"for another architecture uv resolves, and pip does not: {reason}"
        raise api.ResolveError(message, code="other-platform", hint=hint)
    if options.get("installer") == "uv":
        raise api.ResolveError(
            f"uv cannot resolve this: {reason}", code="resolve", hint="without `installer: uv`, pip resolves it"
        )
    resolver = make(Resolver)
    check(resolver)
    return ask(resolver)
