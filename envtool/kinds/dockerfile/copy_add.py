"""Reads COPY and ADD. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable

from envtool.kinds.dockerfile.build_context import clean_source
from envtool.kinds.dockerfile.operations import CopyAct
from envtool.kinds.dockerfile.parser import DockerfileError, Heredoc, Instruction
from envtool.kinds.dockerfile.stages import UNSET_HINT, check_flags

_GIT = re.compile(  # BuildKit: dfgitutil.ParseGitRef; a source that begins with github.com/ is a path of the context
    r"(?:git|ssh)://|https?://[^/?#]+/[^?#]*\.git(?:[?#]|$)|[a-zA-Z0-9_-]+@[a-zA-Z0-9.-]+:"
)
_CLAUSE = r"[ugoa]*(?:[-+=](?:[ugo]|[rwxXst]*))+"
_SYMBOLIC = re.compile(f"{_CLAUSE}(?:,{_CLAUSE})*")


def parse_copy(
    instruction: Instruction,
    *,
    title: str,
    expand: Callable[[str], str],
    absolute: Callable[[str], str],
    document_text: Callable[[Heredoc], str],
) -> CopyAct:
    """Reads one COPY or ADD. `document_text` returns the text of a here-document as it is written to the file. Raises
    DockerfileError."""
    adds = instruction.name == "ADD"
    common = ("chown", "chmod", "link", "exclude")
    check_flags(instruction, *common, *(("checksum", "unpack", "keep-git-dir") if adds else ("from", "parents")))
    if len(instruction.arguments) < 2:
        raise DockerfileError(f"{instruction.name} takes sources and a target", instruction.line)
    if any(word.startswith("<<") for word in instruction.arguments[-1:]):
        raise DockerfileError(f"{instruction.name} cannot write into a here-document", instruction.line)
    origin = instruction.flag("from")
    names = iter(instruction.heredocs)
    sources: list[str] = []
    documents: list[tuple[str, str]] = []
    urls: list[str] = []
    for word in instruction.arguments[:-1]:
        if instruction.heredocs and re.match(r"\d*<<", word):
            heredoc = next(names)
            documents.append((heredoc.name, document_text(heredoc)))
            continue
        source = expand(word)
        if not source:
            raise DockerfileError(f"`{word}` is empty, and would mean everything", instruction.line, hint=UNSET_HINT)
        if _is_url(source, instruction, adds=adds):
            urls.append(source)
        else:
            sources.append(_clean(source, parents=instruction.has("parents")))
    target = absolute(expand(instruction.arguments[-1]))
    # Both are read only to find values that are wrong. --link gives the same tree, except where a symlink is on the way
    # to the target; --keep-git-dir is for sources in git, which are refused.
    instruction.has("link")
    instruction.has("keep-git-dir")
    return CopyAct(
        line=instruction.line,
        title=title,
        target=target,
        sources=tuple(sources),
        documents=tuple(documents),
        urls=tuple(urls),
        origin=origin,
        owner=expand(instruction.flag("chown")),
        mode=_mode(expand(instruction.flag("chmod")), instruction.line),
        exclude=instruction.all("exclude"),
        parents=instruction.has("parents"),
        unpack=instruction.has("unpack") if any(name == "unpack" for name, _ in instruction.flags) else adds,
        unpack_fetched=instruction.has("unpack"),
        checksum=_checksum(expand(instruction.flag("checksum")), len(urls), instruction.line),
    )


def _clean(source: str, *, parents: bool) -> str:
    """Returns a source of the context or of another tree without `..`. As in BuildKit (system: NormalizePath) `..` is
    taken from the text: `a/../b` is b whether or not there is an `a`, and no source leaves the tree. With --parents the
    first `/./` stays."""
    pivot, separator, remaining = source.partition("/./")
    return f"{clean_source(pivot)}/./{clean_source(remaining)}" if parents and separator else clean_source(source)


def _is_url(source: str, instruction: Instruction, *, adds: bool) -> bool:
    if _GIT.match(source):
        hint = "RUN git clone, or ADD an archive of the commit"
        raise DockerfileError(
            "ADD from git is not supported" if adds else "COPY takes no git repository", instruction.line, hint=hint
        )
    if not re.match(r"https?://", source):
        return False
    if not adds:
        raise DockerfileError("COPY takes no URL", instruction.line, hint="ADD does")
    return True


def _mode(text: str, line: int) -> str:
    """Returns a mode as octal digits, or as the clauses of chmod(1) that were written."""
    octal = re.fullmatch(r"(?:0o)?0*([0-7]{1,4})", text)
    if octal or not text or _SYMBOLIC.fullmatch(text):
        return octal[1] if octal else text
    raise DockerfileError(f"--chmod={text}: neither octal up to 07777 nor as in u+x,go-w or g=u", line)


def _checksum(text: str, count: int, line: int) -> str:
    if not text:
        return ""
    if count != 1:
        raise DockerfileError("--checksum is for one URL", line)
    match = re.fullmatch(r"sha256:([0-9a-f]{64})", text)
    if not match:
        raise DockerfileError("--checksum is `sha256:` and 64 digits in hex", line)
    return match[1]
