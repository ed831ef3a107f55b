"""A version for projects whose build backend asks version control: builds see the project's files, not its history.

The version comes from the tag that `git describe` would name, by the project's own rule: which tags count, and which
part of a tag is the version. It is found while the pins are resolved, and the pins keep it. A source distribution's
PKG-INFO takes precedence: such backends read it.
"""

from __future__ import annotations

import ast
import fnmatch
import re
import shlex
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from envtool_python.decode import parse_python
from envtool_python.requirements import name_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from envtool_python.metadata import ProjectMetadata
    from envtool_python.resolver import Resolver

FALLBACK = "0.0.0"
_TAGS = (  # for projects without a rule: the first pattern that a tag matches
    re.compile(r"^(?:[\w-]+-)?[vV]?(\d[^+/]*)(?:\+.*)?$"),
    re.compile(r"^(?:.*[-_/])?[vV]?(\d+(?:\.\d+)+[^+]*)(?:\+.*)?$"),
)
_PREFIXED = re.compile(r"^v(\d[^+/]*)(?:\+.*)?$")
_VARIABLES = (
    "SETUPTOOLS_SCM_PRETEND_VERSION", "PDM_BUILD_SCM_VERSION", "PBR_VERSION", "UV_DYNAMIC_VERSIONING_BYPASS",
    "POETRY_DYNAMIC_VERSIONING_BYPASS", "ENVTOOL_VERSIONINGIT",  # tagged.py reads the last one for versioningit
)  # fmt: skip
_DUNAMAI = {"poetry-dynamic-versioning", "uv-dynamic-versioning"}
_KEYS = ("tag_regex", "git_describe_command", "fallback_version")  # keys of setuptools-scm in setup.py


@dataclass(frozen=True, slots=True, kw_only=True)
class TagRule:
    """Which tags are versions: globs as in `git describe --match`, and a regular expression that finds the version.

    The expression is the project's and may never end: only containers evaluate it (`Resolver.match_tags`).
    """

    matches: tuple[str, ...] = ()
    excludes: tuple[str, ...] = ()
    regex: str = ""
    anchored: bool = True  # the expression must match from the tag's beginning
    prefixed: bool = False  # only tags with a leading `v` are versions
    fallback: str = ""  # the version if no tag is one

    def admits(self, tag: str) -> bool:
        """Whether the globs admit a tag."""
        included = not self.matches or any(fnmatch.fnmatchcase(tag, glob) for glob in self.matches)
        return included and not any(fnmatch.fnmatchcase(tag, glob) for glob in self.excludes)


def pretend_version_variables(
    resolver: Resolver, facts: ProjectMetadata, prefix: str, spec_version: str | None
) -> dict[str, str]:
    """Returns variables from which such a build backend reads the version; none for other projects. `spec_version` is
    the version in the spec. Raises ResolveError."""
    if not (facts.versioned or spec_version):
        return {}
    return dict.fromkeys(_VARIABLES, spec_version or _version(resolver, tag_rule(facts), prefix))


def _version(resolver: Resolver, rule: TagRule, prefix: str) -> str:
    tags = [tag for tag in resolver.site.tags(prefix) if rule.admits(tag)]
    if rule.regex:
        texts = resolver.match_tags(rule.regex, tags, anchored=rule.anchored)
        versions = {tag: version for tag, text in texts.items() if (version := public_version(text))}
    else:
        attempts = (_match_plain(pattern, tags) for pattern in ((_PREFIXED,) * rule.prefixed + _TAGS))
        versions = next((attempt for attempt in attempts if attempt), {})
    nearest = resolver.site.described(prefix, [*versions]) if versions else ""
    version = versions[nearest] if nearest else rule.fallback or FALLBACK
    return mark_as_ours(version)


def mark_as_ours(version: str) -> str:
    """Returns a version that no release has: `26.1.0.post0+envtool`. `.post0` keeps the numbers of a release apart from
    what is ours, as in the versions that setuptools-scm makes, since projects split their version at its dots."""
    if "+" in version:
        return version
    return f"{version}.post0+envtool" if re.fullmatch(r"[\d.!]+", version) else f"{version}+envtool"


def _match_plain(pattern: re.Pattern[str], tags: Sequence[str]) -> dict[str, str]:
    matches = ((tag, pattern.match(tag)) for tag in tags if len(tag) < 200)
    return {tag: version for tag, match in matches if match and (version := public_version(match.group(1)))}


def public_version(text: str) -> str:
    """Returns a version (PEP 440) in normal form without its local part; empty if the text is no version."""
    from packaging.version import Version

    try:
        return Version(text[:200]).public
    except ValueError:
        return ""


# ---- the project's rule ---------------------------------------------------------------------------------------------


def tag_rule(facts: ProjectMetadata) -> TagRule:
    """Returns the project's rule, from the settings of setuptools-scm, hatch-vcs, pdm, versioningit or a tool that uses
    dunamai."""
    tools = facts.tools
    hatch, pdm, versioningit = (
        _table_at(tools, "hatch", "version"),
        _table_at(tools, "pdm", "version"),
        _table_at(tools, "versioningit"),
    )
    dunamai = _table_at(tools, "poetry-dynamic-versioning") or _table_at(tools, "uv-dynamic-versioning")
    scm_tables = [
        dict(_setup_settings(facts.texts)),
        _table_at(tools, "setuptools_scm"),
        _table_at(hatch, "raw-options"),
    ]
    commands = [table.get("git_describe_command") for table in scm_tables]
    commands += [_table_at(table, "scm", "git").get("describe_command") for table in scm_tables]
    anchored = _first_text(
        [*(table.get("tag_regex") for table in scm_tables), hatch.get("tag-pattern"), pdm.get("tag_regex")]
    )
    unanchored = _first_text(
        [
            _table_at(versioningit, "tag2version").get("regex"),
            _versioningit_regex(versioningit),
            _dunamai_regex(dunamai),
        ]
    )
    fallbacks = [*(table.get("fallback_version") for table in scm_tables), hatch.get("fallback-version")]
    fallbacks += [pdm.get("fallback_version"), versioningit.get("default-version")]
    fallback = _first_text(fallbacks)
    return TagRule(
        matches=(
            *_describe_match_globs(commands),
            *_strings(_table_at(versioningit, "vcs").get("match")),
            *_strings([pdm.get("tag_filter")]),
        ),
        excludes=_strings(_table_at(versioningit, "vcs").get("exclude")),
        regex=anchored or unanchored,
        anchored=bool(anchored),
        prefixed=bool(_DUNAMAI & {name_of(line) for line in facts.build_requires}) and _dunamai_regex(dunamai) == "",
        fallback=fallback if public_version(fallback) else "",
    )


def _first_text(values: Sequence[Any]) -> str:
    return next((value for value in values if isinstance(value, str) and value), "")


def _versioningit_regex(settings: Mapping[str, Any]) -> str:
    """Returns an expression that removes the prefix and suffix that versioningit removes; "" without them."""
    before, after = (str(_table_at(settings, "tag2version").get(key, "")) for key in ("rmprefix", "rmsuffix"))
    return f"^(?:{re.escape(before)})?(.*?)(?:{re.escape(after)})?$" if before or after else ""


def _dunamai_regex(settings: Mapping[str, Any]) -> str:
    pattern = str(settings.get("pattern", "default"))
    prefix = str(settings.get("pattern-prefix", ""))
    if pattern.startswith("default"):
        return f"^{prefix}v?(\\d.*)$" if prefix or pattern != "default" else ""
    return f"^{prefix}{pattern.removeprefix('^')}" if prefix else pattern


def _describe_match_globs(commands: Sequence[Any]) -> Iterator[str]:
    """Yields the globs of `--match` in the project's own `git describe` commands."""
    for command in commands:
        try:
            words = shlex.split(command) if isinstance(command, str) else _strings(command)
        except ValueError:
            continue
        yield from (glob for word, glob in pairwise(words) if word == "--match")
        yield from (word.removeprefix("--match=") for word in words if word.startswith("--match="))


def _setup_settings(texts: Sequence[str]) -> Iterator[tuple[str, Any]]:
    """Yields the literal settings of setup.py in `use_scm_version={…}` or a dictionary for it."""
    for text in texts:
        if not any(key in text for key in _KEYS):
            continue
        tree = parse_python(text)
        for node in ast.walk(tree) if tree is not None else ():
            pairs = zip(node.keys, node.values, strict=True) if isinstance(node, ast.Dict) else ()
            for key, value in pairs:
                if isinstance(key, ast.Constant) and key.value in _KEYS:
                    words = value.elts if isinstance(value, ast.List | ast.Tuple) else [value]
                    plain = [word.value for word in words if isinstance(word, ast.Constant)]
                    yield str(key.value), plain if isinstance(value, ast.List | ast.Tuple) else next(iter(plain), None)


def _table_at(table: Mapping[str, Any], *keys: str) -> Mapping[str, Any]:
    for key in keys:
        inner = table.get(key, {})
        table = inner if isinstance(inner, dict) else {}
    return table


def _strings(value: Any) -> tuple[str, ...]:
    return tuple(item for item in value if isinstance(item, str)) if isinstance(value, list | tuple) else ()
