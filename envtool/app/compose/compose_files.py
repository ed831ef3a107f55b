"""Reads compose files: YAML by compose's rules, variables, `include`, `extends`, and several files over each other."""

from __future__ import annotations

import posixpath
from typing import TYPE_CHECKING

from envtool.app.compose import compose_values as values
from envtool.app.compose.dotenv import DotenvError, parse_dotenv
from envtool.app.compose.interpolation import InterpolationError, interpolate
from envtool.app.compose.merging import OVERRIDE, RESET, merge, without_resets
from envtool.errors import UsageError
from envtool.spec.node import MAX_BYTES, MAX_NODES, YamlNode, YamlReader, make_source, parse
from envtool.spec.scalar_types import resolve_project_path

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from envtool.app.compose.interpolation import UnsetVariable
    from envtool.app.compose.notes import ImportState
    from envtool.spec.node import Problems, SpecFile

MAX_FILES = 50  # of one import
MAX_EXTENDS = 50  # services, each of which extends the next
MAX_EXTENDED = 2 * MAX_NODES  # values of all services together, with those that they extend
SECTIONS = ("services", "volumes", "networks", "configs", "secrets", "models")


class ComposeReader(YamlReader):
    """Reads YAML as compose does: `<<` merges mappings, an anchor may occur twice, `!reset` and `!override` are tags,
    and what is a number or a truth value to YAML 1.1 alone is text. `tags` has the tags of nodes by their id()."""

    def __init__(self, source: SpecFile, problems: Problems) -> None:
        super().__init__(source, problems)
        self.tags: dict[int, str] = {}
        self.merged: dict[int, set[str]] = {}  # id() of a mapping -> its keys that come from `<<`

    def anchor(self, event: object) -> None:
        """An anchor that occurs twice has its last value."""

    def surprise(self, node: YamlNode, message: str, hint: str) -> None:
        """Compose reads YAML 1.2 here."""

    def refuse_tag(self, node: YamlNode, tag: str) -> None:
        """Keeps the tags of compose."""
        if tag in (RESET, OVERRIDE):
            self.tags[id(node)] = tag
        else:
            super().refuse_tag(node, tag)

    def merge(self, mapping: YamlNode, key: YamlNode, value: YamlNode) -> None:
        """Adds the keys of a mapping, or of each mapping of a list, that the mapping has not."""
        merged = self.merged.setdefault(id(mapping), set())
        for source in value.items() if isinstance(value.value, list) else [value]:
            if not isinstance(source.value, dict):
                self.problems.add(key, "`<<` merges a mapping, or a list of mappings", code="type")
                return
            for name, child in source.value.items():
                if name not in mapping.mapping() and mapping.keys is not None:
                    mapping.mapping()[name] = child
                    mapping.keys[name] = source.key(name)
                    merged.add(name)

    def is_replaceable(self, mapping: YamlNode, name: str) -> bool:
        """A key beside `<<` takes the place of the merged one."""
        merged = self.merged.get(id(mapping), set())
        if name not in merged:
            return False
        merged.discard(name)
        return True


class ComposeFiles:
    """The compose files of one import, each read once."""

    def __init__(self, state: ImportState) -> None:
        self.state = state
        self.tags: dict[int, str] = {}
        self.files: dict[tuple[str, str], YamlNode] = {}  # by path and directory
        self.kept: list[YamlReader] = []  # keeps their nodes alive: `tags` has ids of nodes
        self.completed = 0  # files, each as often as it is included
        self.extended = 0  # values of services that extend others

    def read_all(self, paths: Sequence[str]) -> YamlNode:
        """Returns the files, each merged over those before; their paths are relative to the project. Relative paths in
        them are relative to the first. Raises SpecError, UsageError."""
        directory = posixpath.dirname(paths[0]) or "."
        whole: YamlNode | None = None
        for path in paths:
            root = self._complete(path, directory, None, ())
            whole = root if whole is None else merge(whole, root, self.tags) or root
        assert whole is not None
        self.state.problems.raise_any()
        return without_resets(whole, self.tags, {}) if RESET in self.tags.values() else whole

    def _complete(self, path: str, directory: str, at: YamlNode | None, above: tuple[str, ...]) -> YamlNode:
        """Returns one file with what it includes, and with `extends` resolved. `above`: the files that include it."""
        root = self._load(path, directory, at)
        self.completed += 1
        if self.completed > MAX_FILES:
            raise UsageError(f"more than {MAX_FILES} compose files", code="compose-files")
        services = values.read_mapping(self.state, root.get("services"), "services")
        extended = {name: self._extend(path, directory, name, node, ()) for name, node in services.items()}
        sections: dict[str, YamlNode] = dict(root.mapping())
        if (node := root.get("services")) is not None and services:
            sections["services"] = YamlNode(
                extended, node.source, node.line, node.column, node.width, keys=node.keys, size=node.size
            )
        root = YamlNode(sections, root.source, root.line, root.column, root.width, keys=root.keys, size=root.size)
        for member in _members(root.get("include")):
            root = self._include(root, member, directory, (*above, path))
        return root

    def _load(self, path: str, directory: str, at: YamlNode | None) -> YamlNode:
        """Returns the root of a file, with its variables replaced. Raises UsageError for a file that the caller named
        and that does not exist; SpecError for a file that is not a compose file."""
        if (path, directory) in self.files:
            return self.files[path, directory]
        state = self.state
        content = state.project.read_bytes(path)
        if content is None:
            if at is not None:
                state.problems.add(at, f"no file `{path}` in the project", code="compose")
                state.problems.raise_any()
            raise UsageError(f"no file `{path}`", code="no-file")
        text = decode(state, content, path)
        source = make_source(text, path, order=len(self.files), directory=directory)
        reader = ComposeReader(source, state.problems)
        node = parse(text, source, state.problems, reader)
        if node is None or not isinstance(node.value, dict):
            if not state.problems.noted:
                start = YamlNode(None, source, 1, 1, 0)
                state.problems.add(start, f"`{path}` is no compose file: it has no keys", code="type")
            state.problems.raise_any()
        assert node is not None
        self.kept.append(reader)
        self.tags |= reader.tags
        self.files[path, directory] = root = self._replace_variables(node, {})
        return root

    def _replace_variables(self, node: YamlNode, done: dict[int, YamlNode]) -> YamlNode:
        """Returns a node with the variables in its texts replaced. A node that an alias repeats is replaced once."""
        if id(node) in done:
            return done[id(node)]
        new = node
        if isinstance(node.value, dict):
            entries = {name: self._replace_variables(child, done) for name, child in node.value.items()}
            new = YamlNode(entries, node.source, node.line, node.column, node.width, keys=node.keys, size=node.size)
        elif isinstance(node.value, list):
            members = [self._replace_variables(child, done) for child in node.value]
            new = YamlNode(members, node.source, node.line, node.column, node.width, size=node.size)
        elif isinstance(node.value, str) and "$" in node.value:
            new = YamlNode(self._text(node), node.source, node.line, node.column, node.width)
        if tag := self.tags.get(id(node)):
            self.tags[id(new)] = tag
        done[id(node)] = new
        return new

    def _text(self, node: YamlNode) -> str:
        try:
            return interpolate(
                str(node.value), self.state.look_up, lambda variable: note_unset(self.state, node, variable)
            )
        except InterpolationError as error:
            self.state.problems.add(node, error.message, code="compose", hint="`$$` is a dollar sign")
            return ""

    def _extend(
        self, path: str, directory: str, name: str, node: YamlNode, chain: tuple[tuple[str, str], ...]
    ) -> YamlNode:
        """Returns a service merged over the one that it extends. Notes a service that extends itself, or one that does
        not exist."""
        extends = node.get("extends")
        if extends is None or not isinstance(node.value, dict):
            return node
        own = {key: value for key, value in node.value.items() if key != "extends"}
        rest = YamlNode(own, node.source, node.line, node.column, node.width, keys=node.keys, size=node.size)
        is_name = isinstance(extends.value, str)
        target = values.read_text(self.state, extends if is_name else extends.get("service"), "extends")
        file = "" if is_name else values.read_text(self.state, extends.get("file"), "extends: file")
        other = resolve_project_path(file, directory) if file else path
        if other is None:
            hint = "copy it into the project"
            self.state.problems.add(extends, f"`{file}` is not in the project", code="path", hint=hint)
            return rest
        here = (other, target)
        if here in chain or len(chain) >= MAX_EXTENDS:
            self.state.problems.add(extends, f"service `{name}` extends itself", code="cycle")
            return rest
        other_directory = posixpath.dirname(other) or "." if file else directory
        root = self._load(other, other_directory, extends) if file else self.files[path, directory]
        services = values.read_mapping(self.state, root.get("services"), "services")
        if target not in services:
            hint = self.state.problems.nearest_hint(target, services)
            self.state.problems.add(extends, f"no service `{target}` to extend", code="compose", hint=hint)
            return rest
        base = self._extend(other, other_directory, target, services[target], (*chain, (path, name), here))
        self.extended += base.size + rest.size
        if self.extended > MAX_EXTENDED:
            message = f"more than {MAX_EXTENDED:,} values with those of `extends`"
            self.state.problems.add(extends, message, code="limit")
            self.state.problems.raise_any()
        return merge(base, rest, self.tags) or rest

    def _include(self, root: YamlNode, member: YamlNode, directory: str, above: tuple[str, ...]) -> YamlNode:
        """Returns a file with the services and other names of one that it includes. Notes a name that both have."""
        paths = member.get("path") if isinstance(member.value, dict) else member
        for node, path in values.read_texts(self.state, paths, "include"):
            inner = resolve_project_path(path, directory)
            if inner is None:
                message = f"`{path}` is not in the project"
                self.state.problems.add(node, message, code="path", hint="copy it into the project")
                continue
            if inner in above:
                self.state.problems.add(node, f"`{path}` includes itself", code="cycle")
                continue
            project_directory = values.read_text(self.state, member.get("project_directory"), "project_directory")
            inner_directory = resolve_project_path(project_directory or posixpath.dirname(path) or ".", directory)
            included = self._complete(inner, inner_directory or ".", node, above)
            root = self._add_sections(root, included, node)
        return root

    def _add_sections(self, root: YamlNode, included: YamlNode, at: YamlNode) -> YamlNode:
        sections = dict(root.mapping())
        for section in SECTIONS:
            own = values.read_mapping(self.state, root.get(section), section)
            added = values.read_mapping(self.state, included.get(section), section)
            if twice := [name for name in added if name in own and section == "services"]:
                self.state.problems.add(at, f"service `{twice[0]}` is in both files", code="duplicate")
            if added:
                keys = {**(getattr(included.get(section), "keys", None) or {}), **(self._keys(root, section))}
                node = root.get(section) or included.mapping()[section]
                sections[section] = YamlNode(
                    {**added, **own}, node.source, node.line, node.column, node.width, keys=keys, size=node.size
                )
        return YamlNode(sections, root.source, root.line, root.column, root.width, keys=root.keys, size=root.size)

    @staticmethod
    def _keys(root: YamlNode, section: str) -> Mapping[str, YamlNode]:
        node = root.get(section)
        return (node.keys if node is not None else None) or {}


def _members(node: YamlNode | None) -> list[YamlNode]:
    if node is None or node.value is None:
        return []
    return node.value if isinstance(node.value, list) else [node]


def decode(state: ImportState, content: bytes, path: str) -> str:
    """Returns the text of a file. Raises SpecError, with the place, where it is not UTF-8."""
    try:
        return content[: MAX_BYTES * 4 + 1].decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = content[: error.start].decode(errors="replace")
        source = make_source(before, path)
        node = YamlNode(None, source, before.count("\n") + 1, len(before.rpartition("\n")[2]) + 1, 0)
        message = f"byte 0x{content[error.start]:02x} is no UTF-8"
        state.problems.add(node, message, code="compose", hint="save the file as UTF-8")
        state.problems.raise_any()
        raise


def note_unset(state: ImportState, node: YamlNode, variable: UnsetVariable) -> None:
    """Notes a variable that has no value."""
    if variable.name == "PWD":
        return
    reason = f" (compose stops here: {variable.reason or 'it is required'})" if variable.reason is not None else ""
    hint = f"import again with `--set {variable.name}=VALUE`, or write the value into the spec"
    state.note(node, f"${variable.name}", "changed", f"`{variable.name}` has no value{reason}: empty", hint)


def read_dotenv(
    state: ImportState, path: str, at: YamlNode | None = None, *, raw: bool = False
) -> Mapping[str, str | None]:
    """Returns the variables of a file of the project. Notes a wrong line as an error, with its place."""
    content = state.project.read_bytes(path)
    if content is None:
        return {}
    text = decode(state, content, path)
    source = make_source(text, path, order=MAX_FILES + 1)

    def unset(variable: UnsetVariable) -> None:
        note_unset(state, at or YamlNode(None, source, 1, 1, 0), variable)

    try:
        return parse_dotenv(text, state.look_up, unset, raw=raw)
    except DotenvError as error:
        state.problems.add(YamlNode(None, source, error.line, 1, 1), error.message, code="compose")
        return {}
