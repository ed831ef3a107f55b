"""COPY and ADD, read. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable

from envtool.kinds.dockerfile.build_context import clean_source
from envtool.kinds.dockerfile.operations import CopyAct
from envtool.kinds.dockerfile.parser import DockerfileError, Heredoc, Instruction
from envtool.kinds.dockerfile.stages import UNSET_HINT, check_flags

_GIT = re.compile(  # buildkit: dfgitutil.ParseGitRef; what begins with github.com/ is a path of the context
    r"(?:git|ssh)://|https?://[^/?#]+/[^?#]*\.git(?:[?#]|$)|[a-zA-Z0-9_-]+@[a-zA-Z0-9.-]+:"
)
_CLAUSE = r"[ugoa]*(?:[-+=](?:[ugo]|[rwxXst]*))+"
_SYMBOLIC = re.compile(f"{_CLAUSE}(?:,{_CLAUSE})*")


def parse_copy(
    it: Instruction,
    *,
    title: str,
    expand: Callable[[str], str],
    absolute: Callable[[str], str],
    document: Callable[[Heredoc], str],
) -> CopyAct:
    """One instruction; `document` gives a here-document's text as it is written to a file. Raises DockerfileError."""
    adds = it.name == "ADD"
    common = ("chown", "chmod", "link", "exclude")
    check_flags(it, *common, *(("checksum", "unpack", "keep-git-dir") if adds else ("from", "parents")))
    if len(it.arguments) < 2:
        raise DockerfileError(f"{it.name} takes what to copy, and where to", it.line)
    if any(word.startswith("<<") for word in it.arguments[-1:]):
        raise DockerfileError(f"{it.name} cannot write into a here-document", it.line)
    origin = it.flag("from")
    names = iter(it.heredocs)
    sources: list[str] = []
    documents: list[tuple[str, str]] = []
    urls: list[str] = []
    for word in it.arguments[:-1]:
        if it.heredocs and re.match(r"\d*<<", word):
            heredoc = next(names)
            documents.append((heredoc.name, document(heredoc)))
            continue
        source = expand(word)
        if not source:
            raise DockerfileError(f"`{word}` is empty, and would mean everything", it.line, hint=UNSET_HINT)
        if _is_url(source, it, adds=adds):
            urls.append(source)
        else:
            sources.append(_clean(source, parents=it.has("parents")))
    target = absolute(expand(it.arguments[-1]))
    it.has("link")  # the same tree, but for symlinks on the way to it
    it.has("keep-git-dir")  # of what comes from git alone
    return CopyAct(
        line=it.line,
        title=title,
        target=target,
        sources=tuple(sources),
        documents=tuple(documents),
        urls=tuple(urls),
        origin=origin,
        owner=expand(it.flag("chown")),
        mode=_mode(expand(it.flag("chmod")), it.line),
        exclude=it.all("exclude"),
        parents=it.has("parents"),
        unpack=it.has("unpack") if any(name == "unpack" for name, _ in it.flags) else adds,
        unpack_fetched=it.has("unpack"),
        checksum=_checksum(expand(it.flag("checksum")), len(urls), it.line),
    )


def _clean(source: str, *, parents: bool) -> str:
    """A path of the context or another tree without `..`, which mean its text, as BuildKit has it (system:
    NormalizePath): `a/../b` is b whether there is an a, and nothing leads out. Of --parents the `/./` stays."""
    pivot, found, kept = source.partition("/./")
    return f"{clean_source(pivot)}/./{clean_source(kept)}" if parents and found else clean_source(source)


def _is_url(source: str, it: Instruction, *, adds: bool) -> bool:
    if _GIT.match(source):
        hint = "RUN git clone, or ADD an archive of the commit"
        raise DockerfileError(
            "ADD from git is not supported" if adds else "COPY takes no git repository", it.line, hint=hint
        )
    if not re.match(r"https?://", source):
        return False
    if not adds:
        raise DockerfileError("COPY takes no URL", it.line, hint="ADD does")
    return True


def _mode(text: str, line: int) -> str:
    """Octal digits, or clauses of chmod(1)."""
    octal = re.fullmatch(r"(?:0o)?0*([0-7]{1,4})", text)
    if octal or not text or _SYMBOLIC.fullmatch(text):
        return octal[1] if octal else text
    raise DockerfileError(f"--chmod={text}: neither octal up to 07777 nor as in u+x,go-w or g=u", line)


def _checksum(text: str, urls: int, line: int) -> str:
    if not text:
        return ""
    if urls != 1:
        raise DockerfileError("--checksum is for one URL", line)
    found = re.fullmatch(r"sha256:([0-9a-f]{64})", text)
    if not found:
        raise DockerfileError("--checksum is `sha256:` and 64 digits in hex", line)
    return found[1]
