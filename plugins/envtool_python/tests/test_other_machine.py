"""`lock --platform`: what uv is asked for another architecture, and what becomes of its answer."""

from __future__ import annotations

import json
import platform
from types import SimpleNamespace

import pytest
from envtool_python import calls, inside, uv_resolver, with_uv
from envtool_python.kinds import Pip, PythonProject
from envtool_python.pip_config import PipConfig
from envtool_python.uv_wheels import MEMBER, uv_entry

from envtool import api

INFO = {
    "version": "3.11.2", "implementation": "cpython", "abi": "cpython-311-x86_64-linux-gnu",
    "platform": "linux-x86_64", "libc": "glibc 2.36", "extends": False,
}  # fmt: skip
NO_WHEEL = """\
error: No solution found when resolving dependencies
  cause: Because all versions of docopt have no usable wheels and you require docopt, your requirements are unsatisfiable.

hint: Wheels are required for `docopt` because building from source is disabled for all packages (i.e., with `--no-build`)
envtool: uv ended with 1
"""


def package(name, *files):
    """A package of a pylock.toml."""
    wheels = ", ".join(
        f'{{ url = "https://h.invalid/{file}", size = 5, hashes = {{ sha256 = "{number:064x}" }} }}'
        for number, file in enumerate(files, len(name))
    )
    return f'[[packages]]\nname = "{name}"\nversion = "1"\nwheels = [{wheels}]\n'


BOTH = ("nn-1-cp311-cp311-manylinux_2_28_x86_64.whl", "nn-1-cp311-cp311-manylinux_2_28_aarch64.whl")
ANSWER = {
    "info": INFO, "calls": [package("nn", *BOTH)], "pip": package("pip0", "pip-1-py3-none-any.whl"), "build": "",
    "said": [[name, "1", name, "1", ""] for name in ("nn", "pip0")],
}  # fmt: skip


class Site:
    """A site of aarch64, whose containers are x86_64: one answer as with_uv.py's, or an error."""

    def __init__(self, answer=ANSWER, error=""):
        self.arch, self.answer, self.error = "aarch64", answer, error
        self.ran, self.binds, self.held = [], [], {}

    def fetch(self, fetches):
        return [f"/store/{fetch.name}" for fetch in fetches]

    def note(self, text):
        pass

    def seen(self, sha256, url):
        pass

    def tags(self, directory=""):
        return ()

    def shared(self, name, make):
        return self.held.setdefault(name, make())

    def open(self, path, *, limit=0):
        raise api.ResolveError(path, code="no-file")

    def run(self, command, *, env=None, binds=(), network=False):
        script, mode, document = command.argv[-3:]
        self.ran.append((script.rpartition("/")[2], mode, json.loads(document), dict(env)))
        self.binds += binds
        if self.error:
            return api.Completed(status=1, stdout=b"", stderr=self.error.encode())
        answer = INFO if mode == "info" else self.answer
        return api.Completed(status=0, stdout=json.dumps(answer).encode(), stderr=b"")


@pytest.fixture(autouse=True)
def host(monkeypatch):
    """No test starts the host's pip."""
    for module in ("uv_resolver", "resolver"):
        monkeypatch.setattr(f"envtool_python.{module}.read_index", lambda _site: PipConfig(variables={}))


def request(options, **more):
    where = api.Where(file="envtool.yaml", line=1, column=1)
    stand_in = api.StandIn(arch="x86_64", layers=())
    values = {"arch": "aarch64", "epoch": 1_700_000_000, "stand_in": stand_in} | more
    return api.Request(name="deps", options=options, inputs=(), where=where, **values)


def test_uv_of_this_machine_chooses_wheels_of_the_other_one():
    site = Site()
    keep = {"files": [{"name": "nn", "version": "1", "use": "install"}]}
    pins = Pip().resolve(request(["nn"], keep=keep), site)
    assert [file["file"] for file in pins["files"]] == [
        uv_entry("aarch64")["url"], "pip-1-py3-none-any.whl", "nn-1-cp311-cp311-manylinux_2_28_aarch64.whl"
    ]  # fmt: skip
    assert pins["uv"] == uv_entry("aarch64")["url"], "it installs there"
    assert (pins["python"]["abi"], pins["python"]["platform"]) == ("cpython-311-aarch64-linux-gnu", "linux-aarch64")
    ((script, mode, document, env),) = site.ran
    assert (script, mode, document["keep"]) == ("with_uv.py", "resolve", ["nn==1"])
    assert env["ENVTOOL_OTHER_MACHINE"] == "aarch64"
    sources = [bind.source for bind in site.binds if bind.target.endswith((".whl", "/uv"))]
    assert sources == [f"/store/{uv_entry('x86_64')['url']}", "/store/uv"]
    assert MEMBER.startswith("uv-")
    own = Site({**ANSWER, "calls": [package("nn", *BOTH)]})
    own.arch = "x86_64"
    pins = Pip().resolve(request(["nn"], arch="x86_64", stand_in=None), own)
    assert pins["files"][2]["file"] == BOTH[0]
    assert "ENVTOOL_OTHER_MACHINE" not in own.ran[0][3]


@pytest.mark.parametrize(
    ("options", "error", "reason"),
    [
        ({"packages": ["docopt"]}, NO_WHEEL,
         "`docopt` has no wheel for it, and what a source distribution requires is asked where it is built"),
        ({"packages": ["nn"]}, "envtool: uv ended with 1\n", "uv ended with 1"),
        ({"packages": ["nn"], "installer": "pip"}, "", "the spec says `installer: pip`"),
        ({"packages": ["nn @ https://h.invalid/nn.tar.gz"]}, "",
         "`nn @ https://h.invalid/nn.tar.gz` is more than a name and a version"),
    ],
)  # fmt: skip
def test_what_uv_does_not_answer_is_refused_and_pip_is_not_asked(options, error, reason):
    site = Site(error=error)
    with pytest.raises(api.ResolveError) as caught:
        Pip().resolve(request(options), site)
    assert caught.value.code == "other-platform"
    assert caught.value.message == f"for another architecture uv resolves, and pip does not: {reason}"
    assert caught.value.hint.startswith("a lock file of the project") == ("no wheel" in reason)
    assert [script for script, *_ in site.ran] == (["with_uv.py"] if error else [])


SHA256 = f"{3:064x}"  # of BOTH[1]; see `package`


@pytest.mark.parametrize(
    ("lines", "wanted"),
    [
        ([f"nn==1 --hash=sha256:{SHA256}"], True),
        ([f"NN == 1 ; python_version > '3' --hash=sha256:{'0' * 64} --hash=sha256:{SHA256}"], True),
        ([f"nn==1 --hash=sha256:{2:064x}"], False),
        ([f"other==1 --hash=sha256:{SHA256}"], False),
        ([f"other==1 --hash=sha256:{SHA256}", "nn==1"], False),
    ],
)
def test_hashes_of_requirement_files_are_compared_with_what_uv_chose(lines, wanted):
    """A call in which one line has a hash is one in which each file must have a known one, as for pip."""
    site = Site()
    if wanted:
        assert Pip().resolve(request(lines), site)["files"][-1]["sha256"] == SHA256
    else:
        with pytest.raises(api.ResolveError, match=f"the requirement files have no hash of {BOTH[1]}"):
            Pip().resolve(request(lines), site)
    ((_, _, document, _),) = site.ran
    assert document["calls"] == [[line.partition(" --hash")[0] for line in lines]]


def test_hashes_count_for_their_own_call():
    """`adds` are a call of their own, without hashes."""
    site = Site({
        **ANSWER, "calls": [package("nn", *BOTH), package("adder", "adder-1-py3-none-any.whl")],
        "said": [*ANSWER["said"], ["adder", "1", "adder", "1", ""]],
    })  # fmt: skip
    options = {"packages": [f"nn==1 --hash=sha256:{SHA256}"], "adds": ["adder"]}
    assert [file["name"] for file in Pip().resolve(request(options), site)["files"]][2:] == ["nn", "adder"]


def test_an_architecture_without_uv_is_refused():
    with pytest.raises(api.ResolveError, match="there is no uv for riscv64"):
        Pip().resolve(request(["nn"], stand_in=api.StandIn(arch="riscv64", layers=())), Site())


def test_what_the_build_of_a_project_needs_is_chosen_likewise(monkeypatch):
    facts = SimpleNamespace(install="editable", version_file="", version_patterns=(), tools={})
    monkeypatch.setattr("envtool_python.pip_calls.installable_project", lambda *_: facts)
    monkeypatch.setattr("envtool_python.versions.pretend_version_variables", lambda *_: {})
    site = Site({**ANSWER, "needs": [package("nn", *BOTH)]})
    pins = PythonProject().resolve(request({"install": "editable"}), site)
    assert pins["files"][-1]["file"] == BOTH[1]
    assert [(mode, env["ENVTOOL_OTHER_MACHINE"]) for _, mode, _, env in site.ran] == [("needs", "aarch64")]
    with pytest.raises(api.ResolveError, match="uv ended with 1"):
        PythonProject().resolve(request({"install": "editable"}), Site(error="envtool: uv ended with 1\n"))


def test_a_toolchain_of_another_version_does_not_answer():
    def pins(version):
        return {"source": "uv", "archives": [{"version": version}]}

    def layers(own, other):
        return (api.StandInLayer(kind="debian", pins={}, own_pins={}),
                api.StandInLayer(kind="python-toolchain", pins=pins(other), own_pins=pins(own)))  # fmt: skip

    same = api.StandIn(arch="x86_64", layers=layers("3.11.2", "3.11.2"))
    assert Pip().resolve(request(["nn"], stand_in=same), Site())["files"]
    differing = api.StandIn(arch="x86_64", layers=layers("3.11.2", "3.11.1"))
    with pytest.raises(api.ResolveError, match=r"its Python is 3\.11\.1 there, and 3\.11\.2 here") as caught:
        Pip().resolve(request(["nn"], stand_in=differing), Site())
    assert caught.value.code == "other-platform"


# ---- in the container ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("libc", "wanted"),
    [("2.17", 17), ("2.27", 17), ("2.28", 28), ("2.30", 28), ("2.31", 31), ("2.36", 36), ("2.40", 40), ("2.99", 40)],
)
def test_uv_is_told_the_glibc_of_this_stack(monkeypatch, libc, wanted):
    monkeypatch.setattr(platform, "libc_ver", lambda: ("glibc", libc))
    assert with_uv.python_platform("aarch64") == f"aarch64-manylinux_2_{wanted}"


@pytest.mark.parametrize("libc", [("", ""), ("musl", "1.2.3"), ("glibc", "2.12"), ("glibc", "3.1"), ("glibc", "x")])
def test_uv_knows_no_wheels_of_another_libc(monkeypatch, libc):
    monkeypatch.setattr(platform, "libc_ver", lambda: libc)
    with pytest.raises(inside.FailedError, match="the libc is glibc"):
        with_uv.python_platform("aarch64")


def test_uv_builds_nothing_for_another_architecture(tmp_path, monkeypatch):
    """By what a uv is asked that only notes it."""
    (tmp_path / "uv").write_text(f'#!/bin/sh\necho "$*" >>{tmp_path}/asked\n')
    (tmp_path / "uv").chmod(0o755)
    for module in (with_uv, calls):
        monkeypatch.setattr(module, "WORK", str(tmp_path))
    monkeypatch.setattr(with_uv, "UV", str(tmp_path / "uv"))
    monkeypatch.setattr(platform, "libc_ver", lambda: ("glibc", "2.36"))
    for env in ({}, {"ENVTOOL_OTHER_MACHINE": "aarch64"}):
        with_uv.finish(with_uv.start("call", ["nn"], [], env))
    native, other = (tmp_path / "asked").read_text().splitlines()
    assert "--no-build" not in native
    assert "--python-platform" not in native
    assert " --no-build --python-platform aarch64-manylinux_2_36 " in other


def test_no_refusal_is_read_out_of_other_words():
    assert uv_resolver._without_wheels("hint: Wheels are nice") == ""
