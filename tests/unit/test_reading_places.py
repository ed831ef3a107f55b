"""Nothing reads a file by path, but in places that nobody else can write to, or that are this machine's own.

All the rest goes through envtool/project/host_access.py, beneath.py, directory/ or stored.py: a path may be a link, a fifo or a terabyte by
the time that it is opened. Who needs a new entry below says why its place is nobody else's.
"""

from __future__ import annotations

import ast

import pytest

from tests.unit.test_writing_places import CONTAINER, PRIVATE, ROOT, SOURCES, STORE

OWN = "this machine's own, or what the caller typed"
DESCRIPTOR = "what was opened by a descriptor"
ALLOWED = {
    "envtool/container/": CONTAINER,
    "envtool/store/": STORE,
    "envtool/teamcache/": STORE,
    "envtool/verify/": STORE,
    "envtool/net/": OWN,
    "envtool/distributions.py": OWN + ": where Python imports from",
    "envtool/testing/layer_build.py": STORE,
    "envtool/kinds/debian/deb.py": STORE + ": what was fetched",
    "envtool/kinds/debian/suite_index.py": STORE + ": what was fetched",
    "envtool/kinds/debian/contents_index.py": STORE + ": what was fetched",
    "envtool/kinds/debian/mirrors.py": OWN,
    "envtool/kinds/debian/offline_repo.py": CONTAINER,
    "envtool/kinds/debian/release.py": OWN + ": keyrings",
    "envtool/kinds/host.py": OWN,
    "envtool/kinds/image/original.py": STORE + ": what was fetched",
    "envtool/kinds/dockerfile/copy_inside.py": CONTAINER,
    "envtool/kinds/in_place_steps.py": CONTAINER,
    "envtool/fs/passwd.py": "/proc/self",
    "envtool/net/oci/": OWN + ", and blobs of the store",
    "envtool/api/pip_indexes.py": OWN + ": indexes on disk, of pip's configuration",
    "envtool/build/host_network.py": OWN,
    "envtool/build/pip_config_files.py": OWN + ": pip's configuration",
    "envtool/build/": STORE,
    "envtool/run/observed_reads.py": OWN + ": /sys",
    "envtool/run/restore.py": STORE,
    "envtool/run/artefacts.py": STORE,
    "envtool/services/fresh_directory.py": OWN + ": a module of envtool",
    "envtool/services/up/service_log.py": STORE + ": up/KEY",
    "envtool/services/host_ports.py": "/proc",
    "envtool/run/shared_results.py": STORE,
    "envtool/run/fast_test.py": STORE,
    "envtool/images/image_blobs.py": STORE,
    "envtool/kinds/image/image_archives.py": PRIVATE,
    "plugins/envtool_java/src/envtool_java/build_recorder.py": STORE + ": what was fetched",
    "plugins/envtool_java/src/envtool_java/repositories.py": OWN,
    "plugins/envtool_node/src/envtool_node/building.py": CONTAINER,
    "plugins/envtool_node/src/envtool_node/manager_building.py": CONTAINER,
    "plugins/envtool_node/src/envtool_node/manager_resolver.py": STORE + ": what was fetched",
    "plugins/envtool_node/src/envtool_node/node_releases.py": STORE + ": what was fetched",
    "plugins/envtool_node/src/envtool_node/npmrc.py": OWN,
    "plugins/envtool_rust/src/envtool_rust/rust_releases.py": OWN + ": a manifest that rustup wrote",
    "plugins/envtool_python/src/envtool_python/python_releases.py": OWN + ": uv.toml",
    "plugins/envtool_go/src/envtool_go/module_cache.py": CONTAINER,
    "plugins/envtool_go/src/envtool_go/go_releases.py": STORE + ": what was fetched",
    "plugins/envtool_go/src/envtool_go/module_hashes.py": STORE + ": what was fetched",
    "plugins/envtool_go/src/envtool_go/module_proxies.py": OWN,
    "plugins/envtool_go/src/envtool_go/resolver.py": STORE + ": what was fetched",
    "plugins/envtool_rust/src/envtool_rust/cargo_config.py": OWN,
    "plugins/envtool_rust/src/envtool_rust/crate_downloads.py": STORE,
    "plugins/envtool_python/src/envtool_python/as_pip_writes.py": CONTAINER,
    "plugins/envtool_python/src/envtool_python/uv_metadata.py": CONTAINER,
    "plugins/envtool_python/src/envtool_python/uv_wheels.py": STORE + ": what was fetched",
    "plugins/envtool_python/src/envtool_python/with_uv.py": CONTAINER,
    "plugins/envtool_python/src/envtool_python/beside.py": CONTAINER,
    "plugins/envtool_python/src/envtool_python/calls.py": CONTAINER,
    "plugins/envtool_python/src/envtool_python/compiling.py": CONTAINER,
    "plugins/envtool_python/src/envtool_python/inside.py": CONTAINER,
    "plugins/envtool_python/src/envtool_python/tagged.py": CONTAINER,
}
READS = ("open", "io.open", "tarfile.open", "zipfile.ZipFile", "gzip.open")
DESCRIPTORS = (
    "fd",
    "descriptor",
    "reader",
    "writer",
    "found",
    "reading",
    "open_beneath(",
    "os.open(",
    "self._draft.fd",
)


def reads(tree: ast.AST) -> list[tuple[int, str]]:
    """(line, text) of every call that reads a file by its path."""
    return [(node.lineno, ast.unparse(node)) for node in ast.walk(tree) if isinstance(node, ast.Call) and _reads(node)]


def _reads(call: ast.Call) -> bool:
    text = ast.unparse(call.func)
    if text.rpartition(".")[2] in ("read_bytes", "read_text") and not call.args:
        return True
    if text not in READS or not call.args:
        return False
    modes = [*call.args[1:2], *(each.value for each in call.keywords if each.arg == "mode")]
    if any(isinstance(mode, ast.Constant) and set(str(mode.value)) & set("wax") for mode in modes):
        return False
    return not ast.unparse(call.args[0]).startswith(DESCRIPTORS)


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_nobody_else_reads(source):
    name = str(source.relative_to(ROOT))
    if any(name == key or (key.endswith("/") and name.startswith(key)) for key in ALLOWED):
        return
    found = reads(ast.parse(source.read_text()))
    assert not found, f"{name}: use envtool/project/host_access.py, or say in this test whose place it is"


def test_each_exception_is_needed():
    for key in ALLOWED:
        sources = [source for source in SOURCES if str(source.relative_to(ROOT)).startswith(key)]
        assert any(reads(ast.parse(source.read_text())) for source in sources), f"{key} reads nothing (any more)"


def test_it_would_notice():
    for line in (
        "open(p)",
        "open(p, 'rb')",
        "open(item.file, 'rb')",
        "p.read_bytes()",
        "tarfile.open(p, 'r:')",
        "zipfile.ZipFile(p)",
    ):
        assert reads(ast.parse(line)), line
    for line in (
        "open(p, 'w')",
        "open(fd, 'rb')",
        "open(open_beneath(d, p), 'rb')",
        "files.read_bytes(path)",
        "site.open(path)",
    ):
        assert not reads(ast.parse(line)), line
