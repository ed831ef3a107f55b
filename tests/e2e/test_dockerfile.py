"""`dockerfile:` as a base, by the command line and as every sort of caller: keys, mounts, users, errors."""

from __future__ import annotations

import io
import json
import os
import subprocess
import tarfile
from pathlib import Path

import pytest

from tests.e2e.test_plan import check
from tests.places import calling, fresh_place
from tests.unit.kinds.image.layouts import Layout

pytestmark = pytest.mark.e2e

PASSWD = "root:x:0:0:root:/home/root:/bin/sh\napp:x:1234:1234::/home/app:/bin/sh\n"
GROUP = "root:x:0:\napp:x:1234:\nextra:x:55:app\n"
SPEC = "bases: {img: {dockerfile: {file: Dockerfile%s}}}\nenvs: {unit: {base: img, tasks: {test: '%s'}}}\n"
TOP = "FROM scratch AS top\nADD root.tar /\n"


@pytest.fixture(scope="session")
def system(tmp_path_factory) -> bytes:
    """A root file system as a tar: busybox, two users, nothing else."""
    top = tmp_path_factory.mktemp("busybox")
    subprocess.run(
        ["apt-get", "download", "-q", "busybox-static"], cwd=top, capture_output=True, check=True, timeout=60
    )
    (deb,) = top.glob("*.deb")
    subprocess.run(["dpkg-deb", "-x", deb, top / "x"], check=True)
    busybox = (top / "x/bin/busybox").read_bytes()
    names = subprocess.run([top / "x/bin/busybox", "--list"], capture_output=True, text=True, check=True).stdout.split()
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:

        def add(name: str, data: bytes = b"", **about) -> None:
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(data), 0o755
            for key, value in about.items():
                setattr(member, key, value)
            archive.addfile(member, io.BytesIO(data))

        for name in ("bin", "etc", "root", "home", "var"):
            add(name, type=tarfile.DIRTYPE)
        add("tmp", type=tarfile.DIRTYPE, mode=0o1777)
        add("home/app", type=tarfile.DIRTYPE, uid=1234, gid=1234)
        add("bin/busybox", busybox)
        for name in names:
            if name != "busybox":
                add(f"bin/{name}", type=tarfile.SYMTYPE, linkname="busybox")
        add("etc/passwd", PASSWD.encode(), mode=0o644)
        add("etc/group", GROUP.encode(), mode=0o644)
    return file.getvalue()


@pytest.fixture
def project(fresh, system):
    fresh.write("root.tar", system)
    return fresh


@pytest.fixture
def alone(system):
    """The same for one caller alone: where who calls makes no difference."""
    with fresh_place(calling("root" if os.geteuid() == 0 else "me")) as place:
        place.write("root.tar", system)
        yield place


def base(place, *lines: str, test: str = "true", more: str = "") -> None:
    place.write("Dockerfile", TOP + "\n".join(lines) + "\n")
    place.spec(SPEC % (more, test))


def built(done) -> list[str]:
    """Names of the layers that were made."""
    return [event["name"] for event in done.finished("layer") if event["outcome"] == "built"]


def test_what_is_needed_is_built_and_what_changed_is_built_again(alone):
    for name, text in {"src/a": "a", "src/b": "b", "src/skip.log": "1", "late": "late"}.items():
        alone.write(name, text)
    alone.write(".dockerignore", "**/*.log\n")
    base(
        alone,
        "FROM top AS build",
        "COPY src /src",
        "RUN --network=none cat /src/* > /joined && ls /src > /names",
        "FROM top AS never",
        "RUN false",
        "FROM top",
        "ENV GREETING=hello",
        "COPY --from=build /joined /names /out/",
        "COPY late /out/",
        test="cat /out/joined /out/names /out/late; echo $GREETING",
    )
    first = alone.envtool("test", "--json")
    assert first.status == 0, first.said
    assert first.log() == "aba\nb\nlatehello\n"
    assert not any("false" in name for name in built(first))

    again = alone.envtool("exec", "unit", "--", "cat", "/out/joined")
    assert (again.out, again.status) == ("ab", 0)
    warm = alone.envtool("exec", "unit", "--", "cat", "/out/joined")
    assert warm.out == "ab"
    alone.write("src/skip.log", "2")  # it is ignored
    assert built(alone.envtool("test", "--json", "--again")) == []
    alone.write("src/a", "A")  # only a stage that is looked at has it
    changed = alone.envtool("exec", "unit", "--", "cat", "/out/joined")
    assert changed.out == "Ab", changed.said
    alone.write("late", "later")
    assert built(alone.envtool("test", "--json")) == ["COPY late /out/"]
    why = alone.envtool("why", "COPY late /out/")
    assert why.status == 0, why.said
    assert "late" in why.out


def test_the_plan_has_the_other_stages_too(alone):
    """They are in no env's stack, and are built all the same, if what copies from them is."""
    for name in ("src/a", "late"):
        alone.write(name, "1")
    base(
        alone,
        "FROM top AS made",
        "COPY src /src",
        "RUN --network=none cat /src/a > /b",
        "FROM top AS unused",
        "COPY late /unused",
        "FROM top",
        "COPY --from=made /b /out/",
        "COPY late /out/",
    )
    text = alone.envtool("plan").out
    assert "img" in text
    assert alone.envtool("test").status == 0
    assert {*check(alone).values()} == {"reuse"}
    for name, count in (("src/a", 4), ("late", 1)):
        alone.write(name, "2")
        steps = check(alone)
        assert list(steps.values()).count("build") == count, steps
        assert not any("unused" in step for step in steps)
    alone.write("src/a", "1")
    alone.write("late", "1")
    assert {*check(alone).values()} == {"reuse"}


def test_what_is_shown_to_be_written_is_a_file(alone):
    """A fifo of another stage is not waited for."""
    top = "FROM top AS odd\nRUN --network=none mkfifo /wait\nFROM top"
    base(alone, top, "RUN --network=none --mount=type=bind,from=odd,source=/wait,target=/mnt/x,rw true")
    done = alone.envtool("test")
    assert done.status == 3, done.said
    assert done.seconds < 30
    assert "wait: not a regular file" in done.said.lower()
    assert ".py:" not in done.said


def test_caches_stay_and_secrets_do_not(project):
    project.environ["TOKEN"] = "s3cr3t-of-the-variable"
    project.allow("secrets: {token: env:TOKEN}")
    project.write("secret.txt", "s3cr3t-of-the-file")
    run = (
        "RUN --network=none --mount=type=cache,id=notes,target=/var/notes --mount=type=secret,id=file,mode=0444"
        " --mount=type=secret,id=token,target=/tmp/token,env=TOKEN --mount=type=tmpfs,target=/scratch"
        " echo {} >> /var/notes/log && cat /var/notes/log > /seen && touch /scratch/x"
        " && wc -c < /run/secrets/file > /sizes && wc -c < /tmp/token >> /sizes && echo ${{#TOKEN}} >> /sizes"
    )
    look = (  # places of other trees and of the project, written to, and forgotten
        "RUN --network=none --mount=type=bind,from=top,source=/etc,target=/mnt/etc,rw"
        " --mount=type=bind,from=top,source=/etc/group,target=/mnt/group,rw"
        " --mount=type=bind,source=notes,target=/mnt/notes,rw --mount=type=bind,source=notes,target=/mnt/same"
        " touch /mnt/etc/new /mnt/notes/new && echo x > /mnt/group && ! touch /mnt/same/new 2>/dev/null"
        " && ls /mnt/etc /mnt/notes > /looked && cat /mnt/etc/group >> /looked"
    )
    project.write("notes/one", "1")
    more = ", secrets: {token: {env: TOKEN}, file: {file: secret.txt}}"
    show = "cat /seen /sizes /looked; ls /var /scratch /run/secrets /tmp/token 2>&1 | sort"
    base(project, "FROM top", look, run.format("one"), test=show, more=more)
    first = project.envtool("test", "--json")
    assert first.status == 0, first.said
    assert first.log().split("\n")[:4] == ["one", "18", "22", "22"]
    assert "new\npasswd\n\n/mnt/notes:\nnew\none\nroot:x:0:" in first.log()
    assert not (project.project / "notes/new").exists()
    assert "\nnotes\n" not in first.log()  # no mount point stays
    project.environ["TOKEN"] = "another"  # never part of a key
    assert built(project.envtool("test", "--json", "--again")) == []
    base(project, "FROM top", look, run.format("two"), test=show, more=more)
    second = project.envtool("test", "--json")
    assert second.log().split("\n")[:4] == ["one", "two", "18", "7"], second.said
    places = [path for room in ("layers", "memo", "plans") for path in (project.store / room).rglob("*")]
    held = b"".join(path.read_bytes() for path in places if path.is_file() and not path.is_symlink())
    assert b"s3cr3t" not in held

    base(project, "RUN --mount=type=secret,id=gone,required cat /run/secrets/gone", more=more)
    refused = project.envtool("test")
    assert refused.status == 3, refused.said
    assert "Dockerfile:3" in refused.said
    assert "secret `gone` is required" in refused.said


def test_users_are_those_of_the_tree(project):
    project.write("file", "x")
    base(
        project,
        "COPY --chown=app:extra --chmod=640 file /owned/",
        "USER app",
        "WORKDIR /home/app/work",
        "RUN --network=none id > id && echo $HOME > home && touch /tmp/mine && env | sort > env",
        'RUN --network=none ["/bin/sh", "-c", "id -u >> id"]',
        "USER 4321:55",
        "RUN --network=none id > /tmp/numbers",
        test='cat id home; stat -c "%u %g %a %n" /owned/file /home/app/work/id; grep -c . env',
    )
    project.spec(
        SPEC % ("", ('cat /home/app/work/id /home/app/work/home; stat -c "%u:%g %a" /owned/file /home/app/work/id;'
                "grep -v CA env || true"))
    )  # fmt: skip
    done = project.envtool("test", "--json")
    if project.caller.mode == "single":
        assert done.status == 3, done.said
        assert "single user id" in done.said
        assert "Dockerfile:6" in done.said
        return
    assert done.status == 0, done.said
    lines = done.log().splitlines()
    assert lines[0] == "uid=1234(app) gid=1234(app) groups=55(extra),1234(app)"
    assert lines[1:5] == ["1234", "/home/app", "1234:55 640", "1234:1234 644"]


def test_what_real_dockerfiles_write(alone):
    """Patterns that match nothing, `.` as a target, removed directories, mounts and here-documents beside stages."""
    alone.write("package.json", "{}")
    alone.write("go.sum", "sum")
    alone.write("out/apps/one", "1")
    alone.write("out/two.txt", "2")
    (alone.project / "soft").symlink_to("out")
    base(
        alone,
        "FROM --platform=linux/s390x nowhere/at-all AS unneeded",
        "RUN --security=insecure --mount=type=ssh true",
        "FROM top AS deps",
        "WORKDIR /app",
        "COPY package.json yarn.lock* package-lock.json* ./",
        "COPY no[nt]hing* ./never/",
        "RUN --network=none --mount=type=bind ls > /listed",
        "RUN --network=none cd / && rm -r /app",
        "RUN --network=none pwd > /again",
        "FROM --platform=linux/s390x top",
        "USER 0:50",
        "WORKDIR /w",
        "COPY --chmod=g=u package.json gone/../go.sum .",
        "COPY soft/apps soft/*.txt soft/apps/one /soft/",
        "COPY --from=deps <<doc /again /listed /none* /",
        "text",
        "doc",
        "EXPOSE 8080:80",
        test='cat /again /doc; ls /w /soft /listed; grep -c json /listed; stat -c "%a %g" /w/go.sum /w',
    )
    done = alone.envtool("test", "--json")
    assert done.status == 0, done.said
    groups = ("1000", "1000") if alone.caller.mode == "single" else ("0", "50")  # there all is the caller's
    modes = "664 {}\n755 {}\n".format(*groups)
    assert done.log() == "/app\ntext\n/listed\n\n/soft:\none\ntwo.txt\n\n/w:\ngo.sum\npackage.json\n1\n" + modes


def test_a_whole_tree_is_copied_without_what_is_the_containers(alone, system):
    """Images have /proc, /sys and /dev, and /etc/hosts: `COPY --from=build / /` makes one layer of many."""
    file = io.BytesIO(system)
    with tarfile.open(fileobj=file, mode="a") as archive:
        for name in ("proc", "sys", "dev", "run", "dev/pts", "proc/1"):
            member = tarfile.TarInfo(name)
            member.type, member.mode = tarfile.DIRTYPE, 0o711
            archive.addfile(member)
        for name in (
            "etc/hosts",
            "etc/resolv.conf",
            "etc/shadow",
            "dev/console",
            "dev/null",
            "proc/version",
            "run/kept",
        ):
            archive.addfile(tarfile.TarInfo(name))
    name = f"localhost:5000/{'deep/' * 9}whole:1.0@sha256:{'a' * 64}"  # as long as some are
    layout = Layout(alone.project / "whole")
    layout.add(layout.image(file.getvalue(), Env=["PATH=/bin"]), "latest")
    layout.write()
    alone.write(
        "Dockerfile",
        f"FROM {name} AS whole\nFROM scratch AS one\nCOPY --from=whole / /\nRUN --network=none ls /run /proc/self/fd > /seen\n"
        "FROM whole\nCOPY --chown=7:8 --chmod=755 --from=one / /\n",
    )
    images = f"images: {{'{name}': 'oci:whole'}}"
    alone.spec(SPEC % (f", {images}", 'grep kept /seen; stat -c "%a %u" /seen /home /etc/shadow'))
    done = alone.envtool("test", "--json")
    assert done.status == 0, done.said
    owner = "1000" if alone.caller.mode == "single" else "7"
    assert done.log().splitlines() == ["kept", *[f"755 {owner}"] * 3]


def test_nobody_is_needed_offline(alone):
    base(alone, "RUN echo a > /a", test="cat /a")
    assert alone.envtool("test").status == 0
    assert alone.envtool("test", "--offline", "--again").status == 0
    base(alone, "RUN echo b > /a", test="cat /a")
    refused = alone.envtool("test", "--offline")
    assert refused.status == 3
    assert "--offline" in refused.said
    base(alone, "RUN --network=none echo c > /a && ! ls /sys/class/net | grep -v lo", test="cat /a")
    alone = alone.envtool("test", "--offline")
    assert alone.status == 0, alone.said


WRONG = [
    (["RUN echo before", "RUN --network=none echo said && exit 7"], 4, ["exit 7", "said"]),
    (["COPY nowhere /x"], 3, ["nowhere"]),
    (["COPY Dockerfile root.tar /x"], 3, ["several sources cannot be copied to one file, /x", "`/x/`"]),
    (["RUN mkdir /o && ln -s gone /o/l", "FROM top", "COPY --from=top /o/* /x/"], 5, ["`/o/l` is a link to `gone`"]),
    ([f"COPY root.tar /{'n' * 256}"], 3, ["File name too long", "255 bytes"]),
    (["FETCH x"], 3, ["there is no instruction `FETCH`"]),
    (["RUN --security=insecure true"], 3, ["--security"]),
    (["COPY --chown=nobody-here root.tar /x"], 3, ["nobody-here"]),
    (["RUN --mount=target=/m --mount=type=tmpfs,target=/m/gone true"], 3, ["/m/gone", "read-only", "`rw`"]),
    (["USER ghost", "RUN --network=none true"], 4, ["ghost"]),
    (["RUN <<EOF", "true"], 3, ["heredoc"]),
    (["ARG X", 'ENV Y="${X:?is wanted}"'], 4, ["is wanted"]),
]


def test_errors_say_where(alone):
    for lines, line, words in WRONG:
        base(alone, *lines)
        done = alone.envtool("test")
        assert done.status in (2, 3), done.said
        for word in (f"Dockerfile:{line}", *words):
            assert word in done.said, done.said
        assert ".py" not in done.said  # whatever fails, no place in our code says what


def test_arguments_and_target(alone):
    text = "ARG WHO=nobody\nFROM scratch AS top\nADD root.tar /\nARG WHO\nARG TARGETARCH\nRUN --network=none echo"
    alone.write("Dockerfile", text + " $WHO $TARGETARCH > /who\nFROM top AS last\nRUN false\n")
    alone.spec(SPEC % (", target: top, args: {WHO: me}", "cat /who"))
    done = alone.envtool("test", "--json")
    assert done.status == 0, done.said
    assert done.log() in ("me amd64\n", "me arm64\n")
    alone.spec(SPEC % (", target: tops", "true"))
    assert "there is no stage `tops`" in alone.envtool("test").said
    alone.spec(SPEC % (", args: {WHOM: me}", "true"))
    assert "no such ARG" in alone.envtool("test").said


def test_the_lock_says_what_was_pinned(alone):
    """A URL without a checksum is pinned by what came."""
    place = Path(alone.directory("site"))
    alone.write("site/tool", "tool", at=alone.top)
    server = alone.caller.spawn(
        alone.caller.command[0], "-m", "http.server", "--bind", "127.0.0.1", "--directory", str(place), "0",
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=alone.variables() | {"PYTHONUNBUFFERED": "1"},
    )  # fmt: skip
    try:
        port = server.stdout.readline().split(b"port ")[1].split()[0].decode()
        base(
            alone,
            f"ADD --chmod=640 --chown=1000 http://127.0.0.1:{port}/tool /bin/",
            test="cat /bin/tool; stat -c %a /bin/tool",
        )
        done = alone.envtool("lock")
        assert done.status == 0, done.said
        assert "sha256" in (alone.project / "envtool.lock").read_text()
        alone.write("site/tool", "other", at=alone.top)
        done = alone.envtool("test", "--json")
        assert done.log() == "tool640\n", done.said
    finally:
        server.kill()
        server.communicate()
    assert json.loads((alone.store / "store.json").read_text())["format"]


def test_the_hosts_authorities_stand_over_nothing(project):
    """ca-certificates moves a new bundle over the old one, others remove the directory. What comes out, and its key,
    are the same whatever this machine trusts."""
    project.write("mine", "mine\n")
    base(
        project,
        "COPY mine /etc/ssl/certs/ca-certificates.crt",
        "RUN cd /etc/ssl/certs && cp ca-certificates.crt new && mv new ca-certificates.crt",
        "RUN mv /etc/ssl/certs /etc/ssl/old && mkdir /etc/ssl/certs && ln -s ../old/ca-certificates.crt /etc/ssl/certs/",
        "RUN for each in $SSL_CERT_FILE $APT_CONFIG $WGETRC; do test -s $each && ! touch $each || exit 1; done; echo",
        "RUN rm -r /etc/ssl/certs && mkdir -p /etc/pki/tls/certs && echo x > /etc/pki/tls/certs/ca-bundle.crt",
        test="cat /etc/ssl/old/ca-certificates.crt; ls -R /etc/ssl /etc/pki; ls /dev",
    )
    project.environ["SSL_CERT_FILE"] = str(project.write("own.pem", "mine too", at=project.top))
    first = project.envtool("test", "--json")
    assert first.status == 0, first.said
    assert "\nmine\n/etc/pki:\ntls\n" in first.log()
    assert "envtool\n" not in first.log()
    came_out = project.came_out()
    project.environ["SSL_CERT_FILE"] = "/etc"  # no file: nothing is shown
    project.store = project.directory("other")
    assert project.envtool("test").status == 0
    assert project.came_out() == came_out
