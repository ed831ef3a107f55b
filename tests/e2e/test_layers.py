"""The layer kinds that come with envtool, in real containers: what they put there, what they may not, what is kept."""

from __future__ import annotations

import hashlib
import io
import os
import re
import subprocess
import tarfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.e2e


def archive(files: dict[str, bytes], *, mode: int = 0o644, top: str = "") -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as tar:
        for name, data in files.items():
            member = tarfile.TarInfo(top + name)
            member.size, member.mode, member.uid, member.gid = len(data), mode, 0, 0
            tar.addfile(member, io.BytesIO(data))
    return out.getvalue()


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def test_run_sees_its_inputs_and_nothing_else(place):
    place.write("tools/one.txt", "1")
    place.write("secret.txt", "2")
    place.spec("""\
layers:
  tool: {run: "mkdir -p /opt/t && ls -A /project > /opt/t/seen && cat tools/one.txt > /opt/t/one", inputs: [tools/]}
envs:
  unit: {layers: [tool], tasks: {test: "cat /opt/t/seen /opt/t/one"}}
""")
    done = place.envtool("test", "-v")
    assert done.status == 0, done.said
    assert "tools\n1" in done.said
    assert "secret" not in done.said.replace("secret.txt: 2", "")


def test_an_edited_input_rebuilds_and_another_file_does_not(place):
    place.write("tools/one.txt", "1")
    place.spec("""\
envs:
  unit:
    layers: [{run: "cp -r /project/tools /opt/tools", inputs: [tools]}]
    tasks: {test: "cat /opt/tools/*"}
""")
    assert place.envtool("test").status == 0
    place.write("other.txt", "x")
    again = place.envtool("test", "--json")
    assert not again.finished("layer"), "an unrelated file rebuilt the layer"
    place.write("tools/one.txt", "2")
    changed = place.envtool("test", "--json")
    assert [event["outcome"] for event in changed.finished("layer")] == ["built"]
    assert "2" in place.envtool("exec", "unit", "--", "cat", "/opt/tools/one.txt").out


def test_builds_have_no_network_unless_they_ask(place, server):
    server.files["/x"] = b"from outside"
    place.write(
        "get.py",
        f"""\
import sys, urllib.request
try:
    print(urllib.request.urlopen("{server.url}/x", timeout=5).read())
except OSError as error:
    sys.exit(f"refused: {{error}}")
""",
    )
    spec = """\
envs:
  unit:
    layers: [{{run: "python3 get.py > /opt/got", inputs: [get.py]{more}}}]
    tasks: {{test: "cat /opt/got"}}
"""
    place.spec(spec.format(more=""))
    refused = place.envtool("test")
    assert refused.status == 3
    assert not server.asked
    place.spec(spec.format(more=", network: true"))
    done = place.envtool("test", "-v")
    assert done.status == 0, done.said
    assert "from outside" in done.said


def test_a_build_that_fails_shows_its_output_and_leaves_no_layer(place):
    place.spec("envs:\n  unit: {layers: [{run: 'echo what happened; exit 7'}], tasks: {test: 'true'}}\n")
    before = len(place.layers())
    done = place.envtool("test")
    assert done.status == 3
    assert "what happened" in done.said
    assert "exit 7" in done.said
    assert re.search(r"envtool\.yaml:\d", done.said)
    assert len(place.layers()) == before
    place.check_nothing_left()


def test_copy_puts_files_where_it_says(place):
    place.write("etc/app.conf", "a=1")
    place.write("bin/tool", "#!/bin/sh\necho tool", mode=0o755)
    place.spec("""\
envs:
  unit:
    layers:
      - copy: {from: etc/app.conf, to: /opt/app.conf, mode: "0600"}
      - copy: {from: bin, to: /opt/bin}
    tasks: {test: "stat -c '%a %U' /opt/app.conf && /opt/bin/tool"}
""")
    done = place.envtool("test", "-v")
    assert done.status == 0, done.said
    assert "600" in done.said
    assert "tool" in done.said


def test_fetch_checks_unpacks_and_asks_once(place, server):
    data = archive({"a/x.txt": b"hello", "a/b/y.txt": b"there"}, top="pkg-1/")
    server.files["/pkg.tar.gz"] = data
    place.spec(f"""\
envs:
  unit:
    layers:
      - fetch: {{url: "{server.url}/pkg.tar.gz", sha256: "{sha(data)}", to: /opt/pkg, unpack: true, strip: 1}}
    tasks: {{test: "cat /opt/pkg/a/x.txt /opt/pkg/a/b/y.txt"}}
""")
    done = place.envtool("test", "-v")
    assert done.status == 0, done.said
    assert "hello" in done.said
    assert place.envtool("test", "--again").status == 0
    assert server.asked == ["/pkg.tar.gz"]


def test_a_fetch_that_is_not_what_its_hash_says_is_refused(place, server):
    server.files["/x"] = b"something else"
    place.spec(f"""\
envs:
  unit:
    layers: [{{fetch: {{url: "{server.url}/x", sha256: {sha(b"x")}, to: /opt/x}}}}]
    tasks: {{test: "true"}}
""")
    done = place.envtool("test")
    assert done.status == 3
    assert sha(b"x")[:12] in done.said
    place.check_nothing_left()


def test_layers_that_disagree_about_a_path_are_an_error(place):
    place.spec("""\
layers:
  one: {run: "echo 1 > /opt/same", needs: []}
  two: {run: "echo 2 > /opt/same", needs: []}
envs:
  bad: {layers: [one, two], tasks: {test: "cat /opt/same"}}
""")
    done = place.envtool("test")
    assert done.status == 3
    assert "`one` and `two` both write /opt/same" in done.said
    assert "needs:" in done.said
    place.spec("""\
layers:
  one: {run: "echo 1 > /opt/same", needs: []}
  two: {run: "echo 2 > /opt/same", needs: [one]}
envs:
  good: {layers: [one, two], tasks: {test: "cat /opt/same"}}
""")
    done = place.envtool("test", "-v")
    assert done.status == 0, done.said
    assert "2" in done.said


def test_variables_of_layers_reach_builds_and_tasks_and_change_the_key(place):
    spec = """\
layers:
  env: {{run: "mkdir -p /opt/e/bin", set: {{PATH: /opt/e/bin, GREETING: {word}}}}}
  use: {{run: "echo $GREETING > /opt/said"}}
envs:
  unit: {{layers: [env, use], tasks: {{test: "cat /opt/said; echo $PATH"}}}}
"""
    place.spec(spec.format(word="hello"))
    done = place.envtool("test", "-v")
    assert "hello" in done.said, done.said
    assert "/opt/e/bin:/usr/local/sbin" in done.said
    place.spec(spec.format(word="goodbye"))
    assert "goodbye" in place.envtool("test", "-v").said


def small_root(*more: str) -> dict[str, Path]:
    """A shell, cat and ls of this machine (and more) with what they load: name in the archive -> file here."""
    found: dict[str, Path] = {}
    for program in ("/bin/sh", "/bin/cat", "/bin/ls", *more):
        real = Path(program).resolve()
        found[f"bin/{Path(program).name}"] = real
        listed = subprocess.run(["ldd", str(real)], capture_output=True, text=True, check=True).stdout
        for library in re.findall(r"(/\S+) \(0x", listed):
            found[library.lstrip("/")] = Path(library).resolve()
    return found


def test_a_tarball_is_a_base(place):
    data = archive({name: path.read_bytes() for name, path in small_root().items()}, mode=0o755)
    place.write("root.tar.gz", data)
    place.spec(f"""\
bases:
  tiny: {{tarball: {{path: root.tar.gz, sha256: {sha(data)}}}}}
envs:
  unit:
    base: tiny
    layers: [{{run: "echo made > /made"}}]
    tasks: {{test: "cat /made; ls / ; cat /etc/debian_version"}}
""")
    done = place.envtool("test", "-v")
    assert done.status == 1, done.said  # this machine's /etc is not there
    assert "made" in done.said
    assert "debian_version" in done.said
    place.write("root.tar.gz", data + b"x")
    place.spec(
        (place.project / "envtool.yaml").read_text().removeprefix("version: 1\n").replace(sha(data), sha(data + b"y"))
    )
    wrong = place.envtool("test")
    assert wrong.status == 3
    place.check_nothing_left()


def test_ids_are_what_a_task_expects(place):
    place.spec("""\
envs:
  unit:
    tasks:
      test: 'test "$(id -u):$(id -g):$(id -un)" = 1000:1000:envtool && touch ~/x /tmp/y new && stat -c %U new'
      admin: {run: 'test "$(id -u)" = 0', user: root}
""")
    assert place.envtool("test").status == 0
    assert place.envtool("run", "admin").status == 0
    assert not (place.project / "new").exists()


def test_an_env_may_ask_for_the_network(place, server):
    server.files["/x"] = b"from outside"
    script = f"""python3 -c 'import urllib.request as u; print(u.urlopen("{server.url}/x", timeout=5).read())'"""
    place.write("get.sh", script)
    for network, status in (("false", 1), ("true", 0)):
        place.spec(f"envs:\n  unit: {{network: {network}, tasks: {{test: sh get.sh 2>&1 | tail -1 | grep outside}}}}\n")
        assert place.envtool("test").status == status
    assert place.envtool("exec", "unit", "--", "sh", "get.sh").out == "b'from outside'\n"


def test_scratch_on_disk_goes_with_the_task(place):
    place.spec(
        "envs:\n  unit: {scratch: disk, tasks: {test: 'dd if=/dev/zero of=big bs=1M count=64 && sync && ls -l'}}\n"
    )
    assert place.envtool("test").status == 0
    assert place.envtool("exec", "unit", "--", "sh", "-c", "echo x > /var/tmp/y && cat /var/tmp/y").out == "x\n"
    place.check_nothing_left()


def test_file_names_that_are_no_text(place):
    """Bytes that are no UTF-8 in a name, in a link, in a directory's name: among inputs of every kind."""
    name = os.fsdecode(b"latin\xe9")
    place.write(f"context/{name}/{name}", "one")
    place.write(f"context/{name}\N{LATIN SMALL LETTER E WITH ACUTE}", "two")
    place.write(r"context/latin\udce9", "three")  # no escape, but a name of its own
    link = place.project / f"context/link-{name}"
    link.symlink_to(f"{name}/{name}")
    place.give(link)
    place.write("Dockerfile", "FROM scratch\nCOPY context/ /d/\n")
    place.spec(
        "bases: {img: {dockerfile: {file: Dockerfile}}}\n"
        "layers:\n"
        "  copied: {copy: {from: context, to: /opt/copied}}\n"
        "  ran: {run: 'cp -r context /opt/ran', inputs: ['context/lat*', 'context/link*']}\n"
        "envs:\n"
        "  unit:\n"
        "    layers: [copied, ran]\n"
        "    tasks: {test: 'cd /opt && cat copied/*/* copied/lat* ran/link* 2>/dev/null || ls -bR copied'}\n"
        "  docker: {base: img, tasks: {none: 'true'}}\n"
    )
    done = place.envtool("test", "--json")
    assert "onethreetwoone" in done.log(), done.said
    assert r"latin\351" in done.log()
    assert r"latin\\udce9" in done.log()
    assert place.envtool("exec", "docker", "--", "true").status == 127  # it has no shell
    assert "unchanged" in place.envtool("test").said
    place.write(f"context/{name}/{name}", "changed")
    why = place.envtool("why", "copied")
    assert why.status == 0
    assert "latin" in why.out
    assert "content" in why.out
    assert [event["outcome"] for event in place.envtool("test", "--json").finished("layer")] == ["built", "built"]


@pytest.mark.one_caller
def test_variables_join_in_builds_and_tasks(place):
    place.write("bin/hello", "#!/bin/sh\necho hello\n", mode=0o755)
    place.spec("""\
layers:
  one: {run: "true", set: {CPATH: /a, GEM_PATH: /gems, CC: one, LANG: C}, path: /opt/one}
  two: {run: "env | sort > /two", set: {CPATH: "/b:/a", CC: two, LANG: null, TZ: null}, path: [/opt/two]}
  three: {run: "env | sort > /three", set: {CPATH: null, XDG_DATA_DIRS: /share}}
  four: {run: "true", set: {CPATH: /d}}
envs:
  unit:
    layers: [one, two, three, four]
    path: [bin]
    set: {CC: null, CPATH: /e}
    tasks: {test: "hello; cat /two; echo; cat /three; echo; env"}
""")
    done = place.envtool("test", "--json")
    assert done.status == 0, done.said
    found = [
        dict(line.partition("=")[::2] for line in part.splitlines() if "=" in line) for part in done.log().split("\n\n")
    ]
    assert done.log().startswith("hello\n")
    usual = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    wanted = [
        {"CPATH": "/a", "GEM_PATH": "/gems:", "CC": "one", "LANG": "C", "TZ": "UTC", "PATH": f"/opt/one:{usual}"},
        {"CPATH": "/b:/a", "GEM_PATH": "/gems:", "CC": "two", "PATH": f"/opt/two:/opt/one:{usual}"},
        {
            "CPATH": "/e:/d",
            "GEM_PATH": "/gems:",
            "XDG_DATA_DIRS": "/share:/usr/local/share:/usr/share",
            "PATH": f"/project/bin:/opt/two:/opt/one:{usual}",
        },
    ]
    names = {name for each in wanted for name in each}
    assert [{name: each[name] for name in each if name in names} for each in found] == wanted
    why = place.envtool("why", "three")
    assert "TZ unset" in why.said
    assert "CPATH=/b:/a" in why.said
    text = (place.project / "envtool.yaml").read_text()
    place.write("envtool.yaml", text.replace("TZ: null", "TZ: UTC"))
    changed = place.envtool("test", "--json")
    assert [each["name"] for each in changed.finished("layer")] == ["three", "four"]
    place.write("envtool.yaml", text.replace("TZ: null", "TZ: Asia/Tokyo"))
    assert "envtool.yaml:4" in place.envtool("why", "three").said
