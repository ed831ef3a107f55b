"""`init --from tox.ini`: what tox would install and run is in the spec, and the rest is named with its place."""

from __future__ import annotations

import json
import shlex
import subprocess

import pytest

from envtool.app.command_request import CommandRequest
from envtool.app.init_from.debian_pythons import suite_of_python
from envtool.app.init_from.take_over import take_over
from envtool.app.init_from.taken_spec import CannotTakeError
from envtool.cli.main import main
from envtool.errors import SpecError, UsageError

ENV = "[testenv]\n"


def tox(*lines: str) -> str:
    return "[tox]\nenv_list = py\n[testenv]\n" + "".join(f"{line}\n" for line in lines)


@pytest.mark.parametrize(
    ("lines", "command"),
    [
        (["commands = pytest"], "pytest"),
        (["commands = pytest {posargs}"], "pytest {{ args }}"),
        (["commands = pytest []"], "pytest {{ args }}"),
        (["commands = pytest {posargs:tests -q}"], "pytest {{ args or 'tests -q' }}"),
        (["commands = pytest {posargs:{toxinidir}/tests}"], "pytest {{ args or '/project/tests' }}"),
        (["commands =", "  pytest \\", "    -q"], "pytest -q"),
        (["commands =", "  # a comment", "  pytest -q  # why"], "pytest -q"),
        (["commands = pytest *.py $HOME ; rm x && y"], "pytest '*.py' '$HOME' ';' rm x '&&' y"),
        (["commands = pytest -k 'a and b'"], "pytest -k 'a and b'"),
        (["commands = -flake8"], "flake8 || true"),
        (["commands = ! grep x y"], "! grep x y"),
        (["commands = python -c 'print({envname})'"], "python -c 'print(py)'"),
        (["commands = py: pytest", "  py311: never"], "pytest"),
        (["commands = !lint: pytest", "  lint: never"], "pytest"),
        (["commands = echo {unknown} \\{posargs\\}"], "echo '{unknown}' '{posargs}'"),
        (["commands = echo {/}{:}"], "echo /:"),
        (["commands = echo {tty:--color:--plain}"], "echo --plain"),
        (["commands = echo {env:HOME:none}"], "echo none"),
        (["commands = echo {[base]words} {[base]missing:x}", "[base]", "words = a b"], "echo a b x"),
        (["opts = -q", "commands = pytest {opts}"], "pytest -q"),
        (["commands = echo '{{ x }}' '{% y %}'"], None),
    ],
)
def test_a_command_is_the_same_for_a_shell(take, lines, command):
    taken = take("tox.ini", tox(*lines))
    if command is None:
        from envtool.spec.template import Renderer

        words = shlex.split(Renderer().render(taken.test, {}))
        assert words == ["echo", "{{ x }}", "{% y %}"]
    else:
        assert taken.test == command


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["commands = {envsitepackagesdir}/x"], "4: `py`: the env is left out: `{envsitepackagesdir}`"),
        (["commands = {[gone]words}"], "4: `py`: the env is left out: `{[gone]words}` refers to nothing"),
        (["a = {b}", "b = {a}", "commands = {a}"], "it refers to itself"),
        (["a = {b}{b}{b}{b}{b}{b}{b}{b}", *(f"{x} = {{{y}}}{{{y}}}{{{y}}}{{{y}}}{{{y}}}{{{y}}}{{{y}}}{{{y}}}" for x, y in zip("bcdefg", "cdefgh", strict=True)), "h = xxxxxxxx", "commands = {a}"], "too long"),
        (["commands = docker build ."], "it calls `docker`"),
        (["commands = pytest 'unclosed"], "4: `py`: the env is left out: `commands`: No closing quotation"),
        (['commands = pytest {posargs:"a b"}'], "has a quote"),
        (["commands ="], "it has no commands"),
        (["deps = -i https://example.org", "commands = pytest"], "4: `py`: the env is left out: `deps`: the option `-i`"),
        (["deps = -r gone.txt", "commands = pytest"], "there is no file `gone.txt`"),
        (["deps = -r ../out.txt", "commands = pytest"], "is not in the project"),
        (["deps = ../sibling", "commands = pytest"], "is another project"),
        (["change_dir = ..", "commands = pytest"], "4: `py`: the env is left out: `change_dir`"),
        (["base_python = pypy3", "commands = pytest"], "no Python of a Debian release"),
        (["base_python = python3.12", "commands = pytest"], "no Debian release has Python 3.12"),
        (["install_command = conda", "commands = pytest"], "4: `py`: the env is left out: `install_command`"),
        (["platform = win32", "commands = pytest"], "it is for another system"),
        (["set_env = file|.env", "commands = pytest"], "is no `NAME = value`"),
        (["package = external", "commands = pytest"], "packaged by another environment"),
    ],
)  # fmt: skip
def test_what_an_env_cannot_have_leaves_it_out(errors, lines, message):
    (said,) = errors("tox.ini", tox(*lines))
    assert said.startswith("tox.ini:")
    assert message in said


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x", "tox.ini:1: this line is before the first section"),
        ("[tox]\nenv_list = py\n", "has no section [testenv]"),
        ("[testenv]\n[testenv]\n", "tox.ini:2: the section `testenv` is there twice"),
        ("[testenv]\ndeps = a\ndeps = b\n", "tox.ini:3: `deps` is twice in `testenv`"),
        (f"[tox]\nenv_list = py{{1-{10**9}}}\n[testenv]\ncommands = x\n", "more than 200 environments"),
        ("[tox]\nenv_list = a{1-20}{1-20}{1-20}{1-20}\n[testenv]\ncommands = x\n", "more than 200 environments"),
        ("[testenv]\ncommands = x\1y\n", "control characters"),
        ("[testenv]\n" + "x" * (1 << 20), "larger than 1 MiB"),
    ],
)
def test_a_text_that_is_no_tox_ini_is_refused(errors, text, message):
    (said,) = errors("tox.ini", text)
    assert message in said


def test_references_that_double_at_each_step_end(errors):
    steps = "".join(f"v{number} = {f'{{[x]v{number + 1}}}' * 4}\n" for number in range(15))
    (said,) = errors("tox.ini", f"[testenv]\ncommands = {{[x]v0}}\n[x]\n{steps}v15 =\n")
    assert "it refers to too many values" in said


def test_names_and_conditions(take):
    text = (
        "[tox]\nenvlist = py{311,313}-{a,b}, lint\n[testenv]\ndeps =\n  a: one\n  b: two\n  py313-b: three\n"
        "commands = pytest\n[testenv:lint]\nskip_install = true\ndeps = ruff\ncommands = ruff check\n"
    )
    envs = take("tox.ini", text).envs
    assert [*envs] == ["py311-a", "py311-b", "py313-a", "py313-b", "lint"]
    assert [env.get("packages") for env in envs.values()] == [["one"], ["two"], ["one"], ["two", "three"], None]
    assert [env["base"]["debian"] for env in envs.values()] == ["bookworm", "bookworm", "trixie", "trixie", "bookworm"]
    assert "language" not in envs["lint"], "it does not install the project, nor what that requires"
    assert envs["lint"]["layers"] == [{"apt": ["python3"]}, {"pip": ["ruff"]}]


def test_what_is_installed(take):
    text = tox(
        "deps =", "  pytest>=8", "  x[a]; python_version > '3'", "  -rreq.txt", "  -c {toxinidir}/c.txt", "  pip",
        "extras = test, docs", "use_develop = true", "allowlist_externals = make", "commands = make check",
    )  # fmt: skip
    taken = take("tox.ini", text, {"req.txt": "a\n", "c.txt": "a<2\n"})
    assert taken.env["packages"] == ["pytest>=8", "x[a]; python_version > '3'"]
    assert (taken.env["requirements"], taken.env["constraints"]) == (["req.txt"], ["c.txt"])
    assert (taken.env["extras"], taken.env["groups"]) == (["test", "docs"], [])
    assert taken.env["install"] == "editable"
    assert taken.env["layers"] == [{"apt": ["make"]}]


def test_variables_directory_and_what_passes(take):
    text = tox(
        "set_env =", "  A = {env:B:c}", "  PYTHONPATH={toxinidir}/src", "  LOG = {toxworkdir}/x.{envname}",
        "pass_env = CI", "  MY_*, TERM", "change_dir = {toxinidir}/tests", "commands = pytest",
    )  # fmt: skip
    taken = take("tox.ini", text, {"tests/test_a.py": ""})
    assert taken.env["set"] == {"A": "c", "PYTHONPATH": "/project/src", "LOG": "/tmp/x.py"}
    assert taken.env["pass"] == ["CI", "TERM"]
    assert taken.env["workdir"] == "tests"
    assert any(said.startswith("9 pass_env: the pattern `MY_*`") for said in taken.said("left-out"))
    changed = taken.said("changed")
    assert any(said.startswith("5 {env:B}: the caller's `B` is not read") for said in changed)
    assert any(said.startswith("7 {toxworkdir}") for said in changed)
    assert "# tox.ini:5: `{env:B}`" in taken.text, "it is a comment of the spec"


def test_what_is_not_taken_over_is_named(take):
    text = (
        "[tox]\nrequires = tox-plugin\nskip_missing_interpreters = true\nprovision = x\n[testenv]\ncommands = pytest\n"
        "recreate = true\nignore_errors = true\nfrobnicate = 1\n[testenv:docs]\ncommands = sphinx\n"
    )
    taken = take("tox.ini", text)
    left_out = taken.said("left-out")
    assert [said.partition(":")[0] for said in left_out] == ["2 requires", "4 provision", "10 testenv", "9 frobnicate"]
    assert any("it is no key of tox" in said for said in left_out)
    assert {said.partition(":")[0] for said in taken.said("meaningless")} == {
        "3 skip_missing_interpreters",
        "7 recreate",
    }
    assert any(said.startswith("8 ignore_errors") for said in taken.said("changed"))
    assert "recreate" not in taken.text


def test_an_env_that_is_left_out_does_not_take_the_others_with_it(take):
    taken = take("tox.ini", "[tox]\nenv_list = py311, py27, pypy3\n[testenv]\ncommands = pytest\n")
    assert [*taken.envs] == ["py311"]
    assert [said.partition(":")[0] for said in taken.said("left-out")] == ["2 py27", "2 pypy3"]
    assert "py27: tox.ini:2: `py27`: the env is left out" in taken.text.replace("\n#   ", " ")


def test_a_project_without_a_package_is_not_installed(tmp_path):
    (tmp_path / "tox.ini").write_text(tox("commands = python -m unittest"))
    taken = take_over(CommandRequest(directory=str(tmp_path)), "tox.ini", str(tmp_path))
    assert "python-is-python3" in taken.text
    assert "language" not in taken.text


def test_the_python_that_the_project_wants(tmp_path):
    (tmp_path / "tox.ini").write_text(tox("commands = pytest"))
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "x"\nversion = "1"\nrequires-python = ">=3.12"\n')
    assert "debian: trixie\n" in take_over(CommandRequest(directory=str(tmp_path)), "tox.ini", str(tmp_path)).text
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "x"\nversion = "1"\nrequires-python = ">=3.14"\n')
    with pytest.raises(SpecError) as caught:
        take_over(CommandRequest(directory=str(tmp_path)), "tox.ini", str(tmp_path))
    assert "which no Debian release has" in caught.value.problems[0].message
    assert 'with `toolchain: {python: "3.14"}`, or on a base that has it' in caught.value.problems[0].hint


def test_an_old_python_is_no_toolchain():
    for wanted, offered in (("3.12", True), ("py36", False), ("pypy3", False)):
        with pytest.raises(CannotTakeError) as caught:
            suite_of_python(wanted)
        assert ("`toolchain: " in caught.value.hint) is offered


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("setup.cfg", "no file that `init --from` reads"),
        ("gone/tox.ini", "there is no file"),
        ("../tox.ini", "is not in"),
        ("link/tox.ini", "is not in"),
        ("latin/tox.ini", "is not UTF-8"),
        ("nul/tox.ini", "has a NUL"),
    ],
)
def test_a_file_that_cannot_be_read(tmp_path, name, message):
    (tmp_path / "project").mkdir()
    (tmp_path / "tox.ini").write_text(ENV)
    (tmp_path / "project/link").symlink_to(tmp_path)
    for directory, content in (("latin", b"[testenv]\ncommands = \xff\n"), ("nul", b"[testenv]\ncommands = a\0b\n")):
        (tmp_path / "project" / directory).mkdir()
        (tmp_path / "project" / directory / "tox.ini").write_bytes(content)
    directory = str(tmp_path / "project")
    with pytest.raises(UsageError, match=message):
        take_over(CommandRequest(directory=directory), name, directory)


def test_a_quoted_command_reaches_the_program_as_tox_gives_it(take):
    words = ["a b", "$(touch x)", "`id`", "'", '"', "*", "~", "#x", "!", "\\"]
    line = " ".join(shlex.quote(word) for word in words).replace("#", "\\#")
    taken = take("tox.ini", tox(f"commands = printf '%s\\n' {line}"))
    done = subprocess.run(["sh", "-c", taken.test], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == words


def test_the_command_writes_once_and_says_what_is_left_out(tmp_path, capsys):
    (tmp_path / "tox.ini").write_text("[tox]\nenv_list = py311, py27\n[testenv]\ncommands = pytest\nrecreate = true\n")
    assert main(["-C", str(tmp_path), "init", "--from", "tox.ini"]) == 0
    said = capsys.readouterr().err
    assert "tox.ini:2:1: py27: the env is left out: `py27` is no Python of a Debian release" in said
    assert "hint: write an env of your own on a base that has it" in said
    assert "`recreate`: an env is rebuilt when what it is made of changes (tox.ini:5:1)" in said
    assert said.endswith(f"wrote {tmp_path}/envtool.yaml, 1 env: py311; next: envtool -C {tmp_path} test\n")
    text = (tmp_path / "envtool.yaml").read_text()
    assert main(["-C", str(tmp_path), "init", "--from", "tox.ini"]) == 2
    assert "exists" in capsys.readouterr().err
    assert (tmp_path / "envtool.yaml").read_text() == text


def test_the_command_with_json_and_its_errors(tmp_path, capsys):
    (tmp_path / "tox.ini").write_text("[testenv]\ncommands = pytest\nrequires = x\n")
    assert main(["-C", str(tmp_path), "init", "--from", "tox.ini", "--test", "x"]) == 2
    assert "two sources of the tests" in capsys.readouterr().err
    assert main(["-C", str(tmp_path), "-f", "other.yaml", "init", "--from", "tox.ini", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["envs"], document["written"]) == (["py"], [f"{tmp_path}/other.yaml"])
    (note,) = document["notes"]
    assert (note["env"], note["line"], note["key"], note["effect"]) == ("py", 3, "requires", "left-out")
    assert "service" not in note


def test_a_compose_file_is_taken_over_by_the_same_command(tmp_path, capsys):
    (tmp_path / "compose.yaml").write_text("services: {db: {image: example.org/db, container_name: other}}\n")
    assert main(["-C", str(tmp_path), "init", "--from", "compose.yaml"]) == 0
    said = capsys.readouterr().err
    assert "`container_name`: a service has one name here" in said
    assert f"1 service: db; next: envtool -C {tmp_path} up" in said
    assert "image: example.org/db" in (tmp_path / "envtool.yaml").read_text()
