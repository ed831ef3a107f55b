"""Requirement lines that pip would refuse, or misunderstand, told in words of ours before it is asked. Pure.

What a requirement is says PEP 508; the options of requirement files are pip's ("Requirements File Format").
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from envtool_python.dependency_sources import WrongSource
from envtool_python.source_values import ARCHIVES

if TYPE_CHECKING:
    from collections.abc import Iterable

_NAME = r"[A-Za-z0-9](?:[\w.-]*[A-Za-z0-9])?\s*(?:\[[^\]]*\])?"
# certainly a requirement: `packaging`, which knows all of them, takes longer to import than a spec to read
_WORD = r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?"
_BOUND = r"(?:==|!=|>=|<=|<|>)\s?[0-9]+(?:\.[0-9]+)*"
_PLAIN = re.compile(rf"{_WORD}(?:\[{_WORD}(?:,\s?{_WORD})*\])?(?:\s?{_BOUND}(?:,\s?{_BOUND})*)?")
_SWAPPED = re.compile(rf"^({_NAME}\s*[^;@]*?)(=>|=<|=!|=~|(?<![=<>!~])=(?![=<>!~]))\s*([^\s;,]+)")
_RIGHT = {"=>": ">=", "=<": "<=", "=!": "!=", "=~": "~=", "=": "=="}
_BARE = re.compile(rf"^({_NAME})\s*\(?v?(\d[\w.]*)\)?$")
_SCHEME = re.compile(r"^(?:.*@\s*)?([a-z][a-z0-9+.-]*)://", re.IGNORECASE)
_FETCHED = ("http", "https", "file")
_REPOSITORIES = ("git", "hg", "svn", "bzr")
_OPTIONS = frozenset(  # that pip takes in a requirement file
    ("-i", "--index-url", "--pypi-url", "--extra-index-url", "--no-index", "-f", "--find-links", "--no-binary")
) | {"--only-binary", "--prefer-binary", "--require-hashes", "--pre", "--trusted-host", "--use-feature"}
_FILES = {"-r": "requirements", "--requirement": "requirements", "-c": "constraints", "--constraint": "constraints"}
_EACH = frozenset(("--hash", "--config-settings", "--config-setting", "--global-option", "--install-option"))


def line_fault(line: str, *, written: bool = False) -> tuple[str, str]:
    """What is wrong with a line, and what to write instead; both empty for a right one. `written`: it stands in a list
    of requirements of the spec or of pyproject.toml, where there are no options."""
    if "${" in line:  # a variable, of which pip puts in the value
        return "", ""
    if line.startswith("-"):
        return _option(line, written=written)
    bare = re.split(r"\s--[a-z]", line, maxsplit=1)[0].strip()
    for flag in re.findall(r"\s(--[a-z-]+)", line[len(bare) :]):
        if flag not in _EACH:
            return _unknown(line, flag, _EACH, "a requirement")
    scheme = _SCHEME.match(bare)
    if scheme:
        return _url(bare, scheme[1].lower())
    if bare.startswith((".", "/", "{", "$", "file:")) or ("/" in bare and "@" not in bare and " " not in bare):
        return "", ""  # a path: where it leads is looked at by sources.py
    swapped = _SWAPPED.match(bare)
    if swapped:
        before = swapped[1].rstrip()
        right = f"{before}{' ' * before.endswith(',')}{_RIGHT[swapped[2]]}{swapped[3]}"
        return f"`{line}`: `{swapped[2]}` compares no versions", f"write `{right}`"
    return _parsed(bare, line)


def _parsed(bare: str, line: str) -> tuple[str, str]:
    if _PLAIN.fullmatch(bare):
        return "", ""
    from packaging.requirements import InvalidRequirement, Requirement

    try:
        Requirement(bare)
    except InvalidRequirement as error:
        found = _BARE.match(bare)
        if found:
            return f"`{line}` says a version, and not how to compare", f"write `{found[1].strip()}=={found[2]}`"
        words = bare.partition(";")[0].split()
        if len(words) > 1 and all(re.fullmatch(_NAME, word) for word in words):
            return f"`{line}` is more than one requirement", "write each by itself: a line each, or an entry each"
        why = str(error).partition("\n")[0].rstrip(".")
        return (
            f"`{line}` is no requirement: {why[:1].lower()}{why[1:]}",
            "as in `attrs>=24`, `attrs[tests]`, `attrs; python_version < '3.12'`, `attrs @ https://…/attrs-24.0.tar.gz`",
        )
    return "", ""


def _option(line: str, *, written: bool) -> tuple[str, str]:
    flag = re.split(r"[=\s]", line, maxsplit=1)[0]
    value = line[len(flag) :].strip("= \t")
    if flag in _FILES and written:
        key = _FILES[flag]
        return f"`{line}` is a line of a requirement file, and no requirement", f"write `{key}: [{value or 'FILE'}]`"
    if flag in ("-e", "--editable"):
        hint = "`language: python` installs the project itself, as a layer `python-project: {}` does"
        if value.rstrip("/") not in (".", ""):
            place = value.removeprefix("./")
            hint = f"another of the checkout: its name, and `sources: {{NAME: {place}}}`"
        return f"`{line}` is a line of a requirement file, and no requirement", hint
    if flag not in _OPTIONS and flag[:2] not in ("-i", "-f"):
        return _unknown(line, flag, {*_OPTIONS, *_FILES, "--editable"}, "requirement files")
    return "", ""


def _unknown(line: str, flag: str, known: Iterable[str], whose: str) -> tuple[str, str]:
    import difflib

    long = sorted(each for each in known if each.startswith("--"))
    near = difflib.get_close_matches(flag, long, 1, 0.6)
    hint = f"did you mean `{near[0]}`?" if near else f"they have {', '.join(long)}"
    return f"`{line}`: `{flag}` is no option of {whose}", hint


def _url(line: str, scheme: str) -> tuple[str, str]:
    if scheme.partition("+")[0] in _REPOSITORIES:
        return "", ""  # sources.py says what to do about it
    if scheme not in _FETCHED:
        return f"`{line}`: nothing is fetched by `{scheme}:`", "archives come by http: or https:, or lie in the project"
    path, _, fragment = re.split(r";|\s+", line.partition("://")[2], maxsplit=1)[0].partition("#")
    last = path.partition("?")[0].rpartition("/")[2]
    if (
        scheme != "file"
        and "sha256=" not in fragment
        and not any(word in last for word in (".whl", ".tar", ".zip", ".tgz"))
    ):
        return (
            f"`{line}` names neither a wheel nor a source archive",
            f"the URL of a file whose name ends in {', '.join(ARCHIVES[:3])}, or just the project's name",
        )
    return "", ""


def check_lines(lines: Iterable[str], file: str, number: int, *, written: bool = False) -> list[WrongSource]:
    """What is wrong with these lines in themselves, each at that place."""
    found = [line_fault(line, written=written) for line in lines]
    return [
        WrongSource(message=why, hint=hint, file=file, line=number, code="requirements") for why, hint in found if why
    ]
