"""Where a project says that its requirements come from, beside the index that pip looks at. Pure.

Read: [tool.uv] sources and workspaces (https://docs.astral.sh/uv/concepts/projects/dependencies/), Poetry's path, git,
url and source (https://python-poetry.org/docs/dependency-specification/), and what a requirement names itself:
`name @ URL`, `-e DIRECTORY`, PDM's `${PROJECT_ROOT}`, Hatch's `{root:uri}`.

Each is honoured or refused by name. A directory of the project, an archive in it and the URL of one are honoured: pip
is told them as constraints, so that no file of an index stands in for them, whoever requires the name. A repository has
no hash, and pip takes no name from one index alone: these are refused, until the spec's own `sources` say what to take.
So is a requirement that a project beside this one is called like.
"""

from __future__ import annotations

import posixpath
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote

from envtool import api
from envtool_python.checkout_projects import PROJECTS, CheckoutProjects
from envtool_python.decode import WrongFileError, line_of
from envtool_python.metadata import read_facts
from envtool_python.poetry import table
from envtool_python.requirements import extra, name_of, normal

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from envtool_python.decode import DecodedFiles, SubdirectoryReader
    from envtool_python.metadata import ProjectMetadata

INDEX = "index"  # of the spec's `sources`: as this machine's pip finds it
SOURCES: dict[str, Any] = {
    "type": "object",
    "additionalProperties": {"type": "string", "minLength": 1},
    "description": "where requirements come from, over what the project's files say: name -> a directory of the "
    "project, which is installed from there, a wheel or source archive in it, the URL of one, or `index`: where this "
    "machine's pip looks; `'*': index`: all",
}
ARCHIVES = (".whl", ".tar.gz", ".zip", ".tar.bz2", ".tar.xz", ".tgz")
_REFERENCE = re.compile(r"^\s*([A-Za-z0-9][\w.-]*)\s*(\[[^\]]*\])?\s*@\s*(\S+)\s*(;.*)?$")
_DIRECTORY = re.compile(r"^(?:file:)?([^\[\s;]+?)/?(\[[^\]]*\])?\s*(;.*)?$")
_OPTIONS = re.compile(r"^(.*?)(?:\s+(--[a-z].*))?$", re.DOTALL)
_REPOSITORY = re.compile(r"^(git|hg|svn|bzr)(\+|://)|^git@")


@dataclass(frozen=True, slots=True, kw_only=True)
class WrongSource:
    """A requirement whose source cannot be honoured: where that is said, and what to write instead."""

    message: str
    hint: str
    file: str
    line: int
    code: str = "source"


@dataclass(frozen=True, slots=True, kw_only=True)
class DependencySource:
    """Where a name comes from: a `directory` or an `archive` (relative to the spec's), a `url`, a member of the
    `workspace`, or a place that is `refused`, or `absent` here, which is refused too; `said` in words."""

    kind: str
    value: str
    said: str
    file: str
    line: int


class DependencySources:
    """What the requirements of one layer come from; collects directories and URLs, and what is wrong."""

    def __init__(
        self, project: DecodedFiles | SubdirectoryReader | Any, given: Mapping[str, str], depth: int = 0
    ) -> None:
        """`given` are the spec's own `sources`; so many directories above the spec's are still the project."""
        self.project = project
        self.given = {normal(name): value for name, value in given.items()}
        self.depth = depth
        self.projects = CheckoutProjects(project, depth)
        self.chosen: dict[str, str] = {}  # name -> directory or URL
        self.wrong: dict[str, WrongSource] = {}
        self._names = {
            posixpath.normpath(value): name
            for name, value in self.given.items()
            if not is_url(value) and value != INDEX
        }
        self._asked: set[tuple[str, str]] = set()

    # ---- lines -----------------------------------------------------------------------------------------------------

    def place(
        self, lines: Iterable[str], facts: ProjectMetadata, *, root: str = "", file: str = "", line: int = 0
    ) -> list[str]:
        """The lines as pip is to be told them; `root` ("" or "sub/") is the directory of the project that asks, `file`
        and `line` where it does so (else looked for in pyproject.toml)."""
        declared = self.declared(facts, root)
        answer: list[str] = []
        for text in lines:
            requirement, source = self._reference(text, root, file, line)
            name = name_of(requirement)
            if not name or (name == normal(facts.name) and source is None):
                answer.append(requirement)
                continue
            place = (file, line) if file else (f"{root}pyproject.toml", 0)
            given = self._given(name, place)
            source = given or source or declared.get(name) or self._sibling(name, place, root)
            if given and requirement is text and " @ " in text:
                requirement = re.sub(r"\s*@\s*[^\s;]+", "", text)
            if source is None or source.kind in (INDEX, "written"):
                answer.append(requirement)
            else:
                answer += self._settle(name, requirement, source)
        return answer

    def all_of(self, facts: ProjectMetadata, root: str = "") -> None:
        """For a project whose requirements only its build backend knows: all that it says may be among them."""
        self.place(self.declared(facts, root), facts, root=root)

    def _settle(self, name: str, requirement: str, source: DependencySource) -> list[str]:
        if source.kind == "workspace":
            source = self._member(name, source)
        if self._is_missing_sibling(name, source):
            return [requirement]
        if source.kind == "archive" and archive_project_name(source.value) != name:
            said = f"`{name}` comes from {source.said}, which is one of `{archive_project_name(source.value)}`"
            self._refuse(name, said, source)
        elif source.kind in ("url", "archive"):
            self.chosen[name] = source.value
        elif source.kind == "directory":
            return self._directory(name, requirement, source)
        else:
            self._refuse(name, f"`{name}` comes from {source.said}", source)
        return [requirement]

    def _is_missing_sibling(self, name: str, source: DependencySource) -> bool:
        """Whether this is an unpacked source distribution that requires the name, and its place did not come along: a
        workspace or a directory beside the project is for who develops it, and who releases it says what pip is to
        find (PKG-INFO, core metadata specifications). One index alone, or a repository, is said to everybody."""
        if source.kind == "directory":
            root = "" if source.value == "." else f"{source.value}/"
            if source.value in self._names or any(self.project.read(root + file) is not None for file in PROJECTS):
                return False
        elif source.kind != "absent":
            return False
        return name in required_by_pkg_info(
            self.project.read(posixpath.join(posixpath.dirname(source.file), "PKG-INFO"))
        )

    def _directory(self, name: str, requirement: str, source: DependencySource) -> list[str]:
        """A project of the checkout: what it requires itself is placed too. One that is no package gives its
        requirements alone."""
        root = "" if source.value == "." else f"{source.value}/"
        facts = read_facts(self.project, root)
        if not facts.buildable and self._names.get(source.value) != name:
            said = f"`{name}` comes from {source.said}, where there is no project (no {', '.join(PROJECTS)})"
            self._refuse(name, said, source)
            return [requirement]
        if facts.name and normal(facts.name) != name:
            self._refuse(name, f"`{name}` comes from {source.said}, whose project is called `{facts.name}`", source)
            return [requirement]
        found = re.search(r"\[([^\]]*)\]", requirement.partition(";")[0])
        wanted = ["", *(normal(part) for part in found.group(1).split(",") if part.strip())] if found else [""]
        inner: list[str] = []
        for each in wanted:
            if (source.value, each) not in self._asked:
                self._asked.add((source.value, each))
                inner += self._required(facts, root, each)
        if not root:
            return inner if found else []
        if not facts.installable and facts.buildable:
            return inner
        self.chosen[name] = source.value
        return [requirement]

    def _required(self, facts: ProjectMetadata, root: str, asked: str) -> list[str]:
        if facts.dependencies is None:
            self.all_of(facts, root)
            return []
        if not asked:
            return self.place(facts.dependencies, facts, root=root)
        known = {normal(key) for key in facts.extras}
        return self.place(extra(facts.name, facts.extras, asked), facts, root=root) if asked in known else []

    def _reference(self, text: str, root: str, file: str, line: int) -> tuple[str, DependencySource | None]:
        """A requirement without what it says of its place, and that. Archives at URLs are pip's own business."""
        plain, options = _OPTIONS.match(text).groups()  # type: ignore[union-attr]
        if options and not is_url(plain):
            requirement, source = self._reference(plain, root, file, line)
            return f"{requirement} {options}", source
        file, line = (file, line) if file else (f"{root}pyproject.toml", 0)
        direct = _REFERENCE.match(text)
        if direct:
            name, extras, url, marker = direct.group(1), direct.group(2) or "", direct.group(3), direct.group(4) or ""
            if is_url(url):
                return text, DependencySource(kind="written", value=url, said=url, file=file, line=line)
            source = self._place_of(url, name, root, file, line)
            return f"{name}{extras}{' ' + marker if marker else ''}", source
        if _REPOSITORY.match(text):
            egg = re.search(r"[#&]egg=([\w.-]+)", text)
            name = egg[1] if egg else posixpath.basename(re.split(r"[@#](?![^/]*/)", text)[0]).removesuffix(".git")
            return name, self._place_of(text, name, root, file, line)
        path = None if text.startswith("-") else _DIRECTORY.match(text)
        if (
            path
            and (text.startswith(("file:", ".", "/", "{", "$")) or "/" in re.split(r"[\[;\s]", text)[0])
            and "://" not in text
        ):
            source = self._place_of(path.group(1), "", root, file, line)
            name = self._names.get(source.value, "") or self._called(source)
            if not name:
                self._refuse_path(path.group(1), source)
                return text, None
            return f"{name}{path.group(2) or ''}{' ' + path.group(3) if path.group(3) else ''}", source
        return text, None

    def _is_project(self, path: str) -> bool:
        ups = path.split("/").count("..")
        if path.startswith("/") or ups > self.depth:
            return False
        return path in self._names or any(self.project.read(f"{path}/{name}") is not None for name in PROJECTS)

    def top(self, facts: ProjectMetadata, root: str = "") -> tuple[ProjectMetadata, str]:
        """The project whose indexes and bounds hold: the workspace around this one, else itself."""
        for above in self._workspaces(root):
            return read_facts(self.project, above), above
        return facts, root

    def _called(self, source: DependencySource) -> str:
        """The name of the project in a directory."""
        if is_archive(source.value):
            return archive_project_name(source.value)
        if source.kind != "directory":
            return ""
        return read_facts(self.project, f"{source.value}/" if source.value != "." else "").name

    def _place_of(self, text: str, name: str, root: str, file: str, line: int) -> DependencySource:
        """What a path or URL that is no archive at a URL means."""
        line = line or line_of(self.project.read(file), name or text)
        if _REPOSITORY.match(text):
            return DependencySource(kind="refused", value=text, said=f"the repository {text}", file=file, line=line)
        inner = re.sub(r"^file:(//)?", "", text.partition("#")[0])
        inner = unquote(inner) if text.startswith("file:") else inner
        hatch = re.match(r"^/?\{root((?::parent)*)(?::uri|:real)?\}/?", inner)
        if hatch:
            inner = "./" + "../" * hatch.group(1).count("parent") + inner[hatch.end() :]
        inner = re.sub(r"^/?\$(\{PROJECT_ROOT\}|PROJECT_ROOT)/?", "./", inner)
        path = posixpath.normpath(posixpath.join(root, inner))
        beside = posixpath.normpath(posixpath.join(posixpath.dirname(file), inner))
        there = self._has if path.endswith(ARCHIVES) else self._is_project
        if path not in self._names and (beside in self._names or not there(path)) and there(beside):
            path = beside  # pip goes by the directory that it is started in, others by that of the file
        shown = f"the directory {path}"
        ups = len([part for part in path.split("/") if part == ".."])
        if path.startswith("/") or ups > self.depth:
            how = ", as every absolute path is: write ./… of what is in it" if path.startswith("/") else ""
            said = f"{path}, outside of the project{how}"
            return DependencySource(kind="absent", value=path, said=said, file=file, line=line)
        if path.endswith(ARCHIVES):
            kind, how = ("archive", "") if self._has(path) else ("refused", ", which is not there")
            return DependencySource(kind=kind, value=path, said=f"the archive {path}{how}", file=file, line=line)
        return DependencySource(kind="directory", value=path, said=shown, file=file, line=line)

    def _has(self, path: str) -> bool:
        """Whether the project has a file, which need not be text."""
        if path.startswith("/") or path.split("/").count("..") > self.depth:
            return False
        try:
            return self.project.read(path) is not None
        except (
            WrongFileError,
            api.UsageError,
            api.ResolveError,
            LookupError,
        ):  # there, but no text that is ours to read
            return True

    # ---- where a name comes from -----------------------------------------------------------------------------------

    def declared(self, facts: ProjectMetadata, root: str = "") -> dict[str, DependencySource]:
        """Name -> what the project's own tables say; those of a workspace around it hold for what it does not say."""
        found: dict[str, DependencySource] = {}
        for above in self._workspaces(root):
            top = read_facts(self.project, above)
            found |= self._tables(top, above)
        return found | self._tables(facts, root)

    def _workspaces(self, root: str) -> Iterator[str]:
        """Directories above `root` whose project is a workspace of uv's, as prefixes, the outermost first."""
        parts = root.split("/")[:-1]
        ups = parts.count("..")
        above = ["../" * count for count in range(self.depth, ups - 1, -1)]
        above += ["".join(f"{part}/" for part in parts[:count]) for count in range(ups + 1, len(parts))]
        for prefix in above:
            if prefix != root and table(table(read_facts(self.project, prefix).tools, "uv"), "workspace"):
                yield prefix

    def _tables(self, facts: ProjectMetadata, root: str) -> dict[str, DependencySource]:
        file = f"{root}pyproject.toml"
        text = self.project.read(file) if facts.tools else None
        found: dict[str, DependencySource] = {}
        for name, value in _entries(facts.tools):
            items = value if isinstance(value, list) else [value]
            kinds = [
                self._one(each if isinstance(each, dict) else {}, normal(name), root, file, text) for each in items
            ]
            said = [kind for kind in kinds if kind is not None]
            if not said:
                continue
            if len({(one.kind, one.value) for one in said}) > 1 or len(said) < len(kinds):
                several = DependencySource(
                    kind="refused", value="", said="one of several places", file=file, line=said[0].line
                )
                said = [several]
            found.setdefault(normal(name), said[0])
        return found

    def _one(
        self, item: Mapping[str, Any], name: str, root: str, file: str, text: str | None
    ) -> DependencySource | None:
        """One place of a name, in uv's or Poetry's words; None where it says none."""
        line = line_of(text, name)

        def refused(said: str) -> DependencySource:
            return DependencySource(kind="refused", value=said, said=said, file=file, line=line)

        if item.get("git"):
            return refused(f"the repository {item['git']}")
        if item.get("index") or str(item.get("source", "")).lower() not in ("", "pypi"):
            return refused(f"the index `{item.get('index') or item['source']}` alone")
        place = next((str(item[key]) for key in ("path", "file", "url") if item.get(key)), "")
        if not (place or item.get("workspace")):
            return None
        if item.get("marker") and "version" not in item:
            return refused(f"{place or 'the workspace'} where {item['marker']}")
        if item.get("workspace"):
            return DependencySource(kind="workspace", value="", said="the workspace", file=file, line=line)
        if item.get("subdirectory"):
            return refused(f"a directory of {place}")
        if place.startswith(("http://", "https://")):
            return DependencySource(kind="url", value=place, said=place, file=file, line=line)
        return self._place_of(place, name, root, file, line)

    def _given(self, name: str, place: tuple[str, int]) -> DependencySource | None:
        value = self.given.get(name)
        if value is None:
            return None
        kind = INDEX if value == INDEX else "url" if is_url(value) else "directory"
        value = posixpath.normpath(value) if kind == "directory" else value
        if kind == "directory" and is_archive(value):
            return DependencySource(kind="archive", value=value, said=f"the archive {value}", file="", line=place[1])
        return DependencySource(kind=kind, value=value, said=f"the directory {value}", file="", line=place[1])

    def _member(self, name: str, source: DependencySource) -> DependencySource:
        """The member of the workspace that has this name."""
        places = self.projects.named(name)
        if len(places) == 1:
            return DependencySource(
                kind="directory", value=places[0], said=f"the directory {places[0]}", file=source.file, line=source.line
            )
        said = "the workspace, which has no such project here" if not places else f"one of {', '.join(places)}"
        kind = "refused" if places else "absent"
        return DependencySource(kind=kind, value="", said=said, file=source.file, line=source.line)

    def _sibling(self, name: str, place: tuple[str, int], root: str) -> DependencySource | None:
        """Refuses a name that a project beside this one has too, where nothing says which one is meant."""
        if self.given.get("*") == INDEX:
            return None
        places = [each for each in self.projects.named(name) if each != (root.rstrip("/") or ".")]
        outside = [] if places else self.projects.outside(name)
        if not places and not outside:
            return None
        file, line = place
        if outside:
            self.wrong.setdefault(
                name,
                WrongSource(
                    message=f"`{name}` is required, and {outside[0]}, outside of this project, is called so too",
                    hint="for that one, put envtool.yaml into a directory that has both, and say there "
                    f"`sources: {{{name}: DIRECTORY}}`; `sources: {{{name}: {INDEX}}}` is for that of the index",
                    file=file,
                    line=line or line_of(self.project.read(file), name),
                ),
            )
            return None
        self.wrong.setdefault(
            name,
            WrongSource(
                message=f"`{name}` is required, and {places[0]} is called so too: which one is meant?",
                hint=f"say it in the env: `sources: {{{name}: {places[0]}}}` for this one, "
                f"`sources: {{{name}: {INDEX}}}` for that of the index",
                file=file,
                line=line or line_of(self.project.read(file), name),
            ),
        )
        return None

    def _refuse_path(self, text: str, source: DependencySource) -> None:
        """Of a place that no name goes with."""
        why = f"it is {source.said}"
        if source.kind == "directory":
            why = f"there is no project in {source.value} (no {', '.join(PROJECTS[:-1])} or {PROJECTS[-1]})"
            if any(self.project.read(posixpath.join(source.value, file)) is not None for file in PROJECTS):
                why = f"the project in {source.value} has a name that only its build backend can tell"
        hint = (
            "write the path of a directory of the project that has one of them, of an archive (`./DIRECTORY/FILE.whl`),"
            " or the name of a project"
        )
        if source.kind == "refused" and "repository" in source.said:
            hint = "a repository has no hash: name a release, or the URL of an archive"
        elif "outside of the project" in source.said:
            hint = (
                "a spec in a directory that both are in can have it; here, write the name of the project, and in the "
                "env an archive that it is in, `sources: {NAME: ARCHIVE}`"
            )
        self.wrong.setdefault(
            text, WrongSource(message=f"`{text}`: {why}", hint=hint, file=source.file, line=source.line)
        )

    def _refuse(self, name: str, message: str, source: DependencySource) -> None:
        hint = (
            f"say in the env what to take: `sources: {{{name}: DIRECTORY}}` or `{{{name}: ARCHIVE}}` of the project, "
            f"`sources: {{{name}: URL}}` of an archive, "
            f"or `sources: {{{name}: {INDEX}}}` for what this machine's pip finds"
        )
        self.wrong.setdefault(name, WrongSource(message=message, hint=hint, file=source.file, line=source.line))


def _entries(tools: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Names with their tables, of uv and of Poetry's dependencies and groups."""
    yield from table(table(tools, "uv"), "sources").items()
    poetry = table(tools, "poetry")
    yield from table(poetry, "dependencies").items()
    for group in table(poetry, "group").values():
        yield from table(group if isinstance(group, dict) else {}, "dependencies").items()
    yield from table(poetry, "dev-dependencies").items()


def required_by_pkg_info(metadata: str | None) -> frozenset[str]:
    """The names that PKG-INFO requires by their names alone; none where there is no such file."""
    header = (metadata or "").partition("\n\n")[0]
    lines = re.findall(r"^Requires-Dist:[ \t]*(.+)$", header, re.MULTILINE | re.IGNORECASE)
    return frozenset(name_of(line) for line in lines if "@" not in line.partition(";")[0])


def is_url(value: str) -> bool:
    """Whether it is the URL of an archive, as a source may be."""
    return value.startswith(("http://", "https://"))


def is_archive(value: str) -> bool:
    """Whether a source is a wheel or source archive of the project."""
    return not is_url(value) and value.endswith(ARCHIVES)


def is_directory(value: str) -> bool:
    """Whether a source is a directory of the project."""
    return value != INDEX and not is_url(value) and not is_archive(value)


def archive_project_name(path: str) -> str:
    """The normalised name that an archive's file name begins with."""
    name = posixpath.basename(path)
    if name.endswith(".whl"):
        return normal(name.partition("-")[0])
    ending = next(ending for ending in ARCHIVES if name.endswith(ending))
    return normal(name.removesuffix(ending).rpartition("-")[0])


def container_url(path: str, directory: str) -> str:
    """The URL of a file of the project in a container, by its path from the spec's `directory`."""
    return "file://" + quote(posixpath.normpath(posixpath.join(api.PROJECT, directory, path)))
