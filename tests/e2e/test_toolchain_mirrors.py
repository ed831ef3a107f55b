"""Toolchains from servers in the formats of rustup, Adoptium and uv: real releases, made from Debian's packages, are
installed from a server of this machine, and run. What else servers may say: plugins/*/tests/test_toolchain.py."""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile

import pytest

pytest.importorskip("envtool_rust")
pytestmark = [pytest.mark.e2e, pytest.mark.network]

ONE = pytest.mark.parametrize("caller", ["root" if os.geteuid() == 0 else "me"], indirect=True)
TARGET = f"{os.uname().machine}-unknown-linux-gnu"

# Each makes the archives of a release from the packages of a suite: in `dist`, with the layout of the real ones. Debian's
# programs find their libraries in the system's directories: a script beside each says where they are instead.
MAKE_RUST = """\
set -eu
version=$(rustc --version | cut -d ' ' -f 2)
target=$(rustc -vV | sed -n 's/host: //p')
add_program() {  # component, path of a program
    top=$1-$version-$target/$1
    mkdir -p "$top/bin" "$top/lib" "$top/libexec"
    cp "$2" "$top/libexec/"
    ldd "$2" | awk '/=> \\//{print $3}' | grep -vE '/(libc|libm|libdl|libpthread|librt)\\.so' | xargs -I {} cp -n {} "$top/lib/"
    printf '#!/bin/sh\\nLD_LIBRARY_PATH=/opt/toolchains/rust/lib exec /opt/toolchains/rust/libexec/%s "$@"\\n' \\
        "$(basename "$2")" > "$top/bin/$(basename "$2")"
    chmod 755 "$top/bin/$(basename "$2")"
}
add_program rustc /usr/bin/rustc
add_program cargo /usr/bin/cargo
std=rust-std-$version-$target/rust-std-$target
mkdir -p "$std/lib/rustlib/$target" dist
cp -rL "/usr/lib/rustlib/$target/lib" "$std/lib/rustlib/$target/"
for name in rustc cargo rust-std; do
    top=$name-$version-$target
    touch "$top/install.sh" "$(ls -d "$top"/*/)manifest.in"
    tar -cf - "$top" | gzip -1 > "dist/$top.tar.gz"
done
printf %s "$version" > dist/version
"""
RUN_RUST = """\
set -eu
test "$(command -v rustc)" = /opt/toolchains/rust/bin/rustc
rustc --version
cargo --version
mkdir -p /tmp/hello/src && cd /tmp/hello
printf '[package]\\nname = "hello"\\nversion = "1.0.0"\\nedition = "2021"\\n' > Cargo.toml
printf 'fn main() { println!("hello from {}", "a pinned toolchain"); }\\n' > src/main.rs
cargo run --offline --quiet
test ! -e /opt/toolchains/rust/manifest.in
"""


def serve_rust(server, archives, version):
    """Puts a release on a server in rustup's format; returns the version that the spec asks for, and the URL."""
    rows = ['manifest-version = "2"', 'date = "2024-08-08"']
    for name, content in archives.items():
        component = name.partition(f"-{version}")[0]
        path = f"2024-08-08/{name}"
        server.files[f"/rust/dist/{path}"] = content
        rows += [
            f'[pkg.{component}]\nversion = "{version} (an abbreviation 2024-08-06)"',
            f"[pkg.{component}.target.{TARGET}]",
        ]
        rows += ["available = true", f'url = "https://elsewhere.invalid/dist/{path}"']
        rows.append(f'hash = "{hashlib.sha256(content).hexdigest()}"')
    manifest = "\n".join(rows).encode()
    wanted = version.rpartition(".")[0]
    for channel in (version, wanted, "stable"):
        server.files[f"/rust/dist/channel-rust-{channel}.toml"] = manifest
        server.files[f"/rust/dist/channel-rust-{channel}.toml.sha256"] = hashlib.sha256(manifest).hexdigest().encode()
    return wanted, f"{server.url}/rust"


MAKE_JAVA = """\
set -eu
version=$(java -version 2>&1 | sed -n 's/.*version "\\([0-9.]*\\)".*/\\1/p')
mkdir dist
cp -rL "$(dirname "$(dirname "$(readlink -f /usr/bin/javac)")")" "jdk-$version+1" || true  # some links lead nowhere
tar -cf - "jdk-$version+1" | gzip -1 > "dist/OpenJDK17U-jdk_x64_linux_hotspot_${version}_1.tar.gz"
printf %s "$version" > dist/version
"""
RUN_JAVA = """\
set -eu
test "$(command -v javac)" = /opt/toolchains/java/bin/javac
test "$JAVA_HOME" = /opt/toolchains/java
java -version 2>&1
printf 'class Hello { public static void main(String[] a) { System.out.println("hello from a pinned toolchain"); } }' > /tmp/Hello.java
javac -d /tmp /tmp/Hello.java
java -cp /tmp Hello
"""


def serve_java(server, archives, version):
    """The same on a server with Adoptium's interface."""
    ((file, content),) = archives.items()
    major, minor, security, *patch = map(int, version.split("."))
    architecture = {"x86_64": "x64"}.get(os.uname().machine, os.uname().machine)
    release = {
        "release_name": f"jdk-{version}+1",
        "version_data": {"major": major, "minor": minor, "security": security, "patch": [*patch, None][0], "build": 1},
        "binaries": [
            {
                "os": "linux", "architecture": architecture, "image_type": "jdk", "jvm_impl": "hotspot",
                "package": {"name": file, "link": "file:///etc/passwd", "checksum": hashlib.sha256(content).hexdigest()},
            }
        ],
    }  # fmt: skip
    query = f"architecture={architecture}&heap_size=normal&image_type=jdk&jvm_impl=hotspot&os=linux&page=0&page_size=20"
    assets = f"/jdk/v3/assets/feature_releases/{major}/ga?{query}&project=jdk&sort_order=DESC&vendor=eclipse"
    server.files[assets] = json.dumps([release]).encode()
    path = f"binary/version/jdk-{version}%2B1/linux/{architecture}/jdk/hotspot/normal/eclipse"
    server.files[f"/jdk/v3/{path}"] = content
    return str(major), f"{server.url}/jdk"


MAKE_PYTHON = """\
set -eu
version=$(python3.11 -c 'import platform; print(platform.python_version())')
mkdir -p dist python/bin python/lib
cp /usr/bin/python3.11 python/bin/
ln -s python3.11 python/bin/python3
cp -rL /usr/lib/python3.11 python/lib/
tar -cf - python | gzip -1 > "dist/cpython-$version+20240101-$(uname -m)-unknown-linux-gnu-install_only.tar.gz"
printf %s "$version" > dist/version
"""
RUN_PYTHON = """\
set -eu
test "$(command -v python3)" = /opt/toolchains/python/bin/python3
test ! -e /usr/bin/python3
python3 --version
python3 -c 'import json, sys; assert sys.prefix == "/opt/toolchains/python", sys.prefix
print(json.loads("[\\"hello from a pinned toolchain\\"]")[0])'
"""


def serve_python(server, archives, version):
    """The same as a list in uv's format beside a mirror of the archives."""
    ((file, content),) = archives.items()
    major, minor, patch = map(int, version.split("."))
    server.files[f"/python/20240101/{file.replace('+', '%2B')}"] = content
    row = {
        "name": "cpython", "arch": {"family": os.uname().machine, "variant": None}, "os": "linux", "libc": "gnu",
        "major": major, "minor": minor, "patch": patch, "prerelease": "", "variant": None, "build": "20240101",
        "url": f"https://elsewhere.invalid/releases/download/20240101/{file.replace('+', '%2B')}",
        "sha256": hashlib.sha256(content).hexdigest(),
    }  # fmt: skip
    server.files["/python/download-metadata.json"] = json.dumps({"cpython-3.11-linux-x86_64-gnu": row}).encode()
    return f"{major}.{minor}", f"{server.url}/python"


# tool -> Debian's packages that an archive is made of, how, what serves it, what runs in an env with it, what that needs
RELEASES = {
    "rust": (["cargo", "gcc", "libc6-dev"], MAKE_RUST, serve_rust, RUN_RUST, ["gcc", "libc6-dev"]),
    "java": (["openjdk-17-jdk-headless"], MAKE_JAVA, serve_java, RUN_JAVA, []),
    "python": (["python3.11"], MAKE_PYTHON, serve_python, RUN_PYTHON, ["libexpat1"]),
}


@ONE
@pytest.mark.sampled(1)
@pytest.mark.parametrize("tool", [*RELEASES])
def test_a_release_is_installed_from_a_server_and_runs(common, server, tool):
    """It is locked by hash, and a run with the lock asks the server nothing."""
    packages, make, serve, run, needs = RELEASES[tool]
    common.write("make.sh", make)
    common.write("run.sh", run)
    layers = [{"apt": packages}]
    common.spec(
        f"envs:\n  t: {{base: {{debian: bookworm}}, layers: {json.dumps(layers)}, tasks: {{make: "
        "{run: 'sh make.sh', outputs: ['dist/*']}}}\n"
    )
    made = common.envtool("run", "make")
    assert made.status == 0, made.said
    files = {path.name: path.read_bytes() for path in (common.project / "dist").iterdir()}
    version = files.pop("version").decode()
    wanted, mirror = serve(server, files, version)
    toolchain = json.dumps({tool: {"version": wanted, "mirror": mirror}})
    layers = [{"apt": needs}] if needs else []
    common.spec(
        f"envs:\n  t: {{base: {{debian: bookworm}}, toolchain: {toolchain}, layers: {json.dumps(layers)}, tasks: "
        "{test: 'sh run.sh'}}\n"
    )
    first = common.envtool("test")
    assert first.status == 0, first.said
    assert common.envtool("lock").status == 0
    lock = (common.project / "envtool.lock").read_text()
    (entry,) = (entry for entry in json.loads(lock)["entries"] if entry["kind"] == f"{tool}-toolchain")
    assert entry["pins"]["archives"][0]["version"] == version
    assert "127.0.0.1" not in lock
    asked = len(server.asked)
    again = common.envtool("exec", "t", "--", "sh", "run.sh")
    assert again.status == 0, again.said
    assert "hello from a pinned toolchain" in again.out
    assert version in again.out
    assert len(server.asked) == asked


def archive(*members):
    """A tar.gz of (name, content or link)."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as tar:
        for name, content in members:
            info = tarfile.TarInfo(name)
            if isinstance(content, bytes):
                info.size, info.mode = len(content), 0o755
                tar.addfile(info, io.BytesIO(content))
            else:
                info.type, info.linkname = tarfile.SYMTYPE, content[0]
                tar.addfile(info)
    return out.getvalue()


@ONE
@pytest.mark.parametrize(
    "members",
    [
        pytest.param([("top/rustc/bin", ["/project"]), ("top/rustc/bin/rustc", b"escaped")], id="absolute"),
        pytest.param([("top/rustc/up", ["../../../.."]), ("top/rustc/up/project/rustc", b"escaped")], id="up"),
        pytest.param([("top/rustc/../../../../project/rustc", b"escaped")], id="name"),
    ],
)
def test_an_archive_that_leads_out_is_refused(place, server, members):
    archives = {f"{name}-9.9.9-{TARGET}.tar.gz": archive(*members) for name in ("rustc", "cargo", "rust-std")}
    wanted, mirror = serve_rust(server, archives, "9.9.9")
    toolchain = json.dumps({"rust": {"version": wanted, "mirror": mirror}})
    place.spec(f"envs:\n  t: {{toolchain: {toolchain}, tasks: {{test: 'true'}}}}\n")
    refused = place.envtool("test")
    assert refused.status != 0, refused.said
    assert "leads out" in refused.said
    assert not (place.project / "rustc").exists()
