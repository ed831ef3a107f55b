"""A lock file of the project -> the files of a layer, without a resolver's choice: names, versions and hashes are the
lock's, and the files come from where this machine's pip looks.

The lock's URLs say where its author's machine looked. They are used only for packages that the project takes from a
URL. A file that no index of this machine has, or has with another hash, is an error that names both.

What the lock does not have is resolved beside it, with its versions as constraints. Where that cannot be, the
requirements are resolved as without a lock, as near to it as possible; the pins say which packages differ.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from envtool import api
from envtool.api.pip_indexes import strip_credentials
from envtool_python.lock_files import read_lock
from envtool_python.locked_selection import ContradictoryLockError, Selector, marker_environment
from envtool_python.pip_config import file_name
from envtool_python.pylock import NotPinnedError, tags_of
from envtool_python.requirements import name_of, normal
from envtool_python.simple_index import is_default_index, is_usual_index, list_files, pages_of_one_index
from envtool_python.source_values import INDEX, is_directory
from envtool_python.uv_resolver import LeftToPipError, UvResolver

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from packaging.tags import Tag

    from envtool_python.layer_inputs import PipInputs
    from envtool_python.locked_packages import LockedFile, LockedRelease, LockFile
    from envtool_python.locked_selection import Selection
    from envtool_python.pins import Entry
    from envtool_python.resolver import Resolver

_MAX_THREADS = 8  # pages of indexes that are read at once


def read_layer_lock(options: Mapping[str, Any], files: PipInputs) -> LockFile:
    """Returns the lock file that a layer's options name. Raises ResolveError."""
    from envtool_python.decode import WrongFileError

    path = options["locked"]["file"]
    try:
        text = files.read(path)
        if text is None:
            raise api.ResolveError(f"there is no {path}, which `locked` names", code="locked")
        return read_lock(text, path)
    except WrongFileError as error:
        message = f"{error.file}:{error.line}: {error}"
        raise api.ResolveError(message, code="locked", hint=error.hint) from None


def resolve_locked(
    resolver: Resolver, document: Mapping[str, Any], options: Mapping[str, Any], lock: LockFile, reason: str
) -> tuple[list[int], dict[str, api.Json]]:
    """Returns the indices of the files to install, and what the pins say of the lock. `document` is that of inside.py's
    mode `resolve`; `reason` says why uv may not resolve it all ("" if it may). Raises ResolveError, FetchError."""
    near = bool(options["locked"].get("stale")) or "project" in document
    if not near:
        try:
            chosen = _Locked(resolver, options, lock).install(document)
        except _ConflictError:
            near = True
    if near:
        if bound := options["locked"].get("bound"):
            raise api.ResolveError(
                f"`{bound[0]}` comes from one index alone, and what is required beside {lock.path} contradicts it",
                code="locked",
                hint=f"`{lock.renew}` with these requirements in the project, or fewer `packages` in the env",
            )
        if reason and isinstance(resolver, UvResolver):
            raise LeftToPipError(reason)
        chosen = resolver.packages({**document, "keep": [*_unique_versions(lock), *document["keep"]]})
        _check_hashes(resolver, chosen, lock)
    others = _different(resolver, chosen, lock)
    return chosen, {"locked": {"file": lock.path, "beside": [*others]}}


class _ConflictError(Exception):
    """What is required beside the lock does not agree with it."""


class _Locked:
    """One resolution by a lock alone, and of what it does not have beside it."""

    def __init__(self, resolver: Resolver, options: Mapping[str, Any], lock: LockFile) -> None:
        self.resolver = resolver
        self.options = options
        self.lock = lock
        self._own = {package.name for package in lock.packages if _is_own(package)}
        self.sources: dict[str, str] = {normal(name): value for name, value in options.get("sources", {}).items()}

    def install(self, document: Mapping[str, Any]) -> list[int]:
        """Returns the indices of the files. Raises _ConflictError, ResolveError, FetchError."""
        if isinstance(self.resolver, UvResolver):
            self.resolver.packages({**document, "calls": []})  # which Python there is, and the pip of the pins
        lines = [line for call in document["calls"] for line in call]
        selection = self._select(lines)
        beside = {*selection.beside}
        if any(name_of(line) in selection.packages for line in beside):
            raise _ConflictError
        rest = [[line for line in call if line in beside] for call in document["calls"]]
        known = {name_of(line) for line in beside} | self._own
        rest.append(sorted(selection.apart - known))
        calls = [call for call in rest if call]
        try:
            ranks = {tag: rank for rank, tag in enumerate(tags_of(self.resolver.info))}
        except NotPinnedError as error:
            return self._install_with_pip(selection, document, calls, str(error))
        entries = self._entries(selection, ranks)
        chosen = self.resolver.add_all(entries)
        return [*chosen, *self._install_beside(entries, document, calls)]

    def _select(self, lines: Iterable[str]) -> Selection:
        locked = self.options["locked"]
        bound = {package.name for package in self.lock.packages if package.source == "index"}
        urls = {package.name: package.location for package in self.lock.packages if package.source == "url"}
        apart = self._own | {
            name
            for name, value in self.sources.items()
            if not is_directory(value) and (value != INDEX or name not in bound) and urls.get(name) != value
        }
        selector = Selector(
            self.lock,
            marker_environment(self.resolver.info),
            extras=locked.get("extras", ()),
            groups=locked.get("groups", ()),
            apart=apart,
        )
        try:
            return selector.select(lines)
        except ContradictoryLockError as error:
            where = f"{self.lock.path}:{error.line}: " if error.line else ""
            raise api.ResolveError(where + str(error), code="locked", hint=self._hint()) from None

    def _hint(self) -> str:
        return f"`{self.lock.renew}` brings it up to date; `locked: none` in the env leaves it out"

    def _install_beside(
        self, entries: Sequence[Entry], document: Mapping[str, Any], calls: list[list[str]]
    ) -> list[int]:
        """Resolves what the lock does not have, with its versions as constraints; those of one index alone as URLs."""
        if not calls:
            return []
        lines = [*(line for call in calls for line in call), *document["constraints"]]
        if isinstance(self.resolver, UvResolver) and (document["directories"] or not all(map(_is_plain, lines))):
            raise LeftToPipError("a requirement beside the lock is more than a name and a version")
        locations = {package.name: package.location for package in self.lock.packages if package.source == "index"}
        constraints = [
            f"{entry['name']}=={entry['version']}"
            if is_default_index(locations.get(entry["name"], ""), self.resolver.site) and not entry["direct"]
            else f"{entry['name']} @ {self.resolver.index.opened(strip_credentials(entry['url']))}"
            for entry in entries
        ]
        beside = {**document, "calls": [[*call] for call in calls], "keep": []}
        beside["constraints"] = [*constraints, *document["constraints"]]
        try:
            chosen = self.resolver.packages(beside)
        except (LeftToPipError, api.ResolveError):
            raise _ConflictError from None
        names = {entry["name"] for entry in entries}
        return [index for index in chosen if normal(self.resolver.files[index]["name"]) not in names]

    def _install_with_pip(
        self, selection: Selection, document: Mapping[str, Any], calls: list[list[str]], reason: str
    ) -> list[int]:
        """As `install`, where only pip knows which wheels run: by lines with the lock's hashes."""
        if isinstance(self.resolver, UvResolver):
            raise LeftToPipError(reason)
        lines = []
        for package in self._installable(selection):
            hashes = "".join(f" --hash=sha256:{file.sha256}" for file in package.files if file.sha256)
            if not hashes:
                raise self._wrong(package, "has no sha256")
            source = f" @ {package.files[0].url}" if package.source == "url" else f"=={package.version}"
            lines.append(f"{package.name}{source}{hashes}")
        return self.resolver.packages({**document, "calls": [[*call] for call in (lines, *calls) if call]})

    # ---- files -----------------------------------------------------------------------------------------------------

    def _installable(self, selection: Selection) -> list[LockedRelease]:
        """Returns the packages that come from files. Raises ResolveError for each that comes from a place that has no
        hash, or from an index where this machine's pip does not look."""
        packages = []
        for package in selection.packages.values():
            source = self.sources.get(package.name, INDEX)
            if is_directory(source):
                continue  # a layer of its own installs it
            if package.source == "directory":
                self._refuse(package, f"the directory {package.location}", "DIRECTORY")
            elif package.source in ("repository", "archive"):
                kind = "repository" if package.source == "repository" else "archive"
                self._refuse(package, f"the {kind} {strip_credentials(package.location)}", "ARCHIVE")
            elif package.source == "index" and package.name not in self.sources and not is_usual_index(
                package.location, self.resolver.index, self.options.get("index", ""), self.resolver.site
            ):  # fmt: skip
                location = strip_credentials(package.location)
                raise self._wrong(
                    package,
                    f"comes from the index {location}, where this machine's pip does not look",
                    f"`pip config set global.extra-index-url {location}`, or say in the env `sources: "
                    f"{{{package.name}: {INDEX}}}`: from where it looks, if the hash is the same",
                )
            else:
                packages.append(package)
        return packages

    def _refuse(self, package: LockedRelease, description: str, value: str) -> None:
        hint = f"say in the env what to take: `sources: {{{package.name}: {value}}}`, or `{{{package.name}: {INDEX}}}`"
        raise self._wrong(package, f"comes from {description}, which has no hash", hint)

    def _wrong(self, package: LockedRelease, message: str, hint: str = "") -> api.ResolveError:
        where = f"{self.lock.path}:{package.line}"
        return api.ResolveError(f"{where}: `{package.name}` {message}", code="locked", hint=hint or self._hint())

    def _entries(self, selection: Selection, ranks: Mapping[Tag, int]) -> list[Entry]:
        packages = self._installable(selection)
        with ThreadPoolExecutor(_MAX_THREADS) as pool:
            return [*pool.map(lambda package: self._entry(package, ranks), packages)]

    def _entry(self, package: LockedRelease, ranks: Mapping[Tag, int]) -> Entry:
        candidates = files_by_preference(package.files, ranks)
        if not candidates:
            raise self._wrong(package, f"{package.version} has neither a wheel for this env nor a source distribution")
        if package.source == "url":
            file = candidates[0]
            if urlsplit(file.url).scheme not in ("http", "https") or not file.sha256:
                raise self._wrong(package, "comes from a URL without a sha256, or that is none of http")
            return _entry(package, file, file.sha256, file.url, direct=True)
        pages = self._pages(package)
        for file in candidates:
            wanted = _comparable(file.name)
            urls = [url for url in pages if file.sha256 and _fragment_hash(url) == file.sha256] or [
                url for url in pages if _comparable(file_name(url)) == wanted
            ]
            usable = [url for url in urls if not file.sha256 or _fragment_hash(url) in ("", file.sha256)]
            if usable:
                return self._with_hash(package, file, usable[0])
            if urls:
                raise self._wrong(
                    package,
                    f"is locked as {file.name} with the sha256 {file.sha256[:12]}…, and {_site_of(urls[0])} "
                    f"has another file of this name, with {_fragment_hash(urls[0])[:12]}…",
                )
        raise self._wrong(package, f"is locked as {candidates[0].name}, which no index of this machine has")

    def _pages(self, package: LockedRelease) -> list[str]:
        index, site = self.resolver.index, self.resolver.site
        one_alone = not is_default_index(package.location, site) and self.sources.get(package.name) != INDEX
        try:
            if one_alone:  # another index may have a stranger's project of this name
                return pages_of_one_index(package.location, index, package.name, site)
            return list_files(index, package.name, site)
        except api.FetchError as error:
            raise self._wrong(package, f"{package.version} is on no index of this machine: {error.message}") from None

    def _with_hash(self, package: LockedRelease, file: LockedFile, url: str) -> Entry:
        """Returns the entry of a file on an index; a hash that is no sha256 is checked while the file is fetched."""
        if file.sha256:
            return _entry(package, file, file.sha256, url)
        if not file.integrity:
            raise self._wrong(package, f"{package.version} has no hash that is known here")
        sealed = api.Sealed(
            urls=(self.resolver.index.opened(strip_credentials(url)),), name=file.name, integrity=file.integrity
        )
        (fetch,) = self.resolver.site.learn([sealed])
        return _entry(package, file, fetch.sha256, url)


def files_by_preference(files: Sequence[LockedFile], ranks: Mapping[Tag, int]) -> list[LockedFile]:
    """Returns the wheels that run, best tags first (PEP 425), then the source distributions."""
    from packaging.utils import InvalidWheelFilename, parse_wheel_filename

    wheels: list[tuple[tuple[int, int, str], LockedFile]] = []
    archives = []
    for file in files:
        if not file.name.endswith(".whl"):
            archives.append(file)
            continue
        try:
            _, _, build, tags = parse_wheel_filename(file.name)
        except InvalidWheelFilename:
            continue
        rank = min((ranks[tag] for tag in tags if tag in ranks), default=-1)
        if rank >= 0:
            wheels.append(((rank, -(build[0] if build else 0), file.name), file))
    wheels.sort(key=lambda item: item[0])
    return [*(file for _, file in wheels), *archives]


def _entry(package: LockedRelease, file: LockedFile, sha256: str, url: str, *, direct: bool = False) -> Entry:
    return {
        "name": package.name,
        "version": package.version,
        "url": url,
        "sha256": sha256,
        "size": file.size,
        "direct": direct,
    }


def _comparable(name: str) -> str:
    """Returns a file name without differences that mean nothing: uv writes `markupsafe-…`, an index `MarkupSafe-…`."""
    return name.lower().replace("-", "_").replace(".", "_")


def _is_own(package: LockedRelease) -> bool:
    return package.source == "directory" and package.location in ("", ".", "./")


def _is_plain(line: str) -> bool:
    from envtool_python.locked_selection import plain_requirement

    return plain_requirement(line) is not None


def _fragment_hash(url: str) -> str:
    """Returns the sha256 that an index's link says; "" if it says none."""
    fragment = urlsplit(url).fragment
    return fragment.removeprefix("sha256=").lower() if fragment.startswith("sha256=") else ""


def _site_of(url: str) -> str:
    return urlsplit(strip_credentials(url)).netloc or "a directory of this machine"


def _unique_versions(lock: LockFile) -> list[str]:
    """Returns `name==version` of the packages of an index that have one version in the lock."""
    return [
        f"{name}=={packages[0].version}"
        for name, packages in lock.named().items()
        if len(packages) == 1 and packages[0].source == "index" and packages[0].version
    ]


def _different(resolver: Resolver, chosen: Iterable[int], lock: LockFile) -> list[str]:
    """Returns the names of installed packages that the lock does not have in this version."""
    versions = {(package.name, package.version) for package in lock.packages}
    files = [resolver.files[index] for index in chosen]
    return sorted({file["name"] for file in files if (normal(file["name"]), file["version"]) not in versions})


def _check_hashes(resolver: Resolver, chosen: Iterable[int], lock: LockFile) -> None:
    """Raises ResolveError for a file that the lock has with another hash."""
    locked = {
        _comparable(file.name): (package, file) for package in lock.packages for file in package.files if file.sha256
    }
    for index in chosen:
        entry = resolver.files[index]
        package, file = locked.get(_comparable(file_name(entry["url"])), (None, None))
        if package and file and file.sha256 != entry["sha256"]:
            raise api.ResolveError(
                f"{lock.path}:{package.line}: `{package.name}` is locked as {file.name} with the sha256 "
                f"{file.sha256[:12]}…, and the index has another file of this name, with {entry['sha256'][:12]}…",
                code="locked",
                hint="one of the two is not what its author published; `locked: none` in the env leaves the lock out",
            )
