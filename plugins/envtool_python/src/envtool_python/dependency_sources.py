"""Sources that a project names for its requirements, beside the index that pip looks at. Pure.

Formats: [tool.uv] sources and workspaces (https://docs.astral.sh/uv/concepts/projects/dependencies/), Poetry's path,
git, url and source (https://python-poetry.org/docs/dependency-specification/), and the sources in requirement lines:
`name @ URL`, `-e DIRECTORY`, PDM's `${PROJECT_ROOT}`, Hatch's `{root:uri}`.

Each source is honoured or refused by name. A directory of the project, an archive in it and the URL of an archive are
honoured: pip gets them as constraints, so that no file of an index replaces them, whichever project requires the name.
A repository has no hash, and pip cannot take a name from one index alone: these sources are refused until the spec's
own `sources` say what to take. A requirement is refused, too, when another project of the checkout has its name.
"""

from __future__ import annotations

import posixpath
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from envtool import api
from envtool_python.checkout_projects import PROJECTS, CheckoutProjects
from envtool_python.decode import WrongFileError, line_of
from envtool_python.metadata import read_facts
from envtool_python.poetry import table
from envtool_python.requirements import extra, name_of, normal
from envtool_python.source_values import ARCHIVES, INDEX, archive_project_name, is_archive, is_url

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping

    from envtool_python.decode import DecodedFiles, SubdirectoryReader
    from envtool_python.metadata import ProjectMetadata

_REFERENCE = re.compile(r"^\s*([A-Za-z0-9][\w.-]*)\s*(\[[^\]]*\])?\s*@\s*(\S+)\s*(;.*)?$")
_DIRECTORY = re.compile(r"^(?:file:)?([^\[\s;]+?)/?(\[[^\]]*\])?\s*(;.*)?$")
_OPTIONS = re.compile(r"^(.*?)(?:\s+(--[a-z].*))?$", re.DOTALL)
_REPOSITORY = re.compile(r"^(git|hg|svn|bzr)(\+|://)|^git@")


@dataclass(frozen=True, slots=True, kw_only=True)
class WrongSource:
    """A requirement or source that cannot be honoured: what is wrong, the file and line, and what to write instead."""

    message: str
    hint: str
    file: str
    line: int
    code: str = "source"


@dataclass(frozen=True, slots=True, kw_only=True)
class DependencySource:
    """The source of a requirement, and the file and line that name it.

    `kind` is `directory` or `archive` (`value` is a path relative to the spec's directory), `url`, `written` (a URL in
    the requirement itself), `workspace` (a member of the workspace), `index`, `locked` (one index alone, and bound by
    a lock file), `refused`, or `absent` (not in this checkout; refused, too). `description` says the source in words.
    """

    kind: str
    value: str
    description: str
    file: str
    line: int


class DependencySources:
    """The sources of one layer's requirements. Collects the directories and URLs to use (`chosen`), and the errors
    (`wrong`)."""

    def __init__(
        self,
        project: DecodedFiles | SubdirectoryReader | Any,
        spec_sources: Mapping[str, str],
        depth: int = 0,
        locked: Collection[str] = (),
    ) -> None:
        """`spec_sources` are the spec's own `sources`; `depth` directories above the spec's still belong to the
        project; `locked` are names that a lock file binds to an index and to hashes."""
        self.project = project
        self.spec_sources = {normal(name): value for name, value in spec_sources.items()}
        self.depth = depth
        self._locked = locked
        self.projects = CheckoutProjects(project, depth)
        self.chosen: dict[str, str] = {}  # name -> directory or URL
        self.wrong: dict[str, WrongSource] = {}
        self.bound: dict[str, DependencySource] = {}  # names of one index alone, which a lock file binds
        self._spec_paths = {
            posixpath.normpath(value): name
            for name, value in self.spec_sources.items()
            if not is_url(value) and value != INDEX
        }
        self._expanded: set[tuple[str, str]] = set()

    # ---- lines -----------------------------------------------------------------------------------------------------

    def to_pip_lines(
        self, lines: Iterable[str], facts: ProjectMetadata, *, root: str = "", file: str = "", line: int = 0
    ) -> list[str]:
        """Returns the lines as pip needs them, and adds their sources to `chosen` and `wrong`.

        `root` ("" or "sub/") is the directory of the project that has the lines; `file` and `line` say where the lines
        are written (default: where its pyproject.toml names them).
        """
        declared = self.declared(facts, root)
        pip_lines: list[str] = []
        for text in lines:
            requirement, source = self._split_source(text, root, file, line)
            name = name_of(requirement)
            if not name or (name == normal(facts.name) and source is None):
                pip_lines.append(requirement)
                continue
            position = (file, line) if file else (f"{root}pyproject.toml", 0)
            from_spec = self._from_spec(name, position)
            source = from_spec or source or declared.get(name) or self._refuse_ambiguous(name, position, root)
            if from_spec and requirement is text and " @ " in text:
                requirement = re.sub(r"\s*@\s*[^\s;]+", "", text)
            if source is None or source.kind in (INDEX, "written"):
                pip_lines.append(requirement)
            else:
                pip_lines += self._to_pip_line(name, requirement, source)
        return pip_lines

    def add_all(self, facts: ProjectMetadata, root: str = "") -> None:
        """Adds all sources that the project's tables name: for a project whose requirements only its build backend
        knows."""
        self.to_pip_lines(self.declared(facts, root), facts, root=root)

    def _to_pip_line(self, name: str, requirement: str, source: DependencySource) -> list[str]:
        if source.kind == "workspace":
            source = self._workspace_member(name, source)
        if self._is_missing_sibling(name, source):
            return [requirement]
        if source.kind == "locked":  # the lock's hash, of the lock's index, is the file that is meant
            self.bound[name] = source
            return [requirement]
        if source.kind == "archive" and archive_project_name(source.value) != name:
            message = (
                f"`{name}` comes from {source.description}, which is one of `{archive_project_name(source.value)}`"
            )
            self._refuse(name, message, source)
        elif source.kind in ("url", "archive"):
            self.chosen[name] = source.value
        elif source.kind == "directory":
            return self._add_directory(name, requirement, source)
        else:
            self._refuse(name, f"`{name}` comes from {source.description}", source)
        return [requirement]

    def _is_missing_sibling(self, name: str, source: DependencySource) -> bool:
        """Whether the source is missing because this is an unpacked source distribution.

        A workspace, or a directory beside the project, exists for its developers alone; a release names the requirement
        in its PKG-INFO (core metadata specifications), and pip finds it in an index. A repository, or a single index,
        is meant for everybody: it is not missing.
        """
        if source.kind == "directory":
            root = "" if source.value == "." else f"{source.value}/"
            if source.value in self._spec_paths or any(self.project.read(root + file) is not None for file in PROJECTS):
                return False
        elif source.kind != "absent":
            return False
        return name in required_by_pkg_info(
            self.project.read(posixpath.join(posixpath.dirname(source.file), "PKG-INFO"))
        )

    def _add_directory(self, name: str, requirement: str, source: DependencySource) -> list[str]:
        """Adds a project of the checkout and its own requirements. A project that is no package adds its requirements
        alone."""
        root = "" if source.value == "." else f"{source.value}/"
        facts = read_facts(self.project, root)
        if not facts.buildable and self._spec_paths.get(source.value) != name:
            message = f"`{name}` comes from {source.description}, where there is no project (no {', '.join(PROJECTS)})"
            self._refuse(name, message, source)
            return [requirement]
        if facts.name and normal(facts.name) != name:
            self._refuse(
                name, f"`{name}` comes from {source.description}, whose project is called `{facts.name}`", source
            )
            return [requirement]
        extras_match = re.search(r"\[([^\]]*)\]", requirement.partition(";")[0])
        extras = (
            ["", *(normal(part) for part in extras_match.group(1).split(",") if part.strip())] if extras_match else [""]
        )
        inner_lines: list[str] = []
        for extra_name in extras:
            if (source.value, extra_name) not in self._expanded:
                self._expanded.add((source.value, extra_name))
                inner_lines += self._requirements_of(facts, root, extra_name)
        if not root:
            return inner_lines if extras_match else []
        if not facts.installable and facts.buildable:
            return inner_lines
        self.chosen[name] = source.value
        return [requirement]

    def _requirements_of(self, facts: ProjectMetadata, root: str, extra_name: str) -> list[str]:
        if facts.dependencies is None:
            self.add_all(facts, root)
            return []
        if not extra_name:
            return self.to_pip_lines(facts.dependencies, facts, root=root)
        extra_names = {normal(key) for key in facts.extras}
        return (
            self.to_pip_lines(extra(facts.name, facts.extras, extra_name), facts, root=root)
            if extra_name in extra_names
            else []
        )

    def _split_source(self, text: str, root: str, file: str, line: int) -> tuple[str, DependencySource | None]:
        """Splits a line into the requirement and its source (None without one). A URL of an archive stays in the
        requirement: pip fetches it."""
        plain, options = _OPTIONS.match(text).groups()  # type: ignore[union-attr]
        if options and not is_url(plain):
            requirement, source = self._split_source(plain, root, file, line)
            return f"{requirement} {options}", source
        file, line = (file, line) if file else (f"{root}pyproject.toml", 0)
        direct = _REFERENCE.match(text)
        if direct:
            name, extras, url, marker = direct.group(1), direct.group(2) or "", direct.group(3), direct.group(4) or ""
            if is_url(url):
                return text, DependencySource(kind="written", value=url, description=url, file=file, line=line)
            source = self._classify_path(url, name, root, file, line)
            return f"{name}{extras}{' ' + marker if marker else ''}", source
        if _REPOSITORY.match(text):
            egg = re.search(r"[#&]egg=([\w.-]+)", text)
            name = egg[1] if egg else posixpath.basename(re.split(r"[@#](?![^/]*/)", text)[0]).removesuffix(".git")
            return name, self._classify_path(text, name, root, file, line)
        path = None if text.startswith("-") else _DIRECTORY.match(text)
        if (
            path
            and (text.startswith(("file:", ".", "/", "{", "$")) or "/" in re.split(r"[\[;\s]", text)[0])
            and "://" not in text
        ):
            source = self._classify_path(path.group(1), "", root, file, line)
            name = self._spec_paths.get(source.value, "") or self._project_name(source)
            if not name:
                self._refuse_path(path.group(1), source)
                return text, None
            return f"{name}{path.group(2) or ''}{' ' + path.group(3) if path.group(3) else ''}", source
        return text, None

    def _is_project(self, path: str) -> bool:
        parents = path.split("/").count("..")
        if path.startswith("/") or parents > self.depth:
            return False
        return path in self._spec_paths or any(self.project.read(f"{path}/{name}") is not None for name in PROJECTS)

    def top(self, facts: ProjectMetadata, root: str = "") -> tuple[ProjectMetadata, str]:
        """Returns the project whose indexes and bounds hold, and its root: the outermost workspace around the project
        at `root`, else that project."""
        for above in self._workspaces(root):
            return read_facts(self.project, above), above
        return facts, root

    def _project_name(self, source: DependencySource) -> str:
        """Returns the name of the project in a directory or archive; empty where it cannot be read."""
        if is_archive(source.value):
            return archive_project_name(source.value)
        if source.kind != "directory":
            return ""
        return read_facts(self.project, f"{source.value}/" if source.value != "." else "").name

    def _classify_path(self, text: str, name: str, root: str, file: str, line: int) -> DependencySource:
        """Returns the source that a path, a file: URL or a repository's URL means."""
        line = line or line_of(self.project.read(file), name or text)
        if _REPOSITORY.match(text):
            return DependencySource(
                kind="refused", value=text, description=f"the repository {text}", file=file, line=line
            )
        relative = re.sub(r"^file:(//)?", "", text.partition("#")[0])
        if text.startswith("file:"):
            from urllib.parse import unquote

            relative = unquote(relative)
        hatch = re.match(r"^/?\{root((?::parent)*)(?::uri|:real)?\}/?", relative)
        if hatch:
            relative = "./" + "../" * hatch.group(1).count("parent") + relative[hatch.end() :]
        relative = re.sub(r"^/?\$(\{PROJECT_ROOT\}|PROJECT_ROOT)/?", "./", relative)
        path = posixpath.normpath(posixpath.join(root, relative))
        path_from_file = posixpath.normpath(posixpath.join(posixpath.dirname(file), relative))
        exists = self._is_file if path.endswith(ARCHIVES) else self._is_project
        if (
            path not in self._spec_paths
            and (path_from_file in self._spec_paths or not exists(path))
            and exists(path_from_file)
        ):
            path = path_from_file  # pip resolves from its working directory, others from the file's directory
        directory_text = f"the directory {path}"
        parents = len([part for part in path.split("/") if part == ".."])
        if path.startswith("/") or parents > self.depth:
            advice = ", as every absolute path is: write ./… of what is in it" if path.startswith("/") else ""
            description = f"{path}, outside of the project{advice}"
            return DependencySource(kind="absent", value=path, description=description, file=file, line=line)
        if path.endswith(ARCHIVES):
            kind, advice = ("archive", "") if self._is_file(path) else ("refused", ", which is not there")
            return DependencySource(
                kind=kind, value=path, description=f"the archive {path}{advice}", file=file, line=line
            )
        return DependencySource(kind="directory", value=path, description=directory_text, file=file, line=line)

    def _is_file(self, path: str) -> bool:
        """Whether the project has this file, text or not."""
        if path.startswith("/") or path.split("/").count("..") > self.depth:
            return False
        try:
            return self.project.read(path) is not None
        except (
            WrongFileError,
            api.UsageError,
            api.ResolveError,
            LookupError,
        ):  # the file exists, but is no text, or may not be read
            return True

    # ---- the source of a name --------------------------------------------------------------------------------------

    def declared(self, facts: ProjectMetadata, root: str = "") -> dict[str, DependencySource]:
        """Returns name -> source, from the project's own tables, then from those of the workspaces around it."""
        sources: dict[str, DependencySource] = {}
        for prefix in self._workspaces(root):
            workspace = read_facts(self.project, prefix)
            sources |= self._declared_in(workspace, prefix)
        return sources | self._declared_in(facts, root)

    def _workspaces(self, root: str) -> Iterator[str]:
        """Yields the directories above `root` that hold a uv workspace, as prefixes ("" or "sub/"), outermost first."""
        parts = root.split("/")[:-1]
        parents = parts.count("..")
        prefixes = ["../" * count for count in range(self.depth, parents - 1, -1)]
        prefixes += ["".join(f"{part}/" for part in parts[:count]) for count in range(parents + 1, len(parts))]
        for prefix in prefixes:
            if prefix != root and table(table(read_facts(self.project, prefix).tools, "uv"), "workspace"):
                yield prefix

    def _declared_in(self, facts: ProjectMetadata, root: str) -> dict[str, DependencySource]:
        file = f"{root}pyproject.toml"
        text = self.project.read(file) if facts.tools else None
        sources: dict[str, DependencySource] = {}
        for name, value in _entries(facts.tools):
            entries = value if isinstance(value, list) else [value]
            parsed = [
                self._parse_entry(entry if isinstance(entry, dict) else {}, normal(name), root, file, text)
                for entry in entries
            ]
            valid = [source for source in parsed if source is not None]
            if not valid:
                continue
            if len({(source.kind, source.value) for source in valid}) > 1 or len(valid) < len(parsed):
                ambiguous = DependencySource(
                    kind="refused", value="", description="one of several places", file=file, line=valid[0].line
                )
                valid = [ambiguous]
            sources.setdefault(normal(name), valid[0])
        return sources

    def _parse_entry(
        self, entry: Mapping[str, Any], name: str, root: str, file: str, text: str | None
    ) -> DependencySource | None:
        """Parses one entry of uv's or Poetry's tables; returns None if it names no source."""
        line = line_of(text, name)

        def refused(description: str) -> DependencySource:
            return DependencySource(kind="refused", value=description, description=description, file=file, line=line)

        if entry.get("git"):
            return refused(f"the repository {entry['git']}")
        if entry.get("index") or str(entry.get("source", "")).lower() not in ("", "pypi"):
            index = refused(f"the index `{entry.get('index') or entry['source']}` alone")
            return replace(index, kind="locked", value="") if name in self._locked else index
        location = next((str(entry[key]) for key in ("path", "file", "url") if entry.get(key)), "")
        if not (location or entry.get("workspace")):
            return None
        if entry.get("marker") and "version" not in entry:
            return refused(f"{location or 'the workspace'} where {entry['marker']}")
        if entry.get("workspace"):
            return DependencySource(kind="workspace", value="", description="the workspace", file=file, line=line)
        if entry.get("subdirectory"):
            return refused(f"a directory of {location}")
        if location.startswith(("http://", "https://")):
            return DependencySource(kind="url", value=location, description=location, file=file, line=line)
        return self._classify_path(location, name, root, file, line)

    def _from_spec(self, name: str, position: tuple[str, int]) -> DependencySource | None:
        value = self.spec_sources.get(name)
        if value is None:
            return None
        kind = INDEX if value == INDEX else "url" if is_url(value) else "directory"
        value = posixpath.normpath(value) if kind == "directory" else value
        if kind == "directory" and is_archive(value):
            return DependencySource(
                kind="archive", value=value, description=f"the archive {value}", file="", line=position[1]
            )
        return DependencySource(kind=kind, value=value, description=f"the directory {value}", file="", line=position[1])

    def _workspace_member(self, name: str, source: DependencySource) -> DependencySource:
        """Returns the source of the workspace's member with this name, refused unless there is exactly one."""
        directories = self.projects.named(name)
        if len(directories) == 1:
            return DependencySource(
                kind="directory",
                value=directories[0],
                description=f"the directory {directories[0]}",
                file=source.file,
                line=source.line,
            )
        description = (
            "the workspace, which has no such project here" if not directories else f"one of {', '.join(directories)}"
        )
        kind = "refused" if directories else "absent"
        return DependencySource(kind=kind, value="", description=description, file=source.file, line=source.line)

    def _refuse_ambiguous(self, name: str, position: tuple[str, int], root: str) -> DependencySource | None:
        """Refuses a name that another project of the checkout or repository has, too, and for which no source says
        which one is meant. Returns None."""
        if self.spec_sources.get("*") == INDEX:
            return None
        inner = [directory for directory in self.projects.named(name) if directory != (root.rstrip("/") or ".")]
        outside = [] if inner else self.projects.outside(name)
        if not inner and not outside:
            return None
        file, line = position
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
                message=f"`{name}` is required, and {inner[0]} is called so too: which one is meant?",
                hint=f"say it in the env: `sources: {{{name}: {inner[0]}}}` for this one, "
                f"`sources: {{{name}: {INDEX}}}` for that of the index",
                file=file,
                line=line or line_of(self.project.read(file), name),
            ),
        )
        return None

    def _refuse_path(self, text: str, source: DependencySource) -> None:
        """Refuses a path or repository for which no project name is known."""
        reason = f"it is {source.description}"
        if source.kind == "directory":
            reason = f"there is no project in {source.value} (no {', '.join(PROJECTS[:-1])} or {PROJECTS[-1]})"
            if any(self.project.read(posixpath.join(source.value, file)) is not None for file in PROJECTS):
                reason = f"the project in {source.value} has a name that only its build backend can tell"
        hint = (
            "write the path of a directory of the project that has one of them, of an archive (`./DIRECTORY/FILE.whl`),"
            " or the name of a project"
        )
        if source.kind == "refused" and "repository" in source.description:
            hint = "a repository has no hash: name a release, or the URL of an archive"
        elif "outside of the project" in source.description:
            hint = (
                "a spec in a directory that both are in can have it; here, write the name of the project, and in the "
                "env an archive that it is in, `sources: {NAME: ARCHIVE}`"
            )
        self.wrong.setdefault(
            text, WrongSource(message=f"`{text}`: {reason}", hint=hint, file=source.file, line=source.line)
        )

    def refuse_bound(self) -> None:
        """Refuses the names of one index alone: for requirements that are resolved as without a lock."""
        for name, source in self.bound.items():
            self._refuse(name, f"`{name}` comes from {source.description}, and the lock file is not up to date", source)

    def _refuse(self, name: str, message: str, source: DependencySource) -> None:
        hint = (
            f"say in the env what to take: `sources: {{{name}: DIRECTORY}}` or `{{{name}: ARCHIVE}}` of the project, "
            f"`sources: {{{name}: URL}}` of an archive, "
            f"or `sources: {{{name}: {INDEX}}}` for what this machine's pip finds"
        )
        self.wrong.setdefault(name, WrongSource(message=message, hint=hint, file=source.file, line=source.line))


def _entries(tools: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yields names with their entries, from uv's sources and Poetry's dependencies and groups."""
    yield from table(table(tools, "uv"), "sources").items()
    poetry = table(tools, "poetry")
    yield from table(poetry, "dependencies").items()
    for group in table(poetry, "group").values():
        yield from table(group if isinstance(group, dict) else {}, "dependencies").items()
    yield from table(poetry, "dev-dependencies").items()


def required_by_pkg_info(metadata: str | None) -> frozenset[str]:
    """Returns the names that PKG-INFO requires without a URL; none without a PKG-INFO."""
    header = (metadata or "").partition("\n\n")[0]
    lines = re.findall(r"^Requires-Dist:[ \t]*(.+)$", header, re.MULTILINE | re.IGNORECASE)
    return frozenset(name_of(line) for line in lines if "@" not in line.partition(";")[0])
