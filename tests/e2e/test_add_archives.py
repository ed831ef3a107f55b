"""ADD of archives, `fetch: {unpack: true}` and `tarball:` bases: what lies there is replaced or merged, nothing leaves the target, and all is as the archive has it.

The right answers are buildah's (1.28, the same archives), but for devices: nobody without the host's root makes any.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import re
import struct
import tarfile

import pytest
import zstandard

from tests.e2e.test_dockerfile import alone, base, project, system  # noqa: F401
from tests.e2e.test_layers import archive, sha, small_root

pytestmark = pytest.mark.e2e

CAPABILITY = struct.pack("<IIIII", 0x02000001, 1 << 13, 0, 0, 0)  # cap_net_raw+ep


def tar(*members: tuple) -> bytes:
    """Members: (name, what): a string is content, bytes the kind of tarfile; more by name of TarInfo's field."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, what, *more in members:
            member = tarfile.TarInfo(name)
            member.mode, member.mtime = 0o755 if what == tarfile.DIRTYPE else 0o644, 1500000000
            content = what.encode() if isinstance(what, str) else b""
            member.size = len(content)
            member.type = what if isinstance(what, bytes) else tarfile.REGTYPE
            for key, value in (more[0] if more else {}).items():
                setattr(member, key, value)
            archive.addfile(member, io.BytesIO(content))
    return out.getvalue()


def link(name: str, to: str, kind: bytes = tarfile.SYMTYPE) -> tuple:
    return (name, kind, {"linkname": to})


BEFORE = (
    "RUN --network=none mkdir -p /a/dir /a/full/of /a/usr/lib && echo real > /a/real && ln -s real /a/link"
    " && echo one > /a/first && ln /a/first /a/second && ln -s dir /a/dirlink && touch /a/full/of/things /a/file"
    " && ln -s nowhere /a/dangling && ln -s usr/lib /a/lib && ln -s /a/usr/lib /a/lib64 && ln -s /a /to-a"
)
OVER = tar(
    ("./", tarfile.DIRTYPE, {"mode": 0o751}),
    ("link", "new"), ("first", "new"), ("dirlink", tarfile.DIRTYPE), ("dirlink/in", "x"), ("full", "now a file"),
    ("file", tarfile.DIRTYPE), ("file/in", "x"), ("dangling", "found"), ("lib/x", "x"), ("lib64/sub/y", "y"),
    link("hard", "real", tarfile.LNKTYPE), ("dir", tarfile.SYMTYPE, {"linkname": "file"}),
)  # fmt: skip
OWN = tar(
    ("/etc/absolute", "x"), ("a/../b", "x"), ("c/./d//e", "x"), link("hard", "/etc/absolute", tarfile.LNKTYPE),
    ("suid", "x", {"mode": 0o4755, "uid": 12, "gid": 34}), ("closed", tarfile.DIRTYPE, {"mode": 0, "uid": 12}),
    ("closed/in", "x"), ("fifo", tarfile.FIFOTYPE), ("sub", tarfile.DIRTYPE), link("l", "sub"), ("l/x", "x"),
    ("caps", "x", {"pax_headers": {"SCHILY.xattr.user.note": "hello",
                                   "SCHILY.xattr.security.capability": CAPABILITY.decode("latin-1")}}),
)  # fmt: skip
ROOT = tar(
    ("./", tarfile.DIRTYPE), ("dev", tarfile.DIRTYPE), ("proc", tarfile.DIRTYPE), ("sys", tarfile.DIRTYPE, {"mode": 0o555}),
    ("dev/null", tarfile.CHRTYPE, {"devmajor": 1, "devminor": 3}), ("dev/log", "x"), ("etc/hosts", "mine"),
    ("srv/tty", tarfile.CHRTYPE, {"devmajor": 5}), link("srv/too", "srv/tty", tarfile.LNKTYPE), ("after", "x"),
)  # fmt: skip
LOOK = 'cd /a && cat real link second dangling full dirlink/in usr/lib/x usr/lib/sub/y; ls -l dir dirlink file/in; stat -c "%a" .'


def test_members_take_the_place_of_what_is_there(project):  # noqa: F811
    project.write("over.tar", OVER)
    base(project, BEFORE, "ADD over.tar /to-a", test="true")
    project.spec(
        f"bases: {{img: {{dockerfile: {{file: Dockerfile}}}}}}\nenvs: {{unit: {{base: img, tasks: {{test: '{LOOK}'}}}}}}\n"
    )
    done = project.envtool("test", "--json")
    assert done.status == 0, done.said
    text = done.log()
    assert text.startswith("real\nnewone\nfoundnow a filexxy"), text
    assert " dir -> file" in text
    assert text.endswith("\n751\n")


def test_an_archive_is_unpacked_as_it_is(project):  # noqa: F811
    for name, pack in {"": bytes, ".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress,
                       ".zst": zstandard.compress}.items():  # fmt: skip
        project.write(f"own.tar{name}", pack(OWN))
    project.write("root-fs.tar", ROOT)
    project.write("no.tar", "no tar")
    names = [".gz", ".bz2", ".xz", ".zst"]
    look = 'cd /0 && stat -c "%n %a %u:%g %h" * && cat l/x etc/absolute && ls -A /srv && ! ls /x /dev/log 2>&1; cat /no/no.tar'
    base(
        project,
        "ADD own.tar /0/",
        *(f"ADD own.tar{name} /{number}/" for number, name in enumerate(names, 1)),
        "ADD root-fs.tar /",
        "ADD no.tar /no/",
        "RUN --network=none for each in 1 2 3 4; do (cd /0 && find . | sort | xargs stat -c '%n %a %u %s') > /tmp/0;"
        " (cd /$each && find . | sort | xargs stat -c '%n %a %u %s') | cmp - /tmp/0 || exit 1; done",
        test="",
    )
    project.spec(SPEC % look)
    done = project.envtool("test", "--json")
    assert done.status == 0, done.said
    one = project.caller.mode == "single"  # an id that is 1000 in tasks
    root, other = ("1000:1000", "1000:1000") if one else ("0:0", "12:34")
    for line in (f"etc 755 {root} 2", f"hard 644 {root} 2", f"suid 4755 {other} 1", f"fifo 644 {root} 1",
                 f"b 644 {root} 1", f"c 755 {root} 3", f"sub 755 {root} 2"):  # fmt: skip
        assert f"{line}\n" in done.log(), done.log()
    assert "xx" in done.log()
    assert "srv/tty: left out: device" in done.log()
    assert done.log().endswith("no tar")
    if project.caller.mode == "root":
        (found,) = project.store.glob("layers/*/tree/0/caps")
        assert os.getxattr(found, "user.note") == b"hello"
        assert os.getxattr(found, "security.capability")[4:8] == CAPABILITY[4:8]


SPEC = "bases: {img: {dockerfile: {file: Dockerfile}}}\nenvs: {unit: {base: img, tasks: {test: '%s'}}}\n"


def test_what_cannot_be_unpacked_is_said(alone):  # noqa: F811
    alone.write("bad.tar", tar(("out/x", "x")))
    base(alone, "RUN --network=none mkdir /t && ln -s /etc /t/out", "ADD bad.tar /t")
    done = alone.envtool("test")
    assert done.status == 3, done.said
    assert "\nbad.tar: member 'out/x' leads out of the target through a symlink\n" in done.said
    assert "Dockerfile:4" in done.said


def test_ids_that_not_everybody_has(project):  # noqa: F811
    project.write("own.tar", tar(("in", "x", {"uid": 1234567, "gid": 7654321})))
    project.write("f", "x")
    look = 'stat -c "%u:%g" /t/in /v/f'
    base(project, "ADD own.tar /t/", "COPY --chown=2000000:3000000 f /v/f", "RUN --network=none true")
    project.spec(SPEC % look)
    done = project.envtool("test", "--json")
    mode = project.caller.mode
    if mode == "range":
        assert done.status == 3
        assert "own.tar: member 'in' belongs to 1234567:7654321: ids of containers here end at" in done.said
        assert "/etc/subuid" in done.said
        base(project, "COPY --chown=2000000:3000000 f /v/f")
        project.spec(SPEC % look)
        assert "/v cannot belong to 2000000:3000000: ids of containers" in project.envtool("test").said
        base(project, "USER 2000000", "RUN --network=none true")
        assert "user 2000000 (id 2000000, group 0): ids of containers" in project.envtool("test").said
        return
    assert done.status == 0, done.said
    if mode == "root":
        assert done.log().endswith("1234567:7654321\n2000000:3000000\n")


def cut(data: bytes) -> bytes:
    """A tar without its end."""
    size = len(data.rstrip(b"\0"))
    return data[: size + -size % 512]


TARBALL = """\
bases: {{tiny: {{tarball: {{path: root.tar, sha256: {root}}}}}}}
envs:
  unit:
    base: tiny
    layers: [{{fetch: {{url: "{url}/own.tar", sha256: {own}, to: /opt/own, unpack: true}}}}]
    tasks: {{test: "{test}"}}
"""


def test_fetch_and_tarball_bases_unpack_by_the_same_rules(place, server):
    files = archive({name: path.read_bytes() for name, path in small_root().items()}, mode=0o755)
    root = cut(ROOT) + cut(OWN) + gzip.decompress(files)
    place.write("root.tar", root)
    server.files["/own.tar"] = OWN
    look = (
        "ls -lnd /suid /opt/own/suid /closed /opt/own/closed /fifo; cat /etc/absolute /opt/own/etc/absolute /b /l/x"
        " /opt/own/closed/in; ls /srv; ls /dev/log || echo no log"
    )
    place.spec(TARBALL.format(root=sha(root), own=sha(OWN), url=server.url, test=look))
    done = place.envtool("test", "-v")
    assert done.status == 0, done.said
    for line in ("-rwsr-xr-x 1 .* /suid", "-rwxr-xr-x 1 .* /opt/own/suid", "d--------- 2 .* /closed",
                 "drwxr-xr-x 2 .* /opt/own/closed", "prw-r--r-- 1 .* /fifo", "xxxxxls: cannot access ./dev/log", "srv/tty: left out: device"):  # fmt: skip
        assert re.search(line, done.said), done.said
    if place.caller.mode == "root":
        assert re.search("-rwsr-xr-x 1 12 34 .* /suid", done.said)
        base, layer = place.store.glob("layers/*/tree/caps"), place.store.glob("layers/*/tree/opt/own/caps")
        assert os.getxattr(next(base), "security.capability")[4:8] == CAPABILITY[4:8]
        assert os.listxattr(next(layer)) == []
    bad = tar(link("l", "/etc"), ("l/passwd", "x"))
    server.files["/own.tar"] = bad
    place.spec(TARBALL.format(root=sha(root), own=sha(bad), url=server.url, test="true"))
    done = place.envtool("test")
    assert done.status == 3
    assert "own.tar: member 'l/passwd' leads out of the target through a symlink" in done.said
    assert "envtool.yaml:6" in done.said
    bad = tar(("etc/../../x", "x"))
    place.write("root.tar", bad)
    place.spec(TARBALL.format(root=sha(bad), own=sha(bad), url=server.url, test="true"))
    done = place.envtool("test")
    assert done.status == 3
    assert "root.tar: member 'etc/../../x' leads out of the archive's directory" in done.said
    place.check_nothing_left()
