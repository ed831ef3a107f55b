"""The distributions as they would be published: built, looked into, and installed where no index can be asked."""

from __future__ import annotations

import ast
import importlib.metadata
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
STRANGER = re.compile(r"^envtool(?![\w-])", re.IGNORECASE)  # on indexes this name is not ours


def run(*command, **options):
    ran = subprocess.run([*map(str, command)], capture_output=True, text=True, timeout=600, check=False, **options)
    assert ran.returncode == 0, f"{command}\n{ran.stdout[-3000:]}{ran.stderr[-3000:]}"
    return ran.stdout


@pytest.fixture(scope="module")
def wheels(tmp_path_factory):
    pytest.importorskip("build")
    pytest.importorskip("hatchling")
    out = tmp_path_factory.mktemp("wheels")
    for project in (ROOT, *sorted((ROOT / "plugins").iterdir())):
        run(sys.executable, "-m", "build", "--no-isolation", "--wheel", "--outdir", out, project)
    return {path.name.partition("-")[0]: path for path in out.glob("*.whl")}


def metadata(wheel):
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        return archive.read(name).decode()


def test_wheels_hold_their_package_and_nothing_else(wheels):
    plugins = (
        "envtool_cc",
        "envtool_java",
        "envtool_node",
        "envtool_python",
        "envtool_rust",
        "envtool_go",
        "envtool_services",
    )
    packages = {"envtool_core": "envtool", **{name: name for name in plugins}}
    assert set(wheels) == set(packages)
    for distribution, package in packages.items():
        with zipfile.ZipFile(wheels[distribution]) as archive:
            names = archive.namelist()
        tops = {name.partition("/")[0] for name in names}
        (info,) = (top for top in tops if top.endswith(".dist-info"))
        data = info.replace(".dist-info", ".data")
        script = [f"{data}/scripts/envtool"] if package == "envtool" else []
        assert tops == {package, info, *([data] if script else [])}
        assert [name for name in names if name.startswith(f"{data}/")] == script
        assert f"{package}/py.typed" in names
        assert not [name for name in names if name.endswith((".pyc", ".orig")) or "/tests/" in name]
        assert [name for name in names if name.endswith("licenses/LICENSE")]
    with zipfile.ZipFile(wheels["envtool_core"]) as archive:
        (script,) = (item for item in archive.infolist() if "/scripts/" in item.filename)
        assert (script.external_attr >> 16) & 0o111 == 0o111, "pip makes executable what is so in the wheel"
        assert archive.read(script).startswith(b"#!python\n"), "pip puts the interpreter of the environment there"
        assert {"envtool/kinds/debian/keys/debian.pgp", "envtool/kinds/debian/keys/ubuntu.pgp"} <= set(
            archive.namelist()
        )


def test_no_requirement_is_the_strangers_name(wheels):
    for wheel in wheels.values():
        text = metadata(wheel)
        requirements = re.findall(r"^Requires-Dist: (.*)$", text, re.MULTILINE)
        assert requirements
        assert not [line for line in requirements if STRANGER.match(line)]
    for name in sorted(set(wheels) - {"envtool_core"}):
        core = re.findall(r"^Requires-Dist: (envtool-core.*)$", metadata(wheels[name]), re.MULTILINE)
        assert core == ["envtool-core<0.4,>=0.3"]
    for path in [ROOT / "pyproject.toml", *ROOT.glob("plugins/*/pyproject.toml")]:
        assert not re.search(r"""["']envtool(?![\w-])\s*[><=~!\[]""", path.read_text()), path


@pytest.mark.e2e  # with this machine's pip
def test_it_runs_from_the_wheels_without_any_index(wheels, tmp_path):
    """A venv that sees this one's third-party packages: pip is told of no index, and installs our two files alone."""
    run(sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv")
    python = tmp_path / "venv" / "bin" / "python"
    environ = {key: value for key, value in os.environ.items() if not key.startswith(("PIP_", "PYTHON"))}
    environ |= {"PIP_CONFIG_FILE": os.devnull, "PIP_NO_INDEX": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    pip = [sys.executable, "-m", "pip", "--python", python]
    (site,) = (tmp_path / "venv" / "lib").glob("python*/site-packages")
    (site / "theirs.pth").write_text("".join(f"{path}\n" for path in sys.path if path.endswith("site-packages")))
    run(*pip, "install", "--no-deps", "--force-reinstall", *wheels.values(), env=environ)
    assert "envtool 0." in run(tmp_path / "venv" / "bin" / "envtool", "version", cwd=tmp_path, env=environ)
    schema = run(tmp_path / "venv" / "bin" / "envtool", "schema", cwd=tmp_path, env=environ)
    assert '"pip"' in schema
    assert '"npm"' in schema
    assert '"debian"' in schema
    where = run(python, "-c", "import envtool; print(envtool.__file__)", cwd=tmp_path, env=environ).strip()
    assert where.startswith(str(site))


SOURCES = {
    "envtool-core": ROOT / "envtool",
    **{f"envtool-{path.name.partition('_')[2]}": path / "src" for path in sorted((ROOT / "plugins").iterdir())},
}


# Modules that run where something else than envtool is installed, and what they import of that if it is there.
ELSEWHERE = {"envtool/services/fresh_client.py": {"pytest"}}


@pytest.mark.parametrize("name", ELSEWHERE)
def test_what_is_imported_elsewhere_is_not_needed(name):
    blocked = "".join(f"sys.modules[{module!r}] = None; " for module in sorted(ELSEWHERE[name]))
    code = f"import runpy, sys; {blocked}runpy.run_path({str(ROOT / name)!r}, run_name='elsewhere')"
    subprocess.run([sys.executable, "-I", "-c", code], check=True)


@pytest.mark.parametrize("name", SOURCES)
def test_what_is_imported_is_required(name):
    """The development environment has more than users have: what it has by accident must not be needed."""
    offers = importlib.metadata.packages_distributions()
    ours = {path.name for path in ROOT.glob("plugins/*/src/*")} | {"envtool"}
    directory = ROOT if name == "envtool-core" else SOURCES[name].parent
    project = tomllib.loads((directory / "pyproject.toml").read_text())["project"]
    lines = [
        *project["dependencies"],
        *(line for some in project.get("optional-dependencies", {}).values() for line in some),
    ]
    required = {re.split(r"[^\w.-]", line)[0].lower().replace("_", "-") for line in lines}
    for path in SOURCES[name].rglob("*.py"):
        elsewhere = ELSEWHERE.get(str(path.relative_to(ROOT)), set())
        for node in ast.walk(ast.parse(path.read_text())):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                names = [node.module]
            for module in {each.partition(".")[0] for each in names} - sys.stdlib_module_names - ours - elsewhere:
                found = {each.lower().replace("_", "-") for each in offers.get(module, ())}
                assert found & required or module == "compression", f"{path}: nobody requires {module}"


@pytest.mark.e2e
@pytest.mark.network
@pytest.mark.dear
def test_setup_makes_an_environment_that_works(tmp_path):
    """What README says first, on a fresh clone, also where the system's Python refuses to be installed into."""
    run("git", "-c", "safe.directory=*", "clone", "-q", ROOT, tmp_path / "clone")
    environ = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    run(".ci/setup", cwd=tmp_path / "clone", env=environ)
    run(".ci/setup", cwd=tmp_path / "clone", env=environ)  # again is no harm
    assert "envtool 0." in run(".venv/bin/envtool", "version", cwd=tmp_path / "clone", env=environ)
    assert not run("git", "-c", "safe.directory=*", "status", "--porcelain", cwd=tmp_path / "clone")
