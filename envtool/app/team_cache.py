"""Shows the team cache of a spec, and creates signing keys: `cache`."""

from __future__ import annotations

import os

from envtool.app.command_request import SPEC, CommandRequest
from envtool.app.open_project import in_ci
from envtool.app.read_spec import read
from envtool.container import userns
from envtool.errors import StoreError, UsageError
from envtool.fs import caller_paths
from envtool.lazy_dataclass import dataclass
from envtool.store import store
from envtool.teamcache import signatures
from envtool.teamcache.status import CacheStatus, collect_status


@dataclass(frozen=True, slots=True, kw_only=True)
class SigningKey:
    """A signing key: its public line for `trust:`, and the new file that holds it; empty for the key of
    ENVTOOL_CACHE_KEY."""

    public: str
    fingerprint: str
    file: str = ""


def cache(request: CommandRequest) -> CacheStatus:
    """The status of the team cache of a spec. Raises SpecError, UsageError, StoreError."""
    spec = read(request)[0]
    if spec.cache is None:
        hint = "docs/cache.md says how to set one up in five lines"
        raise UsageError(f"{spec.file} has no `cache:`", code="no-cache", hint=hint)
    opened_store = store.open_store(idmap=userns.describe_ids())
    return collect_status(
        spec.cache, opened_store, os.environ, project=spec.root, in_ci=in_ci(os.environ), offline=request.offline
    )


def cache_key(request: CommandRequest, file: str) -> SigningKey:
    """Create a key in a new file, outside of any project; without a file, return the key of ENVTOOL_CACHE_KEY. Raises
    UsageError, StoreError."""
    if not file:
        signer = signatures.find_signer()
        if signer is None:
            hint = "name a new file outside of the project: `envtool cache key FILE`"
            raise UsageError(f"{signatures.VARIABLE} is not set, and no file is named", code="cache-key", hint=hint)
        return SigningKey(public=signer.public, fingerprint=signatures.fingerprint(signer.public))
    path = os.path.abspath(os.path.join(request.directory, os.path.expanduser(file)))
    _require_outside_projects(path)
    private, public = signatures.generate(f"envtool-cache@{os.uname().nodename}")
    try:
        with caller_paths.atomic_write(path, mode=0o600, make=True, replace=False) as out:
            out.write(private.encode())
    except FileExistsError as error:
        hint = "a key is never written over: name another file"
        raise UsageError(f"{path} is there already", code="cache-key", hint=hint) from error
    except OSError as error:
        raise StoreError(f"the key cannot be written to {path}: {error.strerror}", code="cache-key") from error
    return SigningKey(public=public, fingerprint=signatures.fingerprint(public), file=path)


def _require_outside_projects(path: str) -> None:
    """Raise UsageError if the path is in a project or repository: the key could be committed, or read by tasks."""
    directory = os.path.dirname(os.path.realpath(path))
    while True:
        for marker in (SPEC, ".git"):
            if os.path.exists(os.path.join(directory, marker)):
                hint = "anybody who can read a key can sign with it: keep it outside, as in ~/cache-key"
                raise UsageError(f"{path} is inside the project {directory}", code="cache-key", hint=hint)
        parent = os.path.dirname(directory)
        if parent == directory:
            return
        directory = parent
