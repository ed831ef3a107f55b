"""A version for projects whose build backend asks version control: builds see the project's files, not its history.

The tag that `git describe` would name is asked for when pins are made, by the project's own rule: which tags count, and
what of a tag is the version. The pins keep it. A source distribution's PKG-INFO comes first: such backends read it.
"""

from __future__ import annotations

import ast
import fnmatch
import re
import shlex
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from envtool_python.requirements import name_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from envtool_python.metadata import ProjectMetadata
    from envtool_python.resolver import Resolver

FALLBACK = "0"
_TAGS = (  # of projects that do not say which: the first that any tag fits
    re.compile(r"^(?:[\w-]+-)?[vV]?(\d[^+/]*)(?:\+.*)?$"),
    re.compile(r"^(?:.*[-_/])?[vV]?(\d+(?:\.\d+)+[^+]*)(?:\+.*)?$"),
)
_PREFIXED = re.compile(r"^v(\d[^+/]*)(?:\+.*)?$")
_VARIABLES = (
    "SETUPTOOLS_SCM_PRETEND_VERSION", "PDM_BUILD_SCM_VERSION", "PBR_VERSION", "UV_DYNAMIC_VERSIONING_BYPASS",
    "POETRY_DYNAMIC_VERSIONING_BYPASS", "ENVTOOL_VERSIONINGIT",  # versioningit has none: this is read by tagged.py
)  # fmt: skip
_DUNAMAI = {"poetry-dynamic-versioning", "uv-dynamic-versioning"}
_KEYS = ("tag_regex", "git_describe_command", "fallback_version")  # of setuptools-scm, in setup.py


@dataclass(frozen=True, slots=True, kw_only=True)
class TagRule:
    """Which tags are versions: globs as of `git describe --match`, and a regular expression that finds the version.

    The expression is the project's, and may take for ever: only containers try it (`Resolver.matched`).
    """

    matches: tuple[str, ...] = ()
    excludes: tuple[str, ...] = ()
    regex: str = ""
    anchored: bool = True  # it has to fit from the tag's beginning
    prefixed: bool = False  # tags without a leading `v` are none
    fallback: str = ""  # the version where no tag is one

    def admits(self, tag: str) -> bool:
        """Whether the globs let a tag through."""
        found = not self.matches or any(fnmatch.fnmatchcase(tag, each) for each in self.matches)
        return found and not any(fnmatch.fnmatchcase(tag, each) for each in self.excludes)


def pretend_version_variables(
    resolver: Resolver, facts: ProjectMetadata, prefix: str, said: str | None
) -> dict[str, str]:
    """Variables that tell such a backend the version; none for other projects. `said` is the spec's. Raises
    ResolveError."""
    if not (facts.versioned or said):
        return {}
    return dict.fromkeys(_VARIABLES, said or _version(resolver, tag_rule(facts), prefix))


def _version(resolver: Resolver, chosen: TagRule, prefix: str) -> str:
    tags = [tag for tag in resolver.site.tags(prefix) if chosen.admits(tag)]
    if chosen.regex:
        said = resolver.matched(chosen.regex, tags, anchored=chosen.anchored)
        found = {tag: version for tag, text in said.items() if (version := public_version(text))}
    else:
        tried = (_plain(pattern, tags) for pattern in ((_PREFIXED,) * chosen.prefixed + _TAGS))
        found = next((each for each in tried if each), {})
    nearest = resolver.site.described(prefix, [*found]) if found else ""
    version = found[nearest] if nearest else chosen.fallback or FALLBACK
    return version if "+" in version else f"{version}+envtool"


def _plain(pattern: re.Pattern[str], tags: Sequence[str]) -> dict[str, str]:
    said = ((tag, pattern.match(tag)) for tag in tags if len(tag) < 200)
    return {tag: version for tag, match in said if match and (version := public_version(match.group(1)))}


def public_version(text: str) -> str:
    """A version (PEP 440) without its local part, in its normal form; empty for what is none."""
    from packaging.version import InvalidVersion, Version

    try:
        return Version(text[:200]).public
    except InvalidVersion:
        return ""


# ---- what the project says -------------------------------------------------------------------------------------------


def tag_rule(facts: ProjectMetadata) -> TagRule:
    """The project's rule, as setuptools-scm, hatch-vcs, pdm, versioningit and those that use dunamai have it."""
    tools = facts.tools
    hatch, pdm, it = _at(tools, "hatch", "version"), _at(tools, "pdm", "version"), _at(tools, "versioningit")
    dunamai = _at(tools, "poetry-dynamic-versioning") or _at(tools, "uv-dynamic-versioning")
    scm = [dict(_in_setup(facts.texts)), _at(tools, "setuptools_scm"), _at(hatch, "raw-options")]
    commands = [table.get("git_describe_command") for table in scm]
    commands += [_at(table, "scm", "git").get("describe_command") for table in scm]
    anchored = _first([*(table.get("tag_regex") for table in scm), hatch.get("tag-pattern"), pdm.get("tag_regex")])
    anywhere = _first([_at(it, "tag2version").get("regex"), _versioningit_regex(it), _dunamai(dunamai)])
    fallbacks = [*(table.get("fallback_version") for table in scm), hatch.get("fallback-version")]
    fallbacks += [pdm.get("fallback_version"), it.get("default-version")]
    fallback = _first(fallbacks)
    return TagRule(
        matches=(
            *_describe_match_globs(commands),
            *_strings(_at(it, "vcs").get("match")),
            *_strings([pdm.get("tag_filter")]),
        ),
        excludes=_strings(_at(it, "vcs").get("exclude")),
        regex=anchored or anywhere,
        anchored=bool(anchored),
        prefixed=bool(_DUNAMAI & {name_of(line) for line in facts.build_requires}) and _dunamai(dunamai) == "",
        fallback=fallback if public_version(fallback) else "",
    )


def _first(values: Sequence[Any]) -> str:
    return next((value for value in values if isinstance(value, str) and value), "")


def _versioningit_regex(it: Mapping[str, Any]) -> str:
    """What versioningit takes off a tag, as an expression."""
    before, after = (str(_at(it, "tag2version").get(key, "")) for key in ("rmprefix", "rmsuffix"))
    return f"^(?:{re.escape(before)})?(.*?)(?:{re.escape(after)})?$" if before or after else ""


def _dunamai(table: Mapping[str, Any]) -> str:
    pattern = str(table.get("pattern", "default"))
    prefix = str(table.get("pattern-prefix", ""))
    if pattern.startswith("default"):
        return f"^{prefix}v?(\\d.*)$" if prefix or pattern != "default" else ""
    return f"^{prefix}{pattern.removeprefix('^')}" if prefix else pattern


def _describe_match_globs(commands: Sequence[Any]) -> Iterator[str]:
    """The globs of `--match` in the commands that a project has in the place of `git describe`."""
    for command in commands:
        try:
            words = shlex.split(command) if isinstance(command, str) else _strings(command)
        except ValueError:
            continue
        yield from (glob for word, glob in pairwise(words) if word == "--match")
        yield from (word.removeprefix("--match=") for word in words if word.startswith("--match="))


def _in_setup(texts: Sequence[str]) -> Iterator[tuple[str, Any]]:
    """What setup.py says in `use_scm_version={…}` or a dictionary for it, where that is written out."""
    for text in texts:
        if not any(key in text for key in _KEYS):
            continue
        try:
            nodes = [*ast.walk(ast.parse(text))]
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            continue
        for node in nodes:
            pairs = zip(node.keys, node.values, strict=True) if isinstance(node, ast.Dict) else ()
            for key, value in pairs:
                if isinstance(key, ast.Constant) and key.value in _KEYS:
                    words = value.elts if isinstance(value, ast.List | ast.Tuple) else [value]
                    plain = [word.value for word in words if isinstance(word, ast.Constant)]
                    yield str(key.value), plain if isinstance(value, ast.List | ast.Tuple) else next(iter(plain), None)


def _at(table: Mapping[str, Any], *keys: str) -> Mapping[str, Any]:
    for key in keys:
        found = table.get(key, {})
        table = found if isinstance(found, dict) else {}
    return table


def _strings(value: Any) -> tuple[str, ...]:
    return tuple(each for each in value if isinstance(each, str)) if isinstance(value, list | tuple) else ()
