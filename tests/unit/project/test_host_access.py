"""The gate to this machine: what a project names, and what the caller allows."""

import os
import stat

import pytest

from envtool.app import permissions
from envtool.app.command_request import CommandRequest
from envtool.errors import SpecError, UsageError
from envtool.model import BaseSpec, Env, Where
from envtool.project import host_access
from envtool.project.host_access import HostAccess, HostPermissions
from tests import project_inputs

HERE = Where(file="envtool.yaml", line=3, column=3)
CALLED = (("test",), ("-e", "unit"))


@pytest.fixture
def project(tmp_path):
    top = tmp_path / "project"
    top.mkdir()
    (top / "inside").write_text("mine")
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/secret").write_text("CANARY")
    return top


def refused(call):
    with pytest.raises(UsageError) as caught:
        call()
    said = f"{caught.value.message} {caught.value.hint}"
    assert "CANARY" not in said
    return caught.value


def text(file):
    with file:
        return file.read().decode()


def test_links_inside_are_followed_and_links_out_need_a_word(project):
    (project / "link").symlink_to("inside")
    (project / "out").symlink_to("../outside/secret")
    assert text(HostAccess(str(project)).open("link")) == "mine"
    error = refused(lambda: HostAccess(str(project), HostPermissions(called=CALLED)).open("out"))
    real = os.path.realpath(project / "out")
    assert error.hint == f"if it is yours to be read here: `envtool test --allow-file {real} -e unit`"
    for allowed in (real, os.path.dirname(real)):
        assert text(HostAccess(str(project), HostPermissions(files=(allowed,))).open("out")) == "CANARY"
    assert refused(lambda: HostAccess(str(project), HostPermissions(files=(real + "s",))).open("out")).code == "outside"


TOKENS = (
    ".git/config",
    ".git/config.worktree",
    "sub/.git/config",
    ".git/modules/a/config",
    ".GIT/Config",
    ".git/credentials",
)


@pytest.mark.parametrize("path", TOKENS)
def test_gits_configuration_needs_a_word(project, path):
    """CI systems keep a token there."""
    (project / path).parent.mkdir(parents=True)
    (project / path).write_text("CANARY")
    (project / "link").symlink_to(path)
    (project / "way").symlink_to(os.path.dirname(path))
    for name in (path, "link", f"way/{os.path.basename(path)}"):
        door = HostAccess(str(project), HostPermissions(called=CALLED))
        real = f"{os.path.realpath(project)}/{path}"
        for call in (
            lambda door=door, name=name: door.open(name),
            lambda door=door, name=name: door.open_absolute(f"{project}/{name}"),
            lambda name=name: project_inputs.find(str(project), [name]),
            lambda door=door, name=name: project_inputs.find(str(project), [name], access=door),
        ):
            assert refused(call).code == "outside"
        assert refused(lambda door=door, name=name: door.open(name)).hint.endswith(f"--allow-file {real} -e unit`")
        for allowed in (real, str(project)):
            door = HostAccess(str(project), HostPermissions(files=(allowed,)))
            assert text(door.open(name)) == "CANARY"
            assert project_inputs.find(str(project), [name], access=door)
        assert refused(lambda name=name: HostAccess(str(project)).secret("s", f"file:{name}")).code in (
            "outside",
            "secret-not-allowed",
        )
        door = HostAccess(str(project), HostPermissions(secrets={"s": f"file:{name}"}))
        assert door.secret("s", f"file:{name}") == b"CANARY"


def test_other_files_of_git_need_none(project):
    for path in (".git/HEAD", "config", ".gitconfig", ".github/config", "git/config"):
        (project / path).parent.mkdir(exist_ok=True)
        (project / path).write_text("mine")
        assert text(HostAccess(str(project)).open(path)) == "mine"
        assert project_inputs.find(str(project), [path])
    assert refused(lambda: HostAccess(str(project)).secret("s", "file:.git/HEAD")).code == "secret-not-allowed"


def test_what_this_machine_names_itself_is_open_and_nothing_beside_it(project, tmp_path):
    door = HostAccess(str(project))
    secret = str(tmp_path / "outside/secret")
    assert refused(lambda: door.open_absolute(secret)).code == "outside"
    door.own(str(tmp_path / "outside"))
    assert text(door.open_absolute(secret)) == "CANARY"
    assert refused(lambda: door.open_absolute(f"{tmp_path}/outside/../project/inside")).code == "outside"
    assert refused(lambda: door.open_absolute(f"{tmp_path}/outsider")).code == "outside"
    assert text(door.open_absolute(f"{project}/inside")) == "mine"


def test_nothing_but_regular_files_is_opened(project, tmp_path):
    os.mkfifo(project / "fifo")
    (project / "circle").symlink_to("circle")
    with (project / "sparse").open("wb") as file:
        file.truncate(host_access.MAX_FILE_SIZE + 1)
    door = HostAccess(str(project), HostPermissions(files=("/dev",)))
    (project / "device").symlink_to("/dev/zero")
    codes = [refused(lambda name=name: door.open(name)).code for name in ("fifo", "circle", "sparse", "device")]
    assert codes == ["not-a-file", "not-a-file", "too-large", "not-a-file"]
    with pytest.raises(IsADirectoryError):
        door.open(".")


def test_no_more_is_read_than_there_was(project):
    with HostAccess(str(project)).open("inside") as file:
        pieces = host_access.read_chunks(file)
        (project / "inside").write_text("mine" * 100)
        assert len(b"".join(pieces)) <= 400
    with HostAccess(str(project)).open("inside") as file:
        assert len(b"".join(host_access.read_chunks(file))) == os.stat(project / "inside").st_size


# ---- secrets ---------------------------------------------------------------------------------------------------------


def test_a_secret_of_the_project_is_its_own(project):
    assert HostAccess(str(project)).secret("s", "file:inside") == b"mine"
    assert HostAccess(str(project)).secret("s", "file:gone") is None
    assert HostAccess(str(project)).secret("s", "") is None


@pytest.mark.parametrize(
    "source", ["env:TOKEN", "file:~/x", "file:/etc/passwd", "file:../outside/secret", "file:a/../../outside/secret"]
)
def test_any_other_secret_needs_the_callers_word(project, monkeypatch, source):
    monkeypatch.setenv("TOKEN", "CANARY")
    error = refused(lambda: HostAccess(str(project), HostPermissions(called=CALLED)).secret("s", source))
    assert error.code == "secret-not-allowed"
    assert "envtool test --allow-secret " in error.hint
    assert f"s={source}" in error.hint.replace("'", "")


def test_what_the_caller_says_comes_first(project, monkeypatch, tmp_path):
    monkeypatch.setenv("TOKEN", "t")
    monkeypatch.setenv("OTHER", "CANARY")
    assert HostAccess(str(project), HostPermissions(secrets={"s": ""})).secret("s", "env:TOKEN") == b"t"
    assert HostAccess(str(project), HostPermissions(secrets={"s": "env:TOKEN"})).secret("s", "env:OTHER") == b"t"
    assert HostAccess(str(project), HostPermissions(secrets={"s": "env:TOKEN"})).secret("s", "") == b"t"
    place = str(tmp_path / "outside/secret")
    assert (
        HostAccess(str(project), HostPermissions(secrets={"s": f"file:{place}"})).secret("s", "file:inside")
        == b"CANARY"
    )
    refused(lambda: HostAccess(str(project), HostPermissions(secrets={"other": ""})).secret("s", "env:TOKEN"))


def test_a_link_to_a_secret_outside_is_none_of_the_projects(project):
    (project / "link").symlink_to("../outside/secret")
    assert refused(lambda: HostAccess(str(project)).secret("s", "file:link")).code == "outside"


# ---- variables -------------------------------------------------------------------------------------------------------


def env(*passed, network):
    base = BaseSpec(name="host", kind="host", options={}, where=HERE)
    return Env(name="unit", group="unit", base=base, layers=(), tasks=(), where=HERE, passed=passed, network=network)


@pytest.mark.parametrize(
    ("passed", "network", "allowed", "wrong"),
    [
        (("TOKEN",), False, (), False),  # a name in full, and nowhere to send it
        (("TOKEN",), True, (), True),
        (("TOKEN",), True, ("TOKEN",), False),
        (("TOKEN",), True, ("TOK*",), False),
        (("*",), True, (), True),
        (("*",), False, (), True),
        (("TOK*",), False, (), True),
        (("TOK*", "TOKEN"), False, (), False),
        (("T?KEN",), False, ("TOKEN",), False),
        (("TERM", "CI", "LANG", "L*_ALL"), True, (), False),
        (("GONE",), True, (), False),
    ],
)
def test_what_pass_may_have(passed, network, allowed, wrong):
    host = {"TOKEN": "CANARY", "TERM": "x", "CI": "1", "LANG": "C", "LC_ALL": "C", "ENVTOOL_CACHE_KEY": "k"}
    one = env(*passed, network=network)
    said = HostPermissions(variables=allowed, called=CALLED)
    if not wrong:
        host_access.check_passed((one,), said, host)
        assert "ENVTOOL_CACHE_KEY" not in host_access.select_variables(one.passed, host)
        return
    with pytest.raises(SpecError) as caught:
        host_access.check_passed((one,), said, host)
    (problem,) = caught.value.problems
    assert (problem.code, problem.where) == ("pass-not-allowed", HERE)
    assert "envtool test --allow-pass TOKEN -e unit" in problem.hint
    assert "CANARY" not in problem.message + problem.hint


def test_no_harmless_name_is_a_pattern():
    assert not [name for name in host_access.HARMLESS if set(name) & set("*?[") or "TOKEN" in name or "KEY" in name]


# ---- the caller's own file -------------------------------------------------------------------------------------------


@pytest.fixture
def config(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "xdg"))
    path = tmp_path / "xdg/envtool/config.yaml"
    path.parent.mkdir(parents=True)

    def write(content, mode=0o644):
        path.write_text(content)
        path.chmod(mode)
        return path

    return write


def allowed(project, **said):
    return permissions.resolve_permissions(CommandRequest(**said), str(project))


def test_what_is_said_for_all_and_for_one(config, project):
    config(
        "version: 1\nallow: {pass: [A]}\nprojects:\n"
        f"  {project.parent}: {{pass: [B], secrets: {{s: env:S}}, files: [{project.parent}/outside]}}\n"
        "  /elsewhere: {pass: [C]}\n"
    )
    found = allowed(project, allow_pass=("D",), allow_secret=("t", "s=file:/x"))
    assert found.variables == ("A", "B", "D")
    assert found.secrets == {"s": "file:/x", "t": ""}
    assert found.files == (os.path.realpath(project.parent / "outside"),)
    assert found.said
    assert not allowed(project).said


@pytest.mark.parametrize("path", ["", "/no such directory/x", "nowhere", "~/no such", "/etc/passwd/x"])
def test_what_the_caller_types_has_to_be_there(config, project, path):
    """It is a typing error; in the configuration it may be a disk that is not mounted today."""
    error = refused(lambda: allowed(project, allow_file=(path,)))
    assert "there is no such file or directory" in error.message
    assert error.code == "usage.file"
    config("version: 1\nallow: {files: [/nonexistent]}\n")
    assert allowed(project, allow_file=(str(project),)).files == ("/nonexistent", os.path.realpath(project))


def test_without_a_file_nothing_is_allowed(config, project):
    assert allowed(project) == HostPermissions()


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ("version: 2\n", 1),
        ("version: 1\nalow: {}\n", 2),
        ("version: 1\nallow:\n  pass: NAME\n", 3),
        ("version: 1\nallow:\n  secrets:\n    s: TOKEN\n", 4),
        ("version: 1\nallow:\n  files: [relative]\n", 3),
        ("version: 1\nprojects:\n  here: {}\n", 3),
        ("version: 1\nallow: [\n", 3),
    ],
)
def test_what_is_wrong_in_it_is_said_with_its_line(config, project, content, line):
    path = config(content)
    with pytest.raises(SpecError) as caught:
        allowed(project)
    assert {problem.where.file for problem in caught.value.problems} == {str(path)}
    assert [problem.where.line for problem in caught.value.problems] == [line]


@pytest.mark.parametrize("mode", [0o666, 0o664, 0o646])
def test_what_others_can_write_is_not_believed(config, project, mode):
    config("version: 1\n", mode)
    assert "others may write to" in refused(lambda: allowed(project)).message


def test_nor_what_belongs_to_another_or_lies_in_the_project(config, project, monkeypatch):
    path = config("version: 1\nallow: {pass: [A]}\n")
    if os.geteuid() == 0:
        os.chown(path, 12345, -1)
        assert "belongs to user id" in refused(lambda: allowed(project)).message
    (project / "envtool").mkdir()
    (project / "envtool/config.yaml").write_text("version: 1\nallow: {pass: [A]}\n")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(project))
    assert "lies in the project" in refused(lambda: allowed(project)).message
    monkeypatch.setenv("XDG_CONFIG_HOME", str(project.parent / "linked"))
    (project.parent / "linked").mkdir()
    (project.parent / "linked/envtool").symlink_to(project / "envtool")
    assert "lies in the project" in refused(lambda: allowed(project)).message


def test_a_fifo_is_no_configuration(config, project):
    path = config("version: 1\n")
    path.unlink()
    os.mkfifo(path, 0o600)
    assert stat.S_ISFIFO(os.stat(path).st_mode)
    assert refused(lambda: allowed(project)).code == "not-a-file"


@pytest.mark.parametrize("word", ["", "=env:A", "s=", "s=A", "s=env:", "s=env:1", "s=file:"])
def test_a_secret_that_is_said_wrongly(config, project, word):
    assert refused(lambda: allowed(project, allow_secret=(word,))).code == "usage.secret"
