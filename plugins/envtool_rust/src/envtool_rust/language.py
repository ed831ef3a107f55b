"""`language: rust`: a project's Cargo.toml as layers. Pure, except `detect`."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from envtool import api
from envtool_rust.kinds import CARGO, join
from envtool_rust.rust_toolchain import MINOR, RELEASES, SUITE, free_name, toolchain_layers

if TYPE_CHECKING:
    from envtool_rust.cargo_manifest import Manifest

TASK = "cargo test {{ args }}"
_MAX_SOURCES = 2_000  # Rust files of a project that are searched for tests
# An attribute (`#[tokio::test]`, `#[cfg(test)]`) or macro (`proptest!`, `quickcheck!`) of tests; an example in the
# documentation, or documentation from another file.
_TEST = re.compile(r"#\[[^\]\n]{0,100}\btest|\b\w{0,40}(?:test|check)\w{0,40}!|```|\binclude_str!")
_MEMBERS = "cargo test --workspace {{ args }}"


def language_layers(env: api.EnvDraft, project: api.Project) -> tuple[api.LayerDraft, ...]:
    """Returns cargo and rustc as an apt layer, if the base is Debian, and the cargo layer of what the project requires.
    Raises SpecError if the project's own files are wrong."""
    from envtool_rust.cargo_manifest import CargoManifestError, find_root, parse_manifest

    path = join(str(env.options.get("directory", ".")), "Cargo.toml")
    text = project.read(path)
    if text is None:
        raise _spec_error(env, f"there is no {path}", hint="`directory:` says where it is")
    try:
        root = find_root(parse_manifest(text, path), project.read)
        needed, options = _cargo_layer(root, project)
    except CargoManifestError as error:
        where = api.Where(file=error.file, line=error.line, column=error.column)
        lines = (project.read(error.file) or "").splitlines()[error.line - 1 : error.line]
        problem = api.Problem(where=where, message=str(error), code="cargo-file", text=(lines or [""])[0])
        raise api.SpecError((problem,)) from None
    used_names = {*env.layer_names, *env.above}
    toolchain = toolchain_layers(env, used_names)
    if not needed:
        return _note_version(env, project, toolchain)
    if "cargo" in env.options:
        options["cargo"] = env.options["cargo"]
    needs = tuple(draft.name for draft in toolchain) or env.layer_names
    crates = api.LayerDraft(name=free_name("crates", used_names), kind="cargo", options=options, needs=needs)
    return _note_version(env, project, (*toolchain, crates))


def _note_version(
    env: api.EnvDraft, project: api.Project, drafts: tuple[api.LayerDraft, ...]
) -> tuple[api.LayerDraft, ...]:
    """Returns the layers, with a note if a file wants another Rust than the env has."""
    from envtool_rust.rust_version_files import FILES, wanted_rusts

    is_own = env.options.get("cargo", CARGO) == CARGO and "rust" not in env.toolchains
    if not is_own or env.base_kind not in ("debian", "host"):
        return drafts
    try:
        if not any(project.read(file) for file in FILES):
            return drafts
    except api.UsageError:  # a file that may not be read, which nothing but this note needs
        return drafts
    from envtool.api.version_choice import note_other_version

    return note_other_version(env, drafts, "rust", wanted_rusts(project), RELEASES)


def _cargo_layer(root: Manifest, project: api.Project) -> tuple[bool, dict[str, api.Json]]:
    """Returns whether a project needs a cargo layer, and its options. A project that has its crates in its own
    directory, as its cargo settings say, needs none. Raises CargoManifestError."""
    from envtool_rust.cargo_manifest import has_dependencies, project_manifests

    options: dict[str, api.Json] = {} if root.directory == "." else {"directory": root.directory}
    if _is_vendored(project, root.directory):
        return False, options
    lock = project.read(join(root.directory, "Cargo.lock"))
    if lock is not None and "git+" not in lock:
        return "source = " in lock, options  # what else is in it, the layer's kind reads
    manifests = project_manifests(root, project.read, project.glob)
    further = [manifest.file for manifest in manifests if manifest.file != root.file]
    if further:
        options["manifests"] = [*further]
    return lock is not None or has_dependencies(manifests), options


def _is_vendored(project: api.Project, directory: str) -> bool:
    from envtool_rust.cargo_config import parse_config

    for name in (".cargo/config.toml", ".cargo/config"):
        text = project.read(join(directory, name))
        sources = parse_config(text).get("source") if text else None
        if not isinstance(sources, dict):
            continue
        replaced = sources.get("crates-io")
        target = sources.get(replaced.get("replace-with")) if isinstance(replaced, dict) else None
        if isinstance(target, dict) and isinstance(target.get("directory"), str):
            return True
    return False


def _spec_error(env: api.EnvDraft, message: str, *, hint: str) -> api.SpecError:
    return api.SpecError((api.Problem(where=env.where, message=message, code="rust", hint=hint),))


# ---- `envtool init` -------------------------------------------------------------------------------------------------


def detect(project: api.Project) -> list[api.Detection]:
    """Returns what the project's files suggest, at most one detection. Runs no code of the project."""
    from envtool_rust.cargo_manifest import CargoManifestError, find_root, parse_manifest, project_manifests
    from envtool_rust.rust_releases import host_server

    text = project.read("Cargo.toml")
    if text is None:
        return []
    try:
        manifest = parse_manifest(text, "Cargo.toml")
        manifests = project_manifests(find_root(manifest, project.read), project.read, project.glob)
    except CargoManifestError as error:
        return [api.Detection(language="rust", reason=f"{error.file}:{error.line}: {error}")]
    if len(manifests) == 1 and _is_extension(manifests[0]):
        reason = "Cargo.toml of an extension of Python: with pyo3's feature extension-module its tests do not link"
        return [api.Detection(language="rust", reason=reason)]
    if not _has_tests(project):
        return [api.Detection(language="rust", reason="Cargo.toml, and no tests")]
    env: dict[str, api.Json] = {"base": {"debian": SUITE}, "language": "rust"}
    wanted = max(map(_minor, manifests), default=0)
    if wanted > MINOR:
        if not host_server(os.environ):
            reason = (
                f"Cargo.toml, which wants Rust 1.{wanted}: Debian {SUITE} has 1.{MINOR}, and this machine has no"
                f' rustup, whose server has others (`toolchain: {{rust: "1.{wanted}"}}`)'
            )
            return [api.Detection(language="rust", reason=reason)]
        env["toolchain"] = {"rust": f"1.{wanted}"}
    if not any(project.glob("target/**")):
        env["caches"] = ["target"]
    task = _MEMBERS if manifest.workspace is not None and len(manifests) > 1 else TASK
    return [api.Detection(language="rust", reason="Cargo.toml", env={**env, "tasks": {"test": task}})]


def _has_tests(project: api.Project) -> bool:
    """Whether a Rust file is below a directory `tests`, or can have a test: cargo passes where it finds none. Files
    that are not text, or more than _MAX_SOURCES, count as tests; a project without Rust files is left to cargo."""
    paths = [path for path in project.glob("**/*.rs") if not path.startswith("target/")]
    if not 0 < len(paths) <= _MAX_SOURCES or any("tests" in path.split("/") for path in paths):
        return True
    for path in paths:
        try:
            text = project.read(path) or ""
        except api.UsageError:
            return True
        if _TEST.search(text):
            return True
    return False


def _is_extension(manifest: Manifest) -> bool:
    """Whether a crate always leaves Python's symbols to the Python that loads it
    (https://pyo3.rs, "the extension-module feature")."""
    features = [
        item.get("features") for name, item in manifest.dependencies() if name == "pyo3" and isinstance(item, dict)
    ]
    return any("extension-module" in names for names in features if isinstance(names, list))


def _minor(manifest: Manifest) -> int:
    """Returns 70 for `rust-version = "1.70"`, 0 for none."""
    package = manifest.package or (manifest.workspace or {}).get("package") or {}
    version = re.match(r"1\.(\d{1,4})", str(package.get("rust-version", "")))
    return int(version[1]) if version else 0
