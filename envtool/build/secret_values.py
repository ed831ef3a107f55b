"""The values of secrets that the caller gives to this call, in memory alone, and what masks them in output.

Only this module holds values. It hands them to containers (program.SecretMount, and variables) and to Maskers;
requests, keys, plans and reports have names.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterable
from typing import TYPE_CHECKING

from envtool.errors import Problem, SpecError, UsageError
from envtool.model import SecretUse, Where

if TYPE_CHECKING:
    from envtool.api import Secret
    from envtool.container.program import SecretMount
    from envtool.fs.masking import SecretForms
    from envtool.model import SecretPlace
    from envtool.project.host_access import HostAccess

MAX_BYTES = 64 << 10  # of one secret
_COMMAND_SECONDS = 60.0
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class SecretValues:
    """The secrets of one call. Called by any thread. Its representation shows no value."""

    def __init__(self, access: HostAccess) -> None:
        self._access = access
        self._lock = threading.Lock()
        self._values: dict[str, bytes] = {}  # by name
        self._hidden: dict[bytes, None] = {}  # all that is masked: also those of Dockerfiles
        self._forms: SecretForms | None = None

    def __repr__(self) -> str:
        return f"SecretValues({', '.join(self._values)})"

    # ---- reading

    def read(self, uses: Iterable[tuple[str, SecretUse]]) -> None:
        """Reads the secrets that something wants, each once: pairs of what wants it, in words ("task `test` of env
        `unit`"), and the secret. Raises SpecError with every one that the caller does not give (code
        secret-not-allowed), or that is not there or cannot be given (secret-missing, secret-value)."""
        problems: dict[Problem, None] = {}
        for subject, use in uses:
            try:
                self._read(subject, use)
            except UsageError as error:
                problems[Problem(where=use.where, message=error.message, code=error.code, hint=error.hint)] = None
        if problems:
            raise SpecError(tuple(sorted(problems, key=lambda problem: problem.where)))

    def _read(self, subject: str, use: SecretUse) -> None:
        allowed = self._access.allowed
        if use.name not in allowed.secrets:
            if use.optional:
                return
            variable = use.env or re.sub("[^A-Z0-9_]", "_", use.name.upper())
            line = allowed.line("--allow-secret", f"{use.name}=env:{variable}")
            raise UsageError(
                f"{subject} wants the secret `{use.name}`, and you did not allow it",
                code="secret-not-allowed",
                hint=f"if it may have it: `{line}`, or {use.name}=file:PATH",
            )
        with self._lock:
            value = self._values.get(use.name)
            if value is None:
                value = self._fetch(use)
                if not value and use.optional:
                    return
                self._check(use, value)
                self._values[use.name] = value
                self._hide(value)
        if use.env and b"\0" in value:
            raise _value_error(use, f"has a NUL byte, which the variable {use.env} cannot have", "let it be a file")

    def _fetch(self, use: SecretUse) -> bytes:
        source = self._access.allowed.secrets[use.name]
        if source.startswith("command:"):
            return _run_command(use.name, source.removeprefix("command:").strip())
        variable = use.env or (use.name if _VARIABLE.fullmatch(use.name) else "")
        return self._access.named_secret(use.name, f"env:{variable}" if variable else "")

    def _check(self, use: SecretUse, value: bytes) -> None:
        if not value:
            raise _value_error(use, "is empty", "`optional: true` lets commands run without it")
        if len(value) > MAX_BYTES:
            raise _value_error(
                use, f"has {len(value):,} bytes: a secret may have {MAX_BYTES:,}",
                "encrypt the file, and let its key be the secret",
            )  # fmt: skip

    def for_layer(self, secret: Secret) -> bytes | None:
        """Returns the value of a secret of a `run` layer; None for an optional one that the caller does not give.
        Raises UsageError as `read` raises SpecError."""
        self._read("this layer", layer_use(secret, Where(file="", line=0, column=0)))
        return self._values.get(secret.id)

    def for_dockerfile(self, secret: Secret) -> bytes | None:
        """Returns the value of a secret of a Dockerfile, which is masked from now on: see HostAccess.secret."""
        source = self._access.allowed.secrets.get(secret.id, "")
        if source.startswith("command:"):
            value: bytes | None = _run_command(secret.id, source.removeprefix("command:").strip())
        else:
            value = self._access.secret(secret.id, secret.source)
        if value is not None:
            with self._lock:
                self._hide(value)
        return value

    def _hide(self, value: bytes) -> None:
        self._hidden[value] = None
        self._forms = None

    # ---- giving

    def mounts(self, places: Iterable[SecretPlace], user: str) -> tuple[SecretMount, ...]:
        """Returns the files of secrets, which belong to `user`: "user", "root", or a name or number as in `USER` of an
        image. Those that the caller does not give are left out: they are optional."""
        from envtool.container.program import SecretMount  # `plan` checks secrets, and makes no container

        return tuple(
            SecretMount(target=place.target, content=value, owner=user)
            for place in places
            if place.target and (value := self._values.get(place.name)) is not None
        )

    def variables(self, places: Iterable[SecretPlace]) -> dict[str, str]:
        """Returns the variables of secrets."""
        return {
            place.env: value.decode("utf-8", "surrogateescape")
            for place in places
            if place.env and (value := self._values.get(place.name)) is not None
        }

    def value(self, name: str) -> bytes | None:
        """Returns the value of a secret that `read` read; None if the caller does not give it."""
        return self._values.get(name)

    def all_values(self) -> tuple[bytes, ...]:
        """Returns all that is masked."""
        return tuple(self._hidden)

    def take(self, other: SecretValues) -> None:
        """Takes over the values of another call, which are newer."""
        with other._lock:
            values, hidden = dict(other._values), dict(other._hidden)
        with self._lock:
            self._values |= values
            self._hidden |= hidden
            self._forms = None

    # ---- masking

    def forms(self) -> SecretForms | None:
        """Returns what is masked; None if nothing is."""
        with self._lock:
            if self._forms is None and self._hidden:
                from envtool.fs.masking import SecretForms

                self._forms = SecretForms(self._hidden)
            return self._forms or None

    def mask(self, text: str) -> str:
        """Returns a text with all secrets masked."""
        forms = self.forms()
        if forms is None:
            return text
        return forms.mask(text.encode("utf-8", "surrogateescape")).decode("utf-8", "surrogateescape")

    def unmasked(self) -> tuple[tuple[str, int], ...]:
        """Returns name and number of bytes of each secret that is too short to be masked."""
        from envtool.fs.masking import is_maskable

        with self._lock:
            return tuple((name, len(value)) for name, value in self._values.items() if not is_maskable(value))


def layer_use(secret: Secret, where: Where) -> SecretUse:
    """Returns the secret of a recipe as tasks have it."""
    return SecretUse(secret.id, where, secret.target, secret.env, not secret.required)


def _run_command(name: str, line: str) -> bytes:
    """Returns what a command of config.yaml prints, without one line break at its end. It runs in the root directory,
    not in the project, whose files it would find. Raises UsageError (code secret-missing). No message has what it
    printed: that may be the secret."""
    import os

    from envtool import proc

    ended = proc.run(["/bin/sh", "-c", line], env=os.environ, cwd="/", timeout=_COMMAND_SECONDS)
    if ended.status:
        reason = "took too long" if ended.status == proc.TIMED_OUT else f"failed: exit {ended.status}"
        raise UsageError(
            f"the command for the secret `{name}` in your config.yaml {reason}",
            code="secret-missing",
            hint="run it by hand to see why",
        )
    return ended.stdout.removesuffix(b"\n").removesuffix(b"\r")


def _value_error(use: SecretUse, reason: str, hint: str) -> UsageError:
    return UsageError(f"the secret `{use.name}` {reason}", code="secret-value", hint=hint)
