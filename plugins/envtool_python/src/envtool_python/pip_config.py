"""The host's own pip configuration: where files come from. Its credentials reach the fetches, and the container that
resolves, as variables; they never reach pins, keys or messages.

Used: index-url, extra-index-url, find-links, no-index, trusted-host, cert, client-cert, proxy, timeout, retries.
Not used: constraint, pre, no-binary and all other options that decide *what* is installed: the project decides that.
"""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import threading
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
_SECTIONS = ("global", "install", ":env:")  # a later section wins, as in `pip install`
_VERSIONS = re.compile(r"\(from versions: (?:.*, )?((?:[^,)]+, ){4}[^,)]+)\)")  # keeps the last five
_EMPTY_WORDS = frozenset(
    {"subprocess-exited-with-error", "metadata-generation-failed"}
)  # pip's names of failures, without a reason
_BACKEND = "the build backend"
BACKEND = f"envtool: {_BACKEND}"  # how inside.py's message of a failed backend begins
_SECRET = re.compile(r"(?<=://)[^/@\s'\"]+@")


@dataclass(frozen=True, slots=True, kw_only=True)
class PipConfig:
    """Variables and files that make pip in a container look where the host's pip looks."""

    variables: Mapping[str, str] = field(default_factory=dict)
    binds: tuple[api.Bind, ...] = ()
    secrets: Mapping[str, str] = field(default_factory=dict)  # host[:port] -> "user:password"

    def opened(self, url: str) -> str:
        """Returns the URL with the credentials that this host has for it."""
        parts = urlsplit(url)
        secret = self.secrets.get(parts.netloc)
        return urlunsplit(parts._replace(netloc=f"{secret}@{parts.netloc}")) if secret else url


def strip_credentials(url: str) -> str:
    """Returns the URL without credentials and without its fragment."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2], fragment=""))


def redact_credentials(text: str) -> str:
    """Returns pip's output with the credentials in its URLs replaced by asterisks."""
    return _SECRET.sub("****@", text)


def file_name(url: str) -> str:
    """Returns the last part of a URL's path, decoded: the file name from which pip reads tags and versions."""
    return unquote(urlsplit(url).path.rpartition("/")[2])


def parse_config_list(listing: str) -> dict[str, str]:
    """Parses the output of `pip config list`: option -> value of the section that wins."""
    winners: dict[str, tuple[int, str]] = {}
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
        if rank >= winners.get(option, (-1, ""))[0]:
            winners[option] = (rank, text)
    return {option: text for option, (_, text) in winners.items()}


def config_for_options(options: Mapping[str, str]) -> PipConfig:
    """Returns the variables, binds and secrets that a container needs for these options of pip."""
    variables: dict[str, str] = {}
    binds: dict[str, api.Bind] = {}
    secrets: dict[str, str] = {}
    for option in (*_PLAIN, *_LISTS):
        text = " ".join(options.get(option, "").split())
        if not text:
            continue
        variables["PIP_" + option.upper().replace("-", "_")] = text
        if option in {"index-url", "extra-index-url", "find-links"}:
            for location in text.split():
                secrets.update(_credentials(location))
                binds.update({bind.target: bind for bind in _bind_of(location)})
    for option in _FILES:
        source = options.get(option, "")
        if source and os.path.isfile(source):
            target = f"{TOOLS}/{option}.pem"
            variables["PIP_" + option.upper().replace("-", "_")] = target
            binds[target] = api.Bind(source=os.path.realpath(source), target=target)
    return PipConfig(variables=variables, binds=tuple(binds.values()), secrets=secrets)


def _credentials(url: str) -> Iterable[tuple[str, str]]:
    netloc = urlsplit(url).netloc
    if "@" in netloc:
        secret, _, host = netloc.rpartition("@")
        yield host, secret


def _bind_of(location: str) -> Iterable[api.Bind]:
    """Yields the bind for a directory or file: URL; for an index, its parent directory, to which its links lead."""
    path = unquote(urlsplit(location).path) if location.startswith("file:") else location
    if not path.startswith("/"):
        return
    path = path.rstrip("/")
    if path.endswith("/simple"):
        path = os.path.dirname(path)
    if path and os.path.exists(path):
        yield api.Bind(source=os.path.realpath(path), target=path)


class _HostConfig:
    """The host's configuration, read when the first layer of a run needs it; other layers wait for that."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._config: PipConfig | None = None

    def read(self) -> PipConfig:
        """Raises ResolveError if the host's pip fails."""
        with self._lock:
            if self._config is None:
                self._config = config_for_options(parse_config_list(run_host_pip("config", "list")))
            return self._config


def read_index(site: api.Site) -> PipConfig:
    """Reads the host's configuration as its own pip does, once for a run, and allows fetches of its file: URLs. Raises
    ResolveError if pip fails."""
    index = site.shared("pip: its configuration", _HostConfig).read()
    for bind in index.binds:
        for location in (bind.source, bind.target):
            site.own(location)
    return index


def run_host_pip(*arguments: str, variables: Mapping[str, str] | None = None) -> str:
    """Runs the host's pip (the one that this distribution depends on) and returns its standard output. With
    `variables`, pip reads no other configuration. Raises ResolveError.
    """
    env = {**os.environ, "PATH": api.search_path()}  # pip runs the `keyring` that it finds there
    if variables is not None:
        env = {key: value for key, value in env.items() if not key.startswith("PIP_")}
        env |= {"PIP_CONFIG_FILE": os.devnull, "PIP_DISABLE_PIP_VERSION_CHECK": "1", **variables}
    completed = subprocess.run(
        [sys.executable, "-P", "-m", "pip", *arguments],  # -P: no pip.py of the current directory
        cwd="/",
        env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if completed.returncode != 0:
        raise api.ResolveError(
            f"pip {arguments[0]} failed on this machine: {last_words(completed.stderr)}",
            code="pip",
            hint=f"see what `{os.path.basename(sys.executable)} -m pip {arguments[0]}` says",
        )
    return completed.stdout


def last_words(text: str) -> str:
    """Returns the reason that pip (or inside.py) gave for its failure, on one line, without credentials. For a failed
    build backend, the last thing that the backend said."""
    lines = [line.rstrip() for line in redact_credentials(text).splitlines() if line.strip()]
    plain = [line.strip() for line in lines]
    errors = [line.partition(":")[2].strip() for line in plain if line.startswith(("ERROR:", "error:"))]
    reasons = [line for line in errors if not line.startswith(("Ignored the following", "ResolutionImpossible"))]
    agent_messages = [line.partition(":")[2].strip() for line in plain if line.startswith("envtool:")]
    if is_backend_failure(text):
        end = next(index for index, line in enumerate(plain) if line.startswith(("[end of output]", BACKEND)))
        reasons = [*(line for line in agent_messages if line.startswith(_BACKEND)), *_backend_error(lines[:end])]
    sentences = [_VERSIONS.sub(r"(newest versions: \1)", line) for line in reasons][:2] or agent_messages or plain[-2:]
    sentence = "; ".join(dict.fromkeys(line.rstrip(".") for line in sentences)) or "it said nothing"
    is_name = not sentence.split()[0][1:].islower()  # as in RuntimeError
    return sentence if is_name else sentence[:1].lower() + sentence[1:]


def is_backend_failure(text: str) -> bool:
    """Whether a build backend (or setup.py) failed: then its output has the reason."""
    lines = [line.strip() for line in text.splitlines()]
    errors = [line.partition(":")[2].strip() for line in lines if line.startswith(("ERROR:", "error:"))]
    unexplained = all(line in _EMPTY_WORDS or line.startswith("Failed to build") for line in errors)
    return ("[end of output]" in lines and unexplained) or any(line.startswith(BACKEND) for line in lines)


def _backend_error(lines: list[str]) -> list[str]:
    """Returns the exception of the last traceback; else the first line that says "error", else the last line."""
    starts = [index for index, line in enumerate(lines) if line.strip() == "Traceback (most recent call last):"]
    if starts:
        indent = len(lines[starts[-1]]) - len(lines[starts[-1]].lstrip())
        after = [line[indent:] for line in lines[starts[-1] + 1 :]]
        raised = next((index for index, line in enumerate(after) if line and not line.startswith(" ")), None)
        if raised is not None:
            message = (
                after[raised + 1 : raised + 2] if after[raised].endswith(":") else []
            )  # the message begins on the next line
            return [" ".join(line.strip() for line in (after[raised], *message))]
    plain_lines = [line.strip() for line in lines if not line.strip().startswith(("╰─>", "×", "│"))]
    return [match[1] for line in plain_lines if (match := re.search(r"(?i)(?:^|\s)error: (.*)", line))][
        :1
    ] or plain_lines[-1:]
