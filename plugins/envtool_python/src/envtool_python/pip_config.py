"""The host's own pip configuration: where files come from. Its credentials reach the fetches, and the container that
resolves, as variables; they never reach pins, keys or messages.

Used: index-url, extra-index-url, find-links, no-index, trusted-host, cert, client-cert, proxy, timeout, retries.
Not used: constraint, pre, no-binary and all other options that decide *what* is installed: the project decides that.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit, urlunsplit

from envtool import api
from envtool.api.pip_indexes import local_directory, read_options, redact_credentials
from envtool_python.agent_script import TOOLS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_LISTS = ("extra-index-url", "find-links", "trusted-host")
_PLAIN = ("index-url", "no-index", "proxy", "timeout", "default-timeout", "retries")
_FILES = ("cert", "client-cert")
_VERSIONS = re.compile(r"\(from versions: (?:.*, )?((?:[^,)]+, ){4}[^,)]+)\)")  # keeps the last five
_EMPTY_WORDS = frozenset(
    {"subprocess-exited-with-error", "metadata-generation-failed"}
)  # pip's names of failures, without a reason
_BACKEND = "the build backend"
BACKEND = f"envtool: {_BACKEND}"  # how inside.py's message of a failed backend begins


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


def file_name(url: str) -> str:
    """Returns the last part of a URL's path, decoded: the file name from which pip reads tags and versions."""
    return unquote(urlsplit(url).path.rpartition("/")[2])


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
    if path := local_directory(location):
        yield api.Bind(source=os.path.realpath(path), target=path)


def read_index(site: api.Site) -> PipConfig:
    """Returns the host's configuration as its own pip reads it, once for a run. Raises ResolveError if pip fails."""
    return config_for_options(read_options(site))


def run_host_pip(site: api.Site, *arguments: str, variables: Mapping[str, str]) -> str:
    """Runs the host's pip by these variables alone and returns its standard output. Raises ResolveError."""
    completed = site.host_pip(*arguments, variables=variables)
    if completed.status != 0:
        from envtool_python.pip_messages import explain_pip_error

        output = completed.stderr.decode(errors="replace")
        message, hint = explain_pip_error(redact_credentials(output), {}, {})
        message = message or f"pip {arguments[0]} failed on this machine: {last_words(output)}"
        raise api.ResolveError(message, code="pip", hint=hint or f"see what `pip {arguments[0]}` says")
    return completed.stdout.decode(errors="replace")


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
