"""PATH may lead into the checkout, and nothing of it is started on the host, by whatever name it is looked for."""

import os
import re
import subprocess
from pathlib import Path

import pytest
from envtool_node.npmrc import _machine_files

from envtool import proc
from envtool.container import userns
from envtool.errors import FetchError
from envtool.net.oci import credentials
from envtool.project import programs

ROOT = Path(__file__).parents[2]
SCRIPT = '#!/bin/sh\necho "$PATH"\n'


def program(path, text=SCRIPT):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A project below the top of its repository, which this process works on, and where it stands."""
    monkeypatch.setattr(programs, "_checkouts", set())
    subprocess.run(["git", "init", "-q", tmp_path / "c"], check=True)
    (tmp_path / "c/project/sub").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "c/project")
    programs.exclude_checkout(str(tmp_path / "c/project"))
    return tmp_path / "c"


WAYS = {
    "its own directory": "project/.venv/bin",
    "deeper": "project/sub/node_modules/.bin",
    "the repository's top": ".",
    "beside it in the repository": "tools/bin",
}


@pytest.mark.parametrize("way", WAYS)
def test_nothing_of_a_checkout_is_found(way, checkout, tmp_path, monkeypatch):
    theirs = program(checkout / WAYS[way] / "tool")
    ours = program(tmp_path / "bin/tool")
    (tmp_path / "link").symlink_to(theirs.parent)
    relative = os.path.relpath(theirs.parent)
    for entry in (
        theirs.parent,
        f"{theirs.parent}/",
        f"{theirs.parent}/../{theirs.parent.name}",
        tmp_path / "link",
        relative,
        "",
        ".",
    ):
        monkeypatch.setenv("PATH", f"{entry}:{ours.parent}")
        assert programs.find_program("tool") == str(ours)
        said = proc.run(["tool"]).stdout.decode().strip()
        assert said == str(ours.parent)  # nor does what it starts come from there
        monkeypatch.setenv("PATH", str(entry))
        assert programs.find_program("tool") == ""
        assert proc.run(["tool"]).status == proc.NOT_FOUND
        assert proc.run(["tool"], env=dict(os.environ)).status == proc.NOT_FOUND


def test_a_home_that_is_a_repository_has_programs_of_its_own(tmp_path, monkeypatch):
    monkeypatch.setattr(programs, "_checkouts", set())
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    theirs, ours = program(tmp_path / "project/bin/tool"), program(tmp_path / ".local/bin/tool")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PATH", f"{theirs.parent}:{ours.parent}")
    programs.exclude_checkout(str(tmp_path / "project"))
    assert programs.find_program("tool") == str(ours)


def test_what_is_no_program_is_not_found(checkout, tmp_path, monkeypatch):
    (tmp_path / "bin/tool").mkdir(parents=True)
    program(tmp_path / "bin/plain").chmod(0o644)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin")
    assert programs.find_program("tool") == programs.find_program("plain") == programs.find_program("gone") == ""


def test_maps_of_ids_are_the_systems_to_write(checkout, monkeypatch):
    """newuidmap has root's rights by its file: one that is found by PATH is nobody's."""
    for name in ("newuidmap", "other"):
        program(checkout / "bin" / name)
    monkeypatch.setenv("PATH", f"{checkout}/bin")
    assert userns.find_helper("other") == ""
    assert not userns.find_helper("newuidmap").startswith(str(checkout))


def test_the_prefix_of_node_is_not_the_checkouts(checkout, tmp_path, monkeypatch):
    """Its npmrc would be taken for the machine's, and may name any variable."""
    program(checkout / "node/bin/node")
    program(tmp_path / "node/bin/node")
    environ = {"PATH": f"{checkout}/node/bin"}
    assert [*_machine_files({}, environ)] == ["/etc/npmrc"]
    environ["PATH"] += f":{tmp_path}/node/bin"
    assert [*_machine_files({}, environ)] == ["/etc/npmrc", f"{tmp_path}/node/etc/npmrc"]


def test_a_helper_of_the_users_configuration_is_the_users(checkout, tmp_path, monkeypatch):
    program(checkout / ".venv/bin/docker-credential-x", f"#!/bin/sh\ntouch {tmp_path}/pwned\n")
    (tmp_path / "config.json").write_text('{"credsStore": "x"}')
    monkeypatch.setenv("PATH", f"{checkout}/.venv/bin:.:/usr/bin:/bin")
    with pytest.raises(FetchError, match=r"docker-credential-x, which .* names, is not installed"):
        credentials.find_credentials("r.test", "x", {**os.environ, "DOCKER_CONFIG": str(tmp_path)})
    assert not (tmp_path / "pwned").exists()
    program(tmp_path / "bin/docker-credential-x", '#!/bin/sh\necho \'{"Username": "u", "Secret": "s"}\'\n')
    monkeypatch.setenv("PATH", f"{checkout}/.venv/bin:{tmp_path}/bin:/usr/bin:/bin")
    assert credentials.find_credentials("r.test", "x", {**os.environ, "DOCKER_CONFIG": str(tmp_path)}).password == "s"


def test_no_other_place_looks_for_programs():
    """shutil.which is for a fixed PATH alone, and only `proc` starts what has a bare name."""
    for path in (*(ROOT / "envtool").rglob("*.py"), *(ROOT / "plugins").glob("*/src/**/*.py")):
        for call in re.findall(
            r"(?:which|execvpe?|execlpe?|posix_spawnp|spawnlp|os\.system|popen)\([^)]*\)", path.read_text()
        ):
            assert call.endswith(("path=HOST_PATH)", "path=_HOST_PATH)")), f"{path}: {call}"


@pytest.mark.e2e
@pytest.mark.one_caller
@pytest.mark.parametrize("name", ["diffoscope", "newuidmap", "git"])
def test_verbs_start_nothing_of_the_checkout(name, common):
    for each in (name, "newgidmap"):
        common.write(f".venv/bin/{each}", f"#!/bin/sh\necho $0 >> {common.top}/pwned\nexit 1\n", mode=0o755)
    common.environ["PATH"] = f"{common.project}/.venv/bin:.:.venv/bin:/usr/bin:/bin"
    common.spec(
        "layers: {l: {run: 'head -c 8 /dev/urandom > /opt/x'}}\nenvs: {unit: {layers: [l], tasks: {test: 'true'}}}\n"
    )
    words = ("verify", "l") if name == "diffoscope" else ("test",)
    done = common.envtool(*words)
    assert not (common.top / "pwned").exists(), done.said
