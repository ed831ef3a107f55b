"""What instructions do: acts, the environment of RUN, and the image's configuration."""

from __future__ import annotations

import time

import pytest

from envtool.kinds.dockerfile.operations import CopyAct, DirectoryAct, RunAct
from envtool.kinds.dockerfile.parser import DockerfileError, parse
from envtool.kinds.dockerfile.shell_words import Lexer
from envtool.kinds.dockerfile.stages import platform_arguments
from envtool.kinds.dockerfile.translate import PATH, StageReader

IMAGE = {"Env": ["PATH=/bin", "LANG=C"], "WorkingDir": "/srv", "User": "app", "Cmd": ["sh"], "Labels": {"a": "1"}}


def built(text: str, config=None, seen=None, outer=None, **given: str) -> StageReader:
    builder = StageReader(
        IMAGE if config is None else config,
        lexer=Lexer(),
        build_args=given,
        global_args=platform_arguments("x86_64") | (outer or {}),
        variables=seen,
    )
    for instruction in parse(f"FROM x\n{text}")[1:]:
        builder.add(instruction)
    return builder


def acts(text: str, **more):
    return built(text, **more).acts


def test_a_run_sees_what_docker_shows():
    one, two = acts(
        'ARG A=1\nARG B\nARG C=$A$LANG\nRUN make\nENV B=2 C=${C}x\nUSER 1:2\nSHELL ["bash", "-c"]\nRUN make\n'
    )
    assert isinstance(one, RunAct)
    assert (one.argv, one.user, one.workdir, one.network) == (("/bin/sh", "-c", "make"), "app", "/srv", True)
    assert one.env == {"PATH": "/bin", "LANG": "C", "A": "1", "C": "1C"}
    assert isinstance(two, RunAct)
    assert (two.argv, two.user) == (("bash", "-c", "make"), "1:2")
    assert two.env == {"PATH": "/bin", "LANG": "C", "A": "1", "B": "2", "C": "1Cx"}


def test_a_path_is_always_there():
    (one,) = acts("RUN x\n", config={})
    assert one.env == {"PATH": PATH}
    assert built("ENV PATH=/x:$PATH\n", config={}).config["Env"] == [f"PATH=/x:{PATH}"]


def test_arguments_have_values_from_three_places():
    assert built("ARG V\nENV E=$V\n", V="given").env["E"] == "given"
    assert built("ARG V=own\nENV E=$V\n", V="given").env["E"] == "given"
    assert built("ARG V=own\nENV E=$V\n", outer={"V": "outer"}).env["E"] == "own"
    assert built("ARG V\nENV E=$V\n", outer={"V": "outer"}).env["E"] == "outer"
    assert built("ENV E=${V:-none}\n", outer={"V": "outer"}, V="given").env["E"] == "none"
    assert built("ARG TARGETARCH\nENV E=$TARGETARCH\n").env["E"] == "amd64"
    assert built("ENV E=$V\n", seen={"V": "of the stage below"}).env["E"] == "of the stage below"


def test_one_instruction_is_expanded_with_what_was_before_it():
    assert built("ENV A=1\nENV A=2 B=$A\n").env["B"] == "1"


def test_forms_of_run():
    one, two, three, four = acts(
        'RUN ["a", "$b"]\nRUN <<EOF\nset -e\necho $X\nEOF\nRUN <<-EOF\n\t#!/usr/bin/env python3\n\tprint()\nEOF\n'
        "RUN cat <<A - <<B\n1\nA\n2\nB\n"
    )
    assert one.argv == ("a", "$b")
    assert two.argv == ("/bin/sh", "-c", "set -e\necho $X\n")
    assert two.title == "RUN set -e"
    assert three.argv == ("/dev/pipes/EOF",)
    assert three.script == ("EOF", "#!/usr/bin/env python3\nprint()\n")
    assert four.argv == ("/bin/sh", "-c", "cat <<A - <<B\n1\nA\n2\nB")


def test_the_network_can_be_left_out():
    one, two = acts("RUN --network=none a\nRUN --network=host a\n")
    assert (one.network, two.network) == (False, True)
    assert one.title == "RUN a"


def test_what_every_run_is_may_be_said():
    (one,) = acts("RUN --security=sandbox --mount=type=tmpfs,target=/t,rw a\n")
    assert (one.title, one.mounts[0].type) == ("RUN a", "tmpfs")


def test_working_directories_chain():
    builder = built("WORKDIR a\nWORKDIR /b/./c\nENV D=deep\nWORKDIR ../$D/\nWORKDIR a\nWORKDIR /\nWORKDIR /b/c\n")
    assert [act.path for act in builder.acts] == ["/srv/a", "/b/c", "/b/deep", "/b/deep/a"]
    assert all(isinstance(act, DirectoryAct) and act.user == "app" for act in builder.acts)
    assert builder.config["WorkingDir"] == "/b/c"


def test_copies():
    one, two, three = acts(
        "ENV D=dist\nCOPY --chown=$D:1 --chmod=u+x --exclude=*.md --parents $D/*.js package*.json ./app/\n"
        'COPY --link --from=build ["a b", "/c"]\nADD --checksum=sha256:'
        + "0" * 64
        + " https://example.test/x.tar /opt\n"
    )
    assert isinstance(one, CopyAct)
    assert (one.sources, one.target) == (("dist/*.js", "package*.json"), "/srv/app/")
    assert (one.owner, one.mode, one.exclude, one.parents, one.unpack) == ("dist:1", "u+x", ("*.md",), True, False)
    assert (two.origin, two.sources, two.target) == ("build", ("a b",), "/c")
    assert (three.urls, three.checksum, three.unpack, three.target) == (
        ("https://example.test/x.tar",),
        "0" * 64,
        True,
        "/opt",
    )


def test_a_target_that_is_a_directory_by_its_name():
    targets = {
        ".": "/srv/",
        "./": "/srv/",
        "": "/srv/",
        "a/.": "/srv/a/",
        "a": "/srv/a",
        "..": "/",
        "/": "/",
        "b/../c/": "/srv/c/",
    }
    for written, meant in targets.items():
        (one,) = acts(f'COPY ["a", "b", "{written}"]\n')
        assert one.target == meant, written


def test_sources_are_paths_of_their_tree_whatever_dots_they_have():
    (one,) = acts("COPY a/../b ../c /d/ ./e/./f gone/../g*/x/../*.txt . /x/\n")
    assert one.sources == ("b", "c", "d", "e/f", "g*/*.txt", ".")
    (one,) = acts("COPY --parents a/../b ./x/../c/./d/../e /x/\n")
    assert one.sources == ("b", "c/./e")


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("755", "755"), ("0755", "755"), ("00755", "755"), ("0o755", "755"), ("4755", "4755"), ("0", "0"),
        ("g=u", "g=u"), ("u+rwX,g-w", "u+rwX,g-w"), ("a=rX,u+w", "a=rX,u+w"), ("go=", "go="), ("+t", "+t"), ("o=g-w", "o=g-w"),
    ],
)  # fmt: skip
def test_modes_are_written_in_many_ways(written, meant):
    (one,) = acts(f"COPY --chmod={written} a b\n")
    assert one.mode == meant


@pytest.mark.parametrize(
    ("written", "ports"),
    [
        ("8080:80", "80/tcp"), ("8080:80/udp", "80/udp"), ("127.0.0.1:8080:80", "80/tcp"), ("127.0.0.1::80", "80/tcp"),
        ("[::1]:8080:80/TCP", "80/tcp"), ("::1:8080:80", "80/tcp"), ("53/UDP", "53/udp"), ("9/sctp", "9/sctp"), ("7/", "7/tcp"),
        ("8000-8001:7000-7001", "7000/tcp 7001/tcp"), ('"80" 81', "80/tcp 81/tcp"), ("$P", "1/tcp 2/udp"), ("$UNSET", ""),
    ],
)  # fmt: skip
def test_ports_are_written_in_many_ways(written, ports):
    config = built(f'ENV P="1 2/udp"\nEXPOSE {written}\n').config
    assert config["ExposedPorts"] == {port: {} for port in ports.split()}


def test_a_mount_without_a_target_is_the_working_directory():
    one, two = acts("WORKDIR /src\nRUN --mount=type=bind make\nRUN --mount=type=cache make\n")[1:]
    assert [(each.mounts[0].type, each.mounts[0].target) for each in (one, two)] == [
        ("bind", "/src"),
        ("cache", "/src"),
    ]
    with pytest.raises(DockerfileError, match="cannot cover `/`"):
        acts("RUN --mount=type=bind make\n", config={})


def test_a_here_document_beside_what_comes_from_a_stage():
    (one,) = acts("COPY --from=build <<a file /x/\nA\na\n")
    assert (one.origin, one.sources, one.documents) == ("build", ("file",), (("a", "A\n"),))


def test_here_documents_are_files():
    (one,) = acts("ENV A=1\nCOPY <<a <<'b' f /to/\n$A \"q\" \\$A\na\n$A\nb\n")
    assert one.documents == (("a", '1 "q" $A\n'), ("b", "$A\n"))
    assert one.sources == ("f",)


def test_what_looks_like_a_repository_and_is_a_file():
    one, two = built(
        "ADD github.com/a/b gitlab.com/c.git ./me@host vendor.git /x/\n"
        "ADD https://example.test/a.github https://example.test/git.git/archive.tar https://host.git /y/\n"
    ).acts
    assert one.sources == ("github.com/a/b", "gitlab.com/c.git", "me@host", "vendor.git")
    assert len(two.urls) == 3


def test_what_an_image_says_of_itself():
    config = built(
        'LABEL b=2 a=3\nEXPOSE 80 53/udp 8000-8001\nVOLUME /a /b\nVOLUME ["/c d"]\nSTOPSIGNAL SIGINT\nMAINTAINER me\n'
        'ENTRYPOINT ["run"]\nCMD a b\nHEALTHCHECK --interval=1m30s --timeout=1.5s --retries=2 CMD curl x\n'
        "ONBUILD COPY . /x\nONBUILD RUN make\nUSER 7\n"
    ).config
    assert config["Labels"] == {"a": "3", "b": "2"}
    assert config["ExposedPorts"] == {"80/tcp": {}, "53/udp": {}, "8000/tcp": {}, "8001/tcp": {}}
    assert config["Volumes"] == {"/a": {}, "/b": {}, "/c d": {}}
    assert (config["StopSignal"], config["User"]) == ("SIGINT", "7")
    assert (config["Entrypoint"], config["Cmd"]) == (["run"], ["/bin/sh", "-c", "a b"])
    assert config["Healthcheck"] == {
        "Test": ["CMD-SHELL", "curl x"], "Interval": 90 * 10**9, "Timeout": 15 * 10**8, "Retries": 2,
    }  # fmt: skip
    assert config["OnBuild"] == ["COPY . /x", "RUN make"]
    assert built('HEALTHCHECK CMD ["a"]\n').config["Healthcheck"] == {"Test": ["CMD", "a"]}
    assert built("HEALTHCHECK NONE\n").config["Healthcheck"] == {"Test": ["NONE"]}


def test_an_entrypoint_takes_away_the_command_below():
    assert "Cmd" not in built('ENTRYPOINT ["a"]\n').config
    assert built('CMD ["b"]\nENTRYPOINT ["a"]\n').config["Cmd"] == ["b"]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("RUN\n", "no command"),
        ("RUN []\n", "no command"),
        ("RUN --security=insecure x\n", "--security is not supported"),
        ("RUN --network=mine x\n", "default, none or host"),
        ("COPY a\n", "sources and a target"),
        ("COPY https://example.test/a b\n", "COPY takes no URL"),
        ("COPY --chmod=rw a b\n", "neither octal"),
        ("COPY --chmod=17777 a b\n", "neither octal"),
        ("COPY --checksum=x a b\n", "--checksum is not supported"),
        ("COPY $NOTHING b\n", "NOTHING` is empty, and would mean everything"),
        ("ADD a ${NOTHING:-} b\n", ":-}` is empty"),
        ("ADD --checksum=md5:1 https://example.test/a b\n", "64 digits"),
        ("ADD --checksum=sha256:1 a b\n", "one URL"),
        ("ADD https://example.test/a.git b\n", "git is not supported"),
        ("ADD https://example.test/a.git?ref=v1&keep-git-dir=1 b\n", "git is not supported"),
        ("ADD http://example.test/a/b.git#v1:sub b\n", "git is not supported"),
        ("ADD me@example.test:a/b b\n", "git is not supported"),
        ("ADD ssh://git@example.test/a b\n", "git is not supported"),
        ("COPY git@example.test:a.git b\n", "COPY takes no git"),
        ("ADD --keep-git-dir=true https://example.test/a.git#v1 b\n", "git is not supported"),
        ("ADD --keep-git-dir=perhaps x b\n", "--keep-git-dir"),
        ("COPY --keep-git-dir x b\n", "--keep-git-dir is not supported"),
        ("WORKDIR\n", "one argument"),
        ("USER $NOTHING${X:?wanted}\n", "X: wanted"),
        ("SHELL bash\n", "list in JSON"),
        ("EXPOSE http\n", "no port"),
        ("EXPOSE 70000\n", "no port"),
        ("EXPOSE 9-8\n", "no port"),
        ("EXPOSE 80:\n", "no port"),
        ("EXPOSE 80/icmp\n", "no port"),
        ("EXPOSE 300.1.1.1:80:80\n", "no port"),
        ("EXPOSE\n", "names no port"),
        ("COPY --chmod=0o8 a b\n", "neither octal"),
        ("COPY --chmod=g=ur a b\n", "neither octal"),
        ("COPY --chmod=u+rw,,g=u a b\n", "neither octal"),
        ("VOLUME []\n", "no directory"),
        ("VOLUME /a $NOTHING\n", "NOTHING` is empty"),
        ('VOLUME ["/a", ""]\n', "`` is empty"),
        ("HEALTHCHECK --interval=soon CMD x\n", "no duration"),
        ("HEALTHCHECK --retries=x CMD x\n", "no number"),
        ("HEALTHCHECK CMD\n", "NONE, or CMD"),
        ("ENV =x\n", "empty"),
        ("ARG =x\n", "no name"),
        ("ONBUILD FLY\n", "FLY"),
        ("FLY x\n", "there is no instruction `FLY`"),
        ("COPY <<a /x\n${A\na\n", "here-document a"),
    ],
)
def test_what_is_wrong_is_said(text, why):
    with pytest.raises(DockerfileError, match=why) as caught:
        built(text)
    assert caught.value.line == 2


@pytest.mark.parametrize(
    "text",
    ["ENV A=$A$A$A$A\n" * 40, "ARG A=${A//a/$A}\n" * 40,
     *("ENV A=$A$A$A$A\n" * 5 + "".join(each.format(n) for n in range(1100))
       for each in ("ENV A{}=$A\n", "ARG A{}=$A\n", "LABEL A{}=$A\n", "COPY $A /x{}\n", "RUN <<E\n{} $A\nE\n",
                    "VOLUME /{}$A\n", "COPY <<E /x{}\n$A\nE\n"))],
)  # fmt: skip
def test_variables_cannot_fill_memory(text):
    began = time.monotonic()
    if "RUN <<" in text:  # a shell's to expand: it has what is written
        assert len(acts(f"ENV A={'a' * 16}\n{text}")) == 1100
        return
    with pytest.raises(DockerfileError, match=r"longer than|characters together"):
        built(f"ENV A={'a' * 16}\n{text}")
    assert time.monotonic() - began < 20


def test_a_stage_has_only_so_many_variables():
    with pytest.raises(DockerfileError, match=r"more than 10,000 variables"):
        built("".join(f"ENV A{n}={' '.join(f' A{n}_{m}=' for m in range(100))}\n" for n in range(101)))
