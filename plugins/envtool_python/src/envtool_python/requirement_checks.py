"""Finds requirement lines that pip would refuse or misunderstand, before pip runs. Pure.

Requirements are defined by PEP 508; the options of requirement files by pip ("Requirements File Format").
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from envtool_python.dependency_sources import WrongSource
from envtool_python.source_values import ARCHIVES

if TYPE_CHECKING:
    from collections.abc import Iterable

_NAME = r"[A-Za-z0-9](?:[\w.-]*[A-Za-z0-9])?\s*(?:\[[^\]]*\])?"
# matches valid requirements only: the import of `packaging`, which parses all of them, takes longer than reading a spec
_WORD = r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?"
_VERSION = r"[0-9]+(?:\.[0-9]+)*(?:(?:a|b|rc)[0-9]+)?(?:\.post[0-9]+)?(?:\.dev[0-9]+)?"
_BOUND = rf"(?:==|!=|>=|<=|<|>)\s?{_VERSION}"
_MARKER = (
    r"(?:python_version|sys_platform|platform_machine|platform_system)\s?(?:[<>]=?|[!=]=)\s?(?:'[\w.]+'|\"[\w.]+\")"
)
_PLAIN = re.compile(rf"{_WORD}(?:\[{_WORD}(?:,\s?{_WORD})*\])?(?:\s?{_BOUND}(?:,\s?{_BOUND})*)?(?:\s?;\s?{_MARKER})?")
_SWAPPED = re.compile(rf"^({_NAME}\s*[^;@]*?)(=>|=<|=!|=~|(?<![=<>!~])=(?![=<>!~]))\s*([^\s;,]+)")
_RIGHT = {"=>": ">=", "=<": "<=", "=!": "!=", "=~": "~=", "=": "=="}
_BARE = re.compile(rf"^({_NAME})\s*\(?v?(\d[\w.]*)\)?$")
_SCHEME = re.compile(r"^(?:.*@\s*)?([a-z][a-z0-9+.-]*)://", re.IGNORECASE)
_FETCHED = ("http", "https", "file")
_REPOSITORIES = ("git", "hg", "svn", "bzr")
_OPTIONS = frozenset(  # the options that pip accepts in a requirement file
    ("-i", "--index-url", "--pypi-url", "--extra-index-url", "--no-index", "-f", "--find-links", "--no-binary")
) | {"--only-binary", "--prefer-binary", "--require-hashes", "--pre", "--trusted-host", "--use-feature"}
_FILES = {"-r": "requirements", "--requirement": "requirements", "-c": "constraints", "--constraint": "constraints"}
_EACH = frozenset(("--hash", "--config-settings", "--config-setting", "--global-option", "--install-option"))


def line_fault(line: str, *, written: bool = False) -> tuple[str, str]:
    """Returns what is wrong with a line and what to write instead; both empty for a valid line. `written`: the line is
    in a list of the spec or of pyproject.toml, where options are not allowed."""
    if "${" in line:  # pip puts in the value of the variable
        return "", ""
    if line.startswith("-"):
        return _option_fault(line, written=written)
    bare = re.split(r"\s--[a-z]", line, maxsplit=1)[0].strip()
    for flag in re.findall(r"\s(--[a-z-]+)", line[len(bare) :]):
        if flag not in _EACH:
            return _unknown_option(line, flag, _EACH, "a requirement")
    scheme = _SCHEME.match(bare)
    if scheme:
        return _url_fault(bare, scheme[1].lower())
    if bare.startswith((".", "/", "{", "$", "file:")) or ("/" in bare and "@" not in bare and " " not in bare):
        return "", ""  # a path: dependency_sources checks it
    swapped_operator = _SWAPPED.match(bare)
    if swapped_operator:
        left = swapped_operator[1].rstrip()
        corrected = f"{left}{' ' * left.endswith(',')}{_RIGHT[swapped_operator[2]]}{swapped_operator[3]}"
        return f"`{line}`: `{swapped_operator[2]}` compares no versions", f"write `{corrected}`"
    return _requirement_fault(bare, line)


def _requirement_fault(bare: str, line: str) -> tuple[str, str]:
    if _PLAIN.fullmatch(bare):
        return "", ""
    from packaging.requirements import Requirement

    try:
        Requirement(bare)
    except (ValueError, RecursionError) as error:
        match = _BARE.match(bare)
        if match:
            return f"`{line}` says a version, and not how to compare", f"write `{match[1].strip()}=={match[2]}`"
        words = bare.partition(";")[0].split()
        if len(words) > 1 and all(re.fullmatch(_NAME, word) for word in words):
            return f"`{line}` is more than one requirement", "write each by itself: a line each, or an entry each"
        reason = str(error).partition("\n")[0].rstrip(".")
        return (
            f"`{line}` is no requirement: {reason[:1].lower()}{reason[1:]}",
            "as in `attrs>=24`, `attrs[tests]`, `attrs; python_version < '3.12'`, `attrs @ https://…/attrs-24.0.tar.gz`",
        )
    return "", ""


def _option_fault(line: str, *, written: bool) -> tuple[str, str]:
    flag = re.split(r"[=\s]", line, maxsplit=1)[0]
    value = line[len(flag) :].strip("= \t")
    if flag in _FILES and written:
        key = _FILES[flag]
        return f"`{line}` is a line of a requirement file, and no requirement", f"write `{key}: [{value or 'FILE'}]`"
    if flag in ("-e", "--editable"):
        hint = "`language: python` installs the project itself, as a layer `python-project: {}` does"
        if value.rstrip("/") not in (".", ""):
            directory = value.removeprefix("./")
            hint = f"another of the checkout: its name, and `sources: {{NAME: {directory}}}`"
        return f"`{line}` is a line of a requirement file, and no requirement", hint
    if flag not in _OPTIONS and flag[:2] not in ("-i", "-f"):
        return _unknown_option(line, flag, {*_OPTIONS, *_FILES, "--editable"}, "requirement files")
    return "", ""


def _unknown_option(line: str, flag: str, options: Iterable[str], owner: str) -> tuple[str, str]:
    import difflib

    long_options = sorted(option for option in options if option.startswith("--"))
    close_matches = difflib.get_close_matches(flag, long_options, 1, 0.6)
    hint = f"did you mean `{close_matches[0]}`?" if close_matches else f"they have {', '.join(long_options)}"
    return f"`{line}`: `{flag}` is no option of {owner}", hint


def _url_fault(line: str, scheme: str) -> tuple[str, str]:
    if scheme.partition("+")[0] in _REPOSITORIES:
        return "", ""  # dependency_sources refuses it with a hint
    if scheme not in _FETCHED:
        return f"`{line}`: nothing is fetched by `{scheme}:`", "archives come by http: or https:, or lie in the project"
    path, _, fragment = re.split(r";|\s+", line.partition("://")[2], maxsplit=1)[0].partition("#")
    file_name = path.partition("?")[0].rpartition("/")[2]
    if (
        scheme != "file"
        and "sha256=" not in fragment
        and not any(word in file_name for word in (".whl", ".tar", ".zip", ".tgz"))
    ):
        return (
            f"`{line}` names neither a wheel nor a source archive",
            f"the URL of a file whose name ends in {', '.join(ARCHIVES[:3])}, or just the project's name",
        )
    return "", ""


def check_lines(lines: Iterable[str], file: str, number: int, *, written: bool = False) -> list[WrongSource]:
    """Returns the errors of these lines, all at the given file and line number."""
    faults = [line_fault(line, written=written) for line in lines]
    return [
        WrongSource(message=message, hint=hint, file=file, line=number, code="requirements")
        for message, hint in faults
        if message
    ]
