"""The host's own pip configuration: where files come from. Its credentials reach the container that resolves, as
variables, and the fetches; never pins, keys or messages.

Taken: index-url, extra-index-url, find-links, no-index, trusted-host, cert, client-cert, proxy, timeout, retries.
Not taken: constraint, pre, no-binary and whatever else would decide *what* is installed: that is the project's.
"""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit, urlunsplit

from envtool import api
from envtool_python.agent_script import TOOLS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_LISTS = ("extra-index-url", "find-links", "trusted-host")
_PLAIN = ("index-url", "no-index", "proxy", "timeout", "default-timeout", "retries")
_FILES = ("cert", "client-cert")
_SECTIONS = ("global", "install", ":env:")  # the later one wins, as pip has it for `pip install`
_VERSIONS = re.compile(r"\(from versions: (?:.*, )?((?:[^,)]+, ){4}[^,)]+)\)")  # the last five are enough
_EMPTY_WORDS = frozenset({"subprocess-exited-with-error", "metadata-generation-failed"})  # they say that, not why
_BACKEND = "the build backend"
BACKEND = f"envtool: {_BACKEND}"  # how inside.py begins to say that one failed
_SECRET = re.compile(r"(?<=://)[^/@\s'\"]+@")


@dataclass(frozen=True, slots=True, kw_only=True)
class PipConfig:
    """Variables and files that make pip in a container look where the host's pip looks."""

    variables: Mapping[str, str] = field(default_factory=dict)
    binds: tuple[api.Bind, ...] = ()
    secrets: Mapping[str, str] = field(default_factory=dict)  # host[:port] -> "user:password"

    def opened(self, url: str) -> str:
        """The URL with the credentials that this host has for it."""
        parts = urlsplit(url)
        secret = self.secrets.get(parts.netloc)
        return urlunsplit(parts._replace(netloc=f"{secret}@{parts.netloc}")) if secret else url


def strip_credentials(url: str) -> str:
    """The URL without credentials and without its fragment."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2], fragment=""))


def redact_credentials(text: str) -> str:
    """Text of pip's with whatever stands before an `@` in a URL blotted out."""
    return _SECRET.sub("****@", text)


def file_name(url: str) -> str:
    """The last part of a URL's path, decoded: the file name that pip reads tags and versions from."""
    return unquote(urlsplit(url).path.rpartition("/")[2])


def parse_config_list(listing: str) -> dict[str, str]:
    """`pip config list` as option -> value, the winning section's."""
    found: dict[str, tuple[int, str]] = {}
    for line in listing.splitlines():
        key, equals, value = line.partition("=")
        section, _, option = key.rpartition(".")
        if not equals or section not in _SECTIONS:
            continue
        try:
            text = str(ast.literal_eval(value))
        except (ValueError, SyntaxError):
            text = value
        rank = _SECTIONS.index(section)
        if rank >= found.get(option, (-1, ""))[0]:
            found[option] = (rank, text)
    return {option: text for option, (_, text) in found.items()}


def config_for_options(options: Mapping[str, str]) -> PipConfig:
    """What a container needs for these options of pip's."""
    variables: dict[str, str] = {}
    binds: dict[str, api.Bind] = {}
    secrets: dict[str, str] = {}
    for option in (*_PLAIN, *_LISTS):
        text = " ".join(options.get(option, "").split())
        if not text:
            continue
        variables["PIP_" + option.upper().replace("-", "_")] = text
        if option in {"index-url", "extra-index-url", "find-links"}:
            for place in text.split():
                secrets.update(_secret(place))
                binds.update({bind.target: bind for bind in _directory(place)})
    for option in _FILES:
        source = options.get(option, "")
        if source and os.path.isfile(source):
            target = f"{TOOLS}/{option}.pem"
            variables["PIP_" + option.upper().replace("-", "_")] = target
            binds[target] = api.Bind(source=os.path.realpath(source), target=target)
    return PipConfig(variables=variables, binds=tuple(binds.values()), secrets=secrets)


def _secret(url: str) -> Iterable[tuple[str, str]]:
    netloc = urlsplit(url).netloc
    if "@" in netloc:
        secret, _, host = netloc.rpartition("@")
        yield host, secret


def _directory(place: str) -> Iterable[api.Bind]:
    """What to show for a directory or file: URL; for an index its parent, where the pages' links lead."""
    path = unquote(urlsplit(place).path) if place.startswith("file:") else place
    if not path.startswith("/"):
        return
    path = path.rstrip("/")
    if path.endswith("/simple"):
        path = os.path.dirname(path)
    if path and os.path.exists(path):
        yield api.Bind(source=os.path.realpath(path), target=path)


def read_index(site: api.Site) -> PipConfig:
    """The host's configuration, as its own pip reads it; its file URLs are this machine's own. Raises ResolveError
    where pip cannot be started."""
    index = config_for_options(parse_config_list(run_host_pip("config", "list")))
    for bind in index.binds:
        for place in (bind.source, bind.target):
            site.own(place)
    return index


def run_host_pip(*arguments: str, variables: Mapping[str, str] | None = None) -> str:
    """Run the host's pip (the one this distribution depends on): its standard output. With `variables` it reads
    no configuration but those. Raises ResolveError.
    """
    env = {**os.environ, "PATH": api.search_path()}  # pip asks a `keyring` that it finds there
    if variables is not None:
        env = {key: value for key, value in env.items() if not key.startswith("PIP_")}
        env |= {"PIP_CONFIG_FILE": os.devnull, "PIP_DISABLE_PIP_VERSION_CHECK": "1", **variables}
    done = subprocess.run(
        [sys.executable, "-P", "-m", "pip", *arguments],  # -P: no pip.py of the directory that we are in
        cwd="/",
        env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode != 0:
        raise api.ResolveError(
            f"pip {arguments[0]} failed on this machine: {last_words(done.stderr)}",
            code="pip",
            hint=f"see what `{os.path.basename(sys.executable)} -m pip {arguments[0]}` says",
        )
    return done.stdout


def last_words(text: str) -> str:
    """What pip (or our program in the container) gave as the reason, on one line, without credentials; where a build
    backend failed, what that said last."""
    lines = [line.rstrip() for line in redact_credentials(text).splitlines() if line.strip()]
    plain = [line.strip() for line in lines]
    said = [line.partition(":")[2].strip() for line in plain if line.startswith(("ERROR:", "error:"))]
    told = [line for line in said if not line.startswith(("Ignored the following", "ResolutionImpossible"))]
    own = [line.partition(":")[2].strip() for line in plain if line.startswith("envtool:")]
    if is_backend_failure(text):
        end = next(at for at, line in enumerate(plain) if line.startswith(("[end of output]", BACKEND)))
        told = [*(line for line in own if line.startswith(_BACKEND)), *_cause(lines[:end])]
    chosen = [_VERSIONS.sub(r"(newest versions: \1)", line) for line in told][:2] or own or plain[-2:]
    sentence = "; ".join(dict.fromkeys(line.rstrip(".") for line in chosen)) or "it said nothing"
    is_name = not sentence.split()[0][1:].islower()  # as in RuntimeError
    return sentence if is_name else sentence[:1].lower() + sentence[1:]


def is_backend_failure(text: str) -> bool:
    """Whether it was a build backend (or setup.py) that failed: what it printed is the reason then."""
    lines = [line.strip() for line in text.splitlines()]
    said = [line.partition(":")[2].strip() for line in lines if line.startswith(("ERROR:", "error:"))]
    empty = all(line in _EMPTY_WORDS or line.startswith("Failed to build") for line in said)
    return ("[end of output]" in lines and empty) or any(line.startswith(BACKEND) for line in lines)


def _cause(lines: list[str]) -> list[str]:
    """What the last traceback ends in; else the first line that says it is an error, else the last one."""
    starts = [at for at, line in enumerate(lines) if line.strip() == "Traceback (most recent call last):"]
    if starts:
        indent = len(lines[starts[-1]]) - len(lines[starts[-1]].lstrip())
        after = [line[indent:] for line in lines[starts[-1] + 1 :]]
        raised = next((at for at, line in enumerate(after) if line and not line.startswith(" ")), None)
        if raised is not None:
            more = after[raised + 1 : raised + 2] if after[raised].endswith(":") else []  # its message begins below
            return [" ".join(line.strip() for line in (after[raised], *more))]
    said = [line.strip() for line in lines if not line.strip().startswith(("╰─>", "×", "│"))]
    return [found[1] for line in said if (found := re.search(r"(?i)(?:^|\s)error: (.*)", line))][:1] or said[-1:]
