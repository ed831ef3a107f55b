"""What a project's pom.xml files say. Pure. Texts are a stranger's: no entity is expanded, size and depth are
bounded."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

    from envtool.api import Json

Read: TypeAlias = Callable[[str], str | None]

MAX_TEXT = 4 << 20  # characters of one file
MAX_MODULES = 500
MAX_DEPTH = 100  # elements in each other
# What of a project says nothing about what its build needs.
DESCRIPTIVE = frozenset((
    "name", "description", "url", "inceptionYear", "licenses", "developers", "contributors", "scm", "issueManagement",
    "ciManagement", "mailingLists", "organization", "distributionManagement", "version", "prerequisites",
))  # fmt: skip


class WrongPomError(ValueError):
    """A pom.xml that cannot be used: `file`, and the `line` from 1."""

    def __init__(self, message: str, *, file: str, line: int = 1) -> None:
        super().__init__(message)
        self.file = file
        self.line = line


@dataclass(frozen=True, slots=True, kw_only=True)
class DeclaredRepository:
    """A repository that a pom.xml or settings.xml declares."""

    id: str
    url: str


def parse_xml(text: str, file: str) -> Element:
    """Returns the root of an XML document, with names without their namespaces. Raises WrongPomError."""
    import xml.etree.ElementTree as ET

    if len(text) > MAX_TEXT:
        raise WrongPomError(f"{file} is larger than {MAX_TEXT >> 20} MB", file=file)
    if re.search(r"<!(?:DOCTYPE|ENTITY)", text, re.IGNORECASE):
        raise WrongPomError(f"{file} declares a document type, which Maven's files do not have", file=file)
    try:
        root = ET.fromstring(text.removeprefix("\ufeff").encode())  # noqa: S314 - no document type, so no entities
    except ET.ParseError as error:
        raise WrongPomError(f"{file} is not XML: {error}", file=file, line=error.position[0]) from None
    except (ValueError, LookupError) as error:  # an encoding that nobody knows
        raise WrongPomError(f"{file} is not XML: {error}", file=file) from None
    pending = [(root, 1)]
    while pending:
        element, depth = pending.pop()
        if depth > MAX_DEPTH:
            raise WrongPomError(f"{file} has more than {MAX_DEPTH} elements in each other", file=file)
        element.tag = str(element.tag).rpartition("}")[2]
        pending += [(child, depth + 1) for child in element]
    return root


def child_text(element: Element, *path: str) -> str:
    """Returns the text of a descendant by the names on the way, or ""."""
    found: Element | None = element
    for name in path:
        found = found.find(name) if found is not None else None
    return (found.text or "").strip() if found is not None else ""


def find_poms(read: Read, directory: str = ".") -> tuple[str, ...]:
    """Returns the paths of the pom.xml files of a project: that of the directory, those of its modules (also of
    profiles), and parents in the project; at most MAX_MODULES. Raises WrongPomError."""
    pending = [posixpath.normpath(posixpath.join(directory, "pom.xml"))]
    found: dict[str, None] = {}
    while pending and len(found) < MAX_MODULES:
        path = pending.pop(0)
        if path in found or path.startswith(("../", "/")):
            continue
        text = read(path)
        if text is None:
            continue
        found[path] = None
        root, here = parse_xml(text, path), posixpath.dirname(path)
        pending += [_pom_at(here, (module.text or "").strip()) for module in root.iter("module")]
        parent = root.find("parent")
        if parent is not None:
            relative = parent.find("relativePath")
            place = "../pom.xml" if relative is None else (relative.text or "").strip()
            if place:
                pending.append(_pom_at(here, place))
    return tuple(sorted(found))


def _pom_at(directory: str, place: str) -> str:
    path = posixpath.normpath(posixpath.join(directory, place.replace("\\", "/")))
    return path if path.endswith(".xml") else posixpath.join(path, "pom.xml")


def select_poms(texts: Mapping[str, str]) -> dict[str, str]:
    """Returns the pom.xml files among the texts of a project (path -> text); the others are of `.mvn/`."""
    return {path: text for path, text in texts.items() if path.endswith(".xml") and "/.mvn/" not in f"/{path}"}


def declared_repositories(texts: Mapping[str, str]) -> tuple[DeclaredRepository, ...]:
    """Returns the repositories that pom.xml files (path -> text) declare, of plugins too, in their order. Those
    of `distributionManagement` are where releases go to: Maven does not read from them. Raises WrongPomError."""
    repositories: dict[DeclaredRepository, None] = {}
    for path, text in texts.items():
        root = parse_xml(text, path)
        for several, name in (("repositories", "repository"), ("pluginRepositories", "pluginRepository")):
            for element in (child for parent in root.iter(several) for child in parent.iter(name)):
                url = child_text(element, "url")
                if re.match(r"https?://[^\s${}]+$", url):
                    repositories[DeclaredRepository(id=child_text(element, "id"), url=url.rstrip("/"))] = None
    return tuple(repositories)


def build_question(texts: Mapping[str, str]) -> Json:
    """Returns what of pom.xml files (path -> text) decides what a build asks for: all but comments, the descriptive
    parts, and the versions of the project's own modules. A text that is not XML counts as it is."""
    roots: dict[str, Element] = {}
    question: dict[str, Json] = {}
    for path, text in sorted(texts.items()):
        try:
            roots[path] = parse_xml(text, path)
        except WrongPomError:
            question[path] = text
    own = {(group, child_text(root, "artifactId")) for root in roots.values() for group in _groups(root)}
    for path, root in roots.items():
        question[path] = _without_own_versions(root, own, top=True)
    return question


def _groups(root: Element) -> set[str]:
    return {child_text(root, "groupId") or child_text(root, "parent", "groupId"), "${project.groupId}"}


def _without_own_versions(element: Element, own: set[tuple[str, str]], *, top: bool = False) -> Json:
    is_own = (child_text(element, "groupId"), child_text(element, "artifactId")) in own
    children = [
        _without_own_versions(child, own)
        for child in element
        if not (top and child.tag in DESCRIPTIVE) and not (is_own and child.tag == "version")
    ]
    return [element.tag, (element.text or "").strip(), children]


def source_directories(paths: Iterable[str]) -> list[str]:
    """Returns the directories `src/X/Y` of modules in which files are: a first test needs what runs tests."""
    places = (re.match(r"((?:[^/]+/)*?src/[^/]+/[^/]+)/", path) for path in paths)
    return sorted({place[1] for place in places if place})
