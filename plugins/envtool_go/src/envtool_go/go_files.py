"""go.mod, go.work and go.sum -> the modules that a project needs. Pure. The formats: https://go.dev/ref/mod."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

# The elements of a module's path (golang.org/x/mod/module, CheckPath): letters, digits and a little punctuation, no dot
# at an end, so that no path leads anywhere else.
_ELEMENT = r"(?!\.)[A-Za-z0-9_.~-]{1,100}(?<!\.)"
_PATH = re.compile(rf"(?!-){_ELEMENT}(?:/{_ELEMENT}){{0,30}}", re.ASCII)
_VERSION = re.compile(r"v\d{1,9}\.\d{1,9}\.\d{1,20}(?:-[0-9A-Za-z.-]{1,128})?(?:\+[0-9A-Za-z.-]{1,64})?", re.ASCII)
_SUM = re.compile(r"h1:[A-Za-z0-9+/]{43}=", re.ASCII)
_TOKEN = re.compile(r'"(?:[^"\\\n]|\\.)*"|`[^`\n]*`|//.*|=>|[()]|[^\s()"`]+')
_BLOCKS = ("require", "replace", "exclude", "retract", "use", "tool", "godebug", "ignore")
PRUNED = 17  # from `go 1.17` on, go.mod names every module that provides a package


class GoFileError(ValueError):
    """A go.mod, go.work or go.sum that cannot be used; `line` counts from 1."""

    def __init__(self, message: str, *, file: str, line: int = 1) -> None:
        super().__init__(message)
        self.file = file
        self.line = line


@dataclass(frozen=True, slots=True, order=True)
class ModuleVersion:
    """A module at a version: ("golang.org/x/text", "v0.14.0")."""

    path: str
    version: str


@dataclass(frozen=True, slots=True, kw_only=True)
class GoFile:
    """A go.mod or go.work. `replaced`: module, with the version or "" for all -> the module in its place, or None for a
    directory."""

    module: str = ""
    minor: int = 0  # 21 for `go 1.21.3`; 0: it says nothing
    requires: tuple[ModuleVersion, ...] = ()
    replaced: Mapping[ModuleVersion, ModuleVersion | None]
    uses: tuple[str, ...] = ()  # directories of the modules of a workspace, relative to it


@dataclass(frozen=True, slots=True, kw_only=True)
class NeededModules:
    """What a project needs of other modules, each with its `h1:` hash: their archives, and the go.mod of more."""

    archives: Mapping[ModuleVersion, str]
    manifests: Mapping[ModuleVersion, str]


def parse_go_file(text: str, file: str) -> GoFile:
    """Parses the text of a go.mod or go.work. Raises GoFileError."""
    module, minor = "", 0
    requires: list[ModuleVersion] = []
    uses: list[str] = []
    replaced: dict[ModuleVersion, ModuleVersion | None] = {}
    for line, words in _directives(text, file):
        verb, arguments = words[0], words[1:]
        if verb == "module" and len(arguments) == 1:
            module = arguments[0]
        elif verb == "go" and len(arguments) == 1:
            version = re.match(r"1\.(\d{1,4})(?:\D|$)", arguments[0])
            if not version:
                raise GoFileError(f"`go {arguments[0][:40]}` is no version of Go", file=file, line=line)
            minor = int(version[1])
        elif verb == "require" and len(arguments) == 2:
            requires.append(_module(arguments, file, line))
        elif verb == "use" and len(arguments) == 1:
            uses.append(arguments[0])
        elif verb == "replace" and "=>" in arguments:
            old, new = arguments[: arguments.index("=>")], arguments[arguments.index("=>") + 1 :]
            if len(old) not in (1, 2) or len(new) not in (1, 2):
                raise GoFileError("a `replace` that is not complete", file=file, line=line)
            key = _module(old, file, line) if len(old) == 2 else ModuleVersion(_path(old[0], file, line), "")
            replaced[key] = _module(new, file, line) if len(new) == 2 else None
        elif verb in ("module", "go", "require", "use", "replace"):
            raise GoFileError(f"`{' '.join(words)[:60]}` is not complete", file=file, line=line)
    return GoFile(module=module, minor=minor, requires=tuple(requires), replaced=replaced, uses=tuple(uses))


def wanted_releases(text: str, file: str) -> Mapping[str, tuple[str, int]]:
    """Returns the releases of Go that a go.mod or go.work names, as in "1.22.5" or "1.21": the verb of the line, `go`
    or `toolchain`, -> release and line. Raises GoFileError."""
    named: dict[str, tuple[str, int]] = {}
    for line, words in _directives(text, file):
        if words[0] in ("go", "toolchain") and len(words) == 2 and words[1] != "default":
            version = re.fullmatch(r"(?:go)?(1\.\d{1,4}(?:\.\d{1,4})?(?:(?:rc|beta)\d{1,4})?)(?:-.*)?", words[1])
            if not version:
                raise GoFileError(f"`{' '.join(words)[:60]}` names no version of Go", file=file, line=line)
            named[words[0]] = version[1], line
    return named


def _directives(text: str, file: str) -> Iterator[tuple[int, list[str]]]:
    """Yields the line number and the words of each directive; a line of a block has the verb of its block."""
    block = ""
    for line, content in enumerate(text.removeprefix("\ufeff").splitlines(), 1):
        tokens = [token for token in _TOKEN.findall(content) if not token.startswith("//")]
        words = [_unquote(token, file, line) for token in tokens]
        if not words:
            continue
        if block:
            if words == [")"]:
                block = ""
            else:
                yield line, [block, *words]
        elif len(words) == 2 and words[1] == "(" and words[0] in _BLOCKS:
            block = words[0]
        else:
            yield line, words
    if block:
        raise GoFileError(f"`{block} (` has no end", file=file, line=max(text.count("\n"), 1))


def _unquote(token: str, file: str, line: int) -> str:
    if token[0] == "`":
        return token[1:-1]
    if token[0] != '"':
        return token
    if "\\" in token:
        raise GoFileError("a quoted word with an escape is not supported", file=file, line=line)
    return token[1:-1]


def _path(word: str, file: str, line: int) -> str:
    if not _PATH.fullmatch(word):
        raise GoFileError(f"`{word[:80]}` is no path of a module", file=file, line=line)
    return word


def _module(words: list[str], file: str, line: int) -> ModuleVersion:
    if not _VERSION.fullmatch(words[1]):
        raise GoFileError(f"`{words[1][:80]}` is no version of a module", file=file, line=line)
    return ModuleVersion(_path(words[0], file, line), words[1])


def parse_sums(text: str, file: str) -> tuple[dict[ModuleVersion, str], dict[ModuleVersion, str]]:
    """Returns the `h1:` hashes of a go.sum: of archives, and of go.mod files. Leaves out other algorithms, as Go does.
    Raises GoFileError, also for two hashes of one module."""
    archives: dict[ModuleVersion, str] = {}
    manifests: dict[ModuleVersion, str] = {}
    for line, content in enumerate(text.splitlines(), 1):
        words = content.split()
        if not words:
            continue
        if len(words) != 3:
            raise GoFileError("a line has no module, version and hash", file=file, line=line)
        if not words[2].startswith("h1:"):
            continue
        if not _SUM.fullmatch(words[2]):
            raise GoFileError(f"`{words[2][:60]}` is no h1: hash", file=file, line=line)
        hashes = manifests if words[1].endswith("/go.mod") else archives
        module = _module([words[0], words[1].removesuffix("/go.mod")], file, line)
        if hashes.setdefault(module, words[2]) != words[2]:
            raise GoFileError(f"two hashes of {module.path} {module.version}", file=file, line=line)
    return archives, manifests


def needed_modules(files: Iterable[GoFile], sums: Iterable[tuple[str, str]]) -> NeededModules:
    """Returns what a project of these go.mod files (and its go.work) needs. `sums` are texts and names of its go.sum
    and go.work.sum files.

    go.sum keeps hashes of versions that are not used any more. From Go 1.17 on, every archive that a build or a test
    can need is of a module that go.mod requires; before, and with go.work.sum, all archives in go.sum may be needed.
    Raises GoFileError.
    """
    files = tuple(files)
    archives: dict[ModuleVersion, str] = {}
    manifests: dict[ModuleVersion, str] = {}
    kept: dict[ModuleVersion, str] = {}
    for text, name in sums:
        some_archives, some_manifests = parse_sums(text, name)
        for known, more in ((archives, some_archives), (manifests, some_manifests)):
            for module, value in more.items():
                if known.setdefault(module, value) != value:
                    raise GoFileError(
                        f"{name}: another hash of {module.path} {module.version} than elsewhere", file=name
                    )
        if name.endswith("go.work.sum"):
            kept |= some_archives
    if all(file.minor >= PRUNED for file in files if file.module):
        replaced = {key: new for file in files for key, new in file.replaced.items()}
        required = {_replace(module, replaced) for file in files for module in file.requires}
        archives = kept | {module: value for module, value in archives.items() if module in required}
    return NeededModules(archives=dict(sorted(archives.items())), manifests=dict(sorted(manifests.items())))


def _replace(module: ModuleVersion, replaced: Mapping[ModuleVersion, ModuleVersion | None]) -> ModuleVersion | None:
    for key in (module, ModuleVersion(module.path, "")):
        if key in replaced:
            return replaced[key]
    return module


def missing_sums(files: Iterable[GoFile], archives: Mapping[ModuleVersion, str]) -> list[ModuleVersion]:
    """Returns the required modules of which no version has a hash, though no directory replaces them."""
    files = tuple(files)
    replaced = {key: new for file in files for key, new in file.replaced.items()}
    required = {_replace(module, replaced) for file in files for module in file.requires}
    known = {module.path for module in archives}
    return sorted(module for module in required if module is not None and module.path not in known)


def escaped(text: str) -> str:
    """Returns a path or version as proxies and the module cache write it: `!` and a small letter for a capital one."""
    return re.sub(r"[A-Z]", lambda match: f"!{match[0].lower()}", text)


def used_directory(directory: str, use: str) -> str:
    """Returns the directory that a `use` of a go.work in `directory` means, relative to the project."""
    return posixpath.normpath(posixpath.join(directory, use))
