"""The files of a project -> pins: exactly the crates that Cargo.lock names, or that cargo chooses if there is none.

Pins are JSON:

    {"crates": [{"name", "version", "sha256", "registry" (only if it is not cargo's own)}],
     "git": null, or {"repositories": [{"url", "commit", "reference"}],
                      "sha256", "size"},          # of the archive with the packages, which `cargo vendor` made
     "lock": the lines of the Cargo.lock that cargo made, if the project has none; else null}

Pins name no registries but those that the project itself names: another machine finds the same files where its own
cargo looks. No code of the project runs: cargo sees the parts of the manifests that decide versions, and no sources.
"""

from __future__ import annotations

import io
import os
import re
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from envtool import api
from envtool_rust.cargo_config import CargoConfig, host_config
from envtool_rust.cargo_lock import CargoLock, CargoLockError, parse_lock
from envtool_rust.cargo_manifest import CargoManifestError, parse_manifest, reduce_manifests, without_rust_version
from envtool_rust.toml_text import toml_text

NO_CARGO = 97
WORK = "/tmp/envtool-cargo"
CAFILE = "/run/envtool/cargo/cafile.pem"
MAX_ARCHIVE = 512 << 20  # bytes of packages from git
_PIECE = 60_000  # characters; the kernel takes at most 128 KiB for one argument
HINT_CARGO = "add a layer that has it, such as `apt: [cargo]`, and name it in this layer's `needs`"

# $1 the cargo, $2 the directory of the project's root, then paths and texts of files. Settings are passed as text:
# container root cannot read a bind of a file that only the caller may read. Before 1.68 the sparse index, of which
# only the entries that are needed are downloaded, has to be asked for. From 1.84 on cargo can choose versions that its
# rustc compiles, which it does by itself only for a package of edition 2024.
_PREPARE = f"""\
set -eu
cargo=$1 directory=$2
shift 2
case $cargo in */*) PATH="${{cargo%/*}}:$PATH" ;; esac
command -v "$cargo" >/dev/null 2>&1 || exit {NO_CARGO}
export CARGO_HOME={WORK}/home
mkdir -p "$CARGO_HOME" "{WORK}/project/$directory"
printf '%s' "$ENVTOOL_CARGO_CONFIG" > "$CARGO_HOME/config.toml"
while [ $# -gt 1 ]; do
    file={WORK}/project/$1
    mkdir -p "${{file%/*}}"
    printf '%s' "$2" >> "$file"
    : > "${{file%/*}}/envtool-empty.rs"
    shift 2
done
cd "{WORK}/project/$directory"
version=$("$cargo" --version)
minor=${{version#cargo 1.}}
export CARGO_RESOLVER_INCOMPATIBLE_RUST_VERSIONS=fallback
if [ "${{minor%%.*}}" -lt 68 ]; then export RUSTC_BOOTSTRAP=1 CARGO_UNSTABLE_SPARSE_REGISTRY=true; fi
"""
_LOCK = """\
if [ -e Cargo.lock ]; then "$cargo" update --workspace >&2; else "$cargo" generate-lockfile >&2; fi
exec cat Cargo.lock
"""
_DEFAULT = """\
"$cargo" generate-lockfile >&2
cat "$CARGO_HOME"/registry/index/*/config.json
"""
_VENDOR = f"""\
"$cargo" vendor --locked --versioned-dirs {WORK}/vendor >&2
cd {WORK}/vendor
exec tar -c -f - -- "$@"
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class RustSources:
    """What of a request's project decides the pins. Paths are relative to the directory of the spec."""

    cargo: str
    directory: str
    lock: str | None  # text
    manifests: Mapping[str, str]  # path -> text
    config: str  # text of the project's .cargo/config.toml

    def lock_path(self) -> str:
        return "Cargo.lock" if self.directory == "." else f"{self.directory}/Cargo.lock"

    def host_config(self) -> CargoConfig:
        return host_config(self.config, os.environ)

    def reduced(self, *, rust_versions: bool = True) -> dict[str, str]:
        """Returns path -> text of each manifest, as far as it decides what cargo resolves; with `rust_versions` false
        without the least version of Rust that its packages support. Raises ResolveError."""
        try:
            manifests = tuple(parse_manifest(text, path) for path, text in sorted(self.manifests.items()))
            tables = reduce_manifests(manifests)
            if not rust_versions:
                tables = {path: without_rust_version(table) for path, table in tables.items()}
            return {path: toml_text(table) for path, table in tables.items()}
        except CargoManifestError as error:
            raise api.ResolveError(f"{error} ({error.file}:{error.line})", code="cargo-manifest") from None
        except ValueError as error:
            raise api.ResolveError(f"a Cargo.toml has {error}", code="cargo-manifest") from None


def resolve_pins(request: api.Request, site: api.Site, sources: RustSources) -> dict[str, api.Json]:
    """See the module. Raises ResolveError, FetchError."""
    made = None
    text = sources.lock
    if text is None:
        site.note("cargo resolves versions")
        text = made = _make_lock(site, sources, _earlier_lock(request))
    lock = read_lock(text, sources.lock_path())
    git: api.Json = None
    if lock.repositories:
        site.note(f"cargo fetches {len(lock.repositories)} git repositories")
        archive = vendor_git(site, sources, text, lock)
        path = site.keep([archive])
        repositories: list[api.Json] = [
            {"url": item.url, "commit": item.commit, "reference": item.reference} for item in lock.repositories
        ]
        git = {"repositories": repositories, "sha256": path.name, "size": len(archive)}
    return {"crates": [*crate_rows(lock)], "git": git, "lock": [*made.splitlines()] if made is not None else None}


def crate_rows(lock: CargoLock) -> Iterator[api.Json]:
    """Yields the `crates` of the pins."""
    for crate in lock.crates:
        row: dict[str, api.Json] = {"name": crate.name, "version": crate.version, "sha256": crate.sha256}
        yield row | ({"registry": crate.registry} if crate.registry else {})


def read_lock(text: str, path: str) -> CargoLock:
    """Parses a lock. Raises ResolveError."""
    try:
        return parse_lock(text, path)
    except CargoLockError as error:
        raise api.ResolveError(str(error), code="cargo-lock") from None


def _earlier_lock(request: api.Request) -> str:
    """Returns the lock in the earlier pins: cargo keeps its versions where it can."""
    lines = request.keep.get("lock") if isinstance(request.keep, dict) else None
    return "".join(f"{line}\n" for line in lines) if isinstance(lines, list) else ""


def _make_lock(site: api.Site, sources: RustSources, earlier: str) -> str:
    # `rust-version` is the oldest Rust that the project supports. With it, cargo would look for crates that this oldest
    # one compiles, and take the newest of all where there are none; without it, for crates that the env's compiles.
    files = sources.reduced(rust_versions=False) | ({sources.lock_path(): earlier} if earlier else {})
    output = run_cargo(site, _LOCK, sources.cargo, sources.directory, files, sources.host_config())
    return output.decode(errors="replace")


def default_index_config(site: api.Site, cargo: str, crate: str, config: CargoConfig) -> bytes:
    """Returns config.json of cargo's own registry, which the cargo of the stack asks for the crate. Raises
    ResolveError."""
    manifest = {
        "package": {"name": "envtool-asks", "version": "0.0.0", "edition": "2018"},
        "lib": {"path": "envtool-empty.rs"},
        "dependencies": {crate: "*"},
    }
    return run_cargo(site, _DEFAULT, cargo, ".", {"Cargo.toml": toml_text(manifest)}, config)


def run_cargo(
    site: api.Site,
    script: str,
    cargo: str,
    directory: str,
    files: Mapping[str, str],
    config: CargoConfig,
    words: Sequence[str] = (),
) -> bytes:
    """Runs a script after _PREPARE, with the network, in a container on the stack. Returns its output. Raises
    ResolveError."""
    env = {"ENVTOOL_CARGO_CONFIG": config.text(CAFILE if os.path.isfile(config.cafile) else "")}
    binds = [api.Bind(source=path, target=path) for path in config.directories if os.path.isdir(path)]
    if os.path.isfile(config.cafile):
        binds.append(api.Bind(source=os.path.realpath(config.cafile), target=CAFILE))
        env["CARGO_HTTP_CAINFO"] = CAFILE
    pairs = [
        word
        for path, text in files.items()
        for begin in range(0, max(len(text), 1), _PIECE)
        for word in (path, text[begin : begin + _PIECE])
    ]
    names = "set --" + "".join(f' "{word}"' for word in words) + "\n"  # names of crates, in which nothing needs quoting
    argv = ("/bin/sh", "-c", _PREPARE + names + script, "cargo", cargo, directory, *pairs)
    completed = site.run(api.Command(argv=argv), env=env, binds=binds, network=True)
    if completed.status == NO_CARGO:
        raise api.ResolveError(f"there is no {cargo} in this env", code="no-cargo", hint=HINT_CARGO)
    if completed.status:
        output = completed.stderr.decode(errors="replace")
        raise api.ResolveError(f"cargo could not resolve the dependencies: {last_words(output)}", code="resolve")
    return completed.stdout


def last_words(text: str) -> str:
    """Returns the reason that cargo gave for its failure, on one line, without credentials."""
    plain = re.sub(r"(?<=://)[^/@\s'\"]+@", "***@", text)
    lines = [line.strip() for line in plain.splitlines() if line.strip()]
    errors = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
    causes = [lines[number + 1] for number, line in enumerate(lines[:-1]) if line == "Caused by:"]
    words = dict.fromkeys([*errors[:1], *causes[-1:]] or lines[-1:])
    return "; ".join(words)[:500] or "it said nothing"


# ---- packages from git ----------------------------------------------------------------------------------------------


def vendor_git(site: api.Site, sources: RustSources, text: str, lock: CargoLock) -> bytes:
    """Returns an uncompressed tar of the packages from git, each in a directory of its name and version, as `cargo
    vendor` makes them of the pinned commits; byte for byte the same each time. Raises ResolveError."""
    names = [f"{name}-{version}" for name, version in lock.git_crates]
    files = sources.reduced() | {sources.lock_path(): text}
    output = run_cargo(site, _VENDOR, sources.cargo, sources.directory, files, sources.host_config(), names)
    if len(output) > MAX_ARCHIVE:
        raise api.ResolveError(f"the packages from git have more than {MAX_ARCHIVE >> 20} MB", code="cargo-git")
    return normalize_archive(output)


def normalize_archive(content: bytes) -> bytes:
    """Returns a tar with the same directories, files and symlinks, sorted, of root, and with times of 0. Raises
    ResolveError."""
    written = io.BytesIO()
    try:
        with (
            tarfile.open(fileobj=io.BytesIO(content)) as archive,
            tarfile.open(fileobj=written, mode="w", format=tarfile.PAX_FORMAT) as target,
        ):
            for member in sorted(archive.getmembers(), key=lambda item: item.name):
                if not (member.isreg() or member.isdir() or member.issym()):
                    continue
                copy = tarfile.TarInfo(member.name)
                copy.type, copy.linkname, copy.size = member.type, member.linkname, member.size
                copy.mode = 0o755 if member.isdir() or member.mode & 0o111 else 0o644
                target.addfile(copy, archive.extractfile(member) if member.isreg() else None)
    except (tarfile.TarError, OSError, ValueError) as error:
        raise api.ResolveError(
            f"the archive of the packages from git cannot be read: {error}", code="cargo-git"
        ) from None
    return written.getvalue()
