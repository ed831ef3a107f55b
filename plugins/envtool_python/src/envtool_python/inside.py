"""Runs in containers, under their own Python, as do beside.py, tagged.py, calls.py and compiling.py: standard library
only, 3.8 and later.

    python3 inside.py MODE DOCUMENT      DOCUMENT is JSON; the answer is JSON on standard output, talk goes to
                                         standard error; status 1 when it failed

    info      what this Python is
    match     tags -> the versions in them, by the project's own regular expression
    resolve   requirement lines -> the files that pip would install (network)
    needs     source distributions or the project -> the files that their builds need (network)
    build     files -> a virtual environment (offline)
    compile   a list of .py files -> their .pyc files

Everything happens below WORK, always the same path, so that no file that is kept can tell one build from another.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from typing import TYPE_CHECKING, Any

from envtool_python.beside import PROJECT, SOURCE, WORK, files_below, keep_members, keep_written, point_to_project
from envtool_python.calls import name_before, normal, pretend_installed, write_lines
from envtool_python.compiling import compile_list, python_files
from envtool_python.tagged import match, tell_version

if TYPE_CHECKING:
    from typing import TypeAlias

    Document: TypeAlias = dict[str, Any]
    Env: TypeAlias = dict[str, str]

BUILDS_WHEN_IMPORTED = ("mesonpy",)  # backends whose editable installs want the build's own environment ever after
STEADY = ("--no-input", "--disable-pip-version-check", "--no-cache-dir", "--root-user-action=ignore")
QUIET = ("--quiet", *STEADY)
TALKING = ("--progress-bar=off", *STEADY)  # what is not settled is explained at the level of what --quiet leaves out

HOOK = """\
import importlib, json, sys
spec, paths, name, arguments, answer = json.loads(sys.argv[1])
sys.path[:0] = paths
module, _, attribute = spec.partition(":")
try:
    backend = importlib.import_module(module)
    for part in attribute.split(".") if attribute else ():
        backend = getattr(backend, part)
except ModuleNotFoundError as error:
    if not module.startswith(error.name or "?"):
        raise
    sys.exit(f"build-backend: there is no module {error.name} in what build-system.requires brings")
except AttributeError as error:
    sys.exit(f"build-backend: {error}")
hook = getattr(backend, name, None)
result = {"missing": True} if hook is None else {"value": hook(*arguments)}
with open(answer, "w") as file:
    json.dump(result, file)
"""


class FailedError(Exception):
    """Something that the user can mend; printed without a traceback."""


# ---- processes -------------------------------------------------------------------------------------------------


def environment(**changes: str) -> Env:
    """The container's own variables, made steady: no .pyc beside sources, one hash seed, no pip configuration."""
    env = dict(os.environ, PYTHONHASHSEED="0", PYTHONPYCACHEPREFIX=WORK + "/pycache", PIP_CONFIG_FILE=os.devnull)
    for name in ("PYTHONDONTWRITEBYTECODE", "PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV"):
        env.pop(name, None)
    env.update(changes)
    return env


def execute(argv: list[str], env: Env) -> None:
    """Run a command with its output on standard error. Raises FailedError."""
    result = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=2, check=False, env=env)
    if result.returncode != 0:
        raise FailedError(f"{' '.join(argv[:4])} ended with {result.returncode}")


def unpack_pip(wheel: str) -> str:
    """The directory of pip that `python DIRECTORY` executes; much faster than out of the zip, which keeps no .pyc.

    Without its metadata: it would take itself for installed, where `pip` is asked for."""
    target = WORK + "/pip"
    with zipfile.ZipFile(wheel) as archive:
        wanted = [name for name in archive.namelist() if name.startswith("pip/")]
        archive.extractall(target, wanted)  # noqa: S202 - checked by hash; zipfile stays inside
    return target + "/pip"


def make_venv(path: str) -> str:
    """A virtual environment without pip. Debian's python3 has venv; ensurepip, which it lacks, is not needed."""
    result = subprocess.run(
        [sys.executable, "-m", "venv", "--without-pip", path],
        stdin=subprocess.DEVNULL, stdout=2, check=False, env=environment(),
    )  # fmt: skip
    if result.returncode != 0:
        raise FailedError("python3 cannot make a virtual environment: add python3-venv to the apt layer below")
    return path + "/bin/python"


# ---- what pip says -----------------------------------------------------------------------------------------------


def entries(report: str, python: str, pip: str) -> list[Document]:
    """The files of one of pip's installation reports (version 1), in the order of installation."""
    with open(report, encoding="utf-8") as file:
        items = json.load(file)["install"]
    answer = []
    for item in items:
        info, metadata = item["download_info"], item["metadata"]
        name, version, url = metadata["name"], metadata["version"], info["url"]
        if "dir_info" in info:
            if url.startswith("file://" + WORK):
                continue  # the project itself: a layer of its own installs it
            raise FailedError(f"{name} comes from the directory {url}, which has no hash")
        if "archive_info" not in info:
            raise FailedError(f"{name} comes from a repository, which has no hash: name a release or an archive")
        sha256 = info["archive_info"].get("hashes", {}).get("sha256", "")
        size = 0
        if not sha256:
            sha256, size = measure(name + "==" + version, url, python, pip)
        direct = bool(item.get("is_direct"))
        answer.append({"name": name, "version": version, "url": url, "sha256": sha256, "size": size, "direct": direct})
    return answer


def measure(wanted: str, url: str, python: str, pip: str) -> tuple[str, int]:
    """Hash and size of a file whose index does not tell: fetched once for that."""
    target = WORK + "/measured"
    if not any(word in url.rpartition("/")[2] for word in (".whl", ".tar", ".zip")):
        raise FailedError(f"{wanted} at {url} is neither a wheel nor a source archive")
    kind = "--only-binary=:all:" if url.partition("#")[0].endswith(".whl") else "--no-binary=:all:"
    execute([python, pip, "download", *QUIET, "--no-deps", kind, "-d", target, wanted], env=environment())
    (found,) = os.listdir(target)
    with open(os.path.join(target, found), "rb") as file:
        content = file.read()
    shutil.rmtree(target)
    return hashlib.sha256(content).hexdigest(), len(content)


def pip_report(python: str, pip: str, arguments: list[str], env: Env) -> str:
    """`pip install` with a report; its path."""
    report = WORK + "/report.json"
    execute([python, pip, "install", *TALKING, "--report", report, *arguments], env=env)
    return report


def pip_install(python: str, pip: str, arguments: list[str], env: Env) -> list[Document]:
    """`pip install`; the files it chose."""
    return entries(pip_report(python, pip, arguments, env), python, pip)


# ---- resolving -----------------------------------------------------------------------------------------------------


def info(document: Document) -> Document:
    """What this Python is: all that can decide which files fit it, and whether the venv is there already."""
    import platform
    import sysconfig

    return {
        "version": platform.python_version(),
        "implementation": sys.implementation.name,
        "abi": sysconfig.get_config_var("SOABI") or sys.implementation.cache_tag,
        "platform": sysconfig.get_platform(),
        "libc": " ".join(platform.libc_ver()).strip() or "musl or unknown",
        "extends": os.path.exists(document["venv"] + "/bin/python"),
    }


def resolve(document: Document) -> Document:
    """Requirement lines, constraints and perhaps the project -> the files that are missing in the venv.

    Lines of one call are settled together; what it chose is there for the next call as if it were installed.
    """
    pip = unpack_pip(document["pip"])
    calls = [list(lines) for lines in document["calls"]]
    project, directories = document.get("project"), document.get("directories", {})
    for root in [*([project["root"]] if project else []), *directories.values()]:
        if not os.path.exists(SOURCE):
            copy_project(PROJECT, {})
        tell_version(copied(root), document["variables"].get("ENVTOOL_VERSIONINGIT", ""))
    if project:
        extras = ",".join(project["extras"])
        calls[project["call"]].append(copied(project["root"]) + (f"[{extras}]" if extras else ""))
    python = document["venv"] + "/bin/python"
    if not os.path.exists(python):
        # A fresh environment, so that what Debian installed beside its python3 does not count.
        python = make_venv(WORK + "/env")
    env = environment(**document["variables"])
    chosen: dict[str, str] = {}  # name -> version
    files: list[Document] = []
    for lines in calls:
        free = [line for line in document["constraints"] if name_before(line) not in chosen]
        free += [f"{name} @ file://{copied(root)}" for name, root in directories.items() if normal(name) not in chosen]
        bounds = [*free, *(f"{name}=={version}" for name, version in chosen.items())]
        keep = [line for line in document.get("keep") or () if name_before(line) not in chosen]
        report = settle(python, pip, lines, bounds, keep, env)
        files += entries(report, python, pip)
        if lines is not calls[-1]:
            chosen.update(pretend_installed(report, python, env))
    return {"files": files}


def settle(python: str, pip: str, lines: list[str], bounds: list[str], keep: list[str], env: Env) -> str:
    """One call of pip that installs nothing: the path of its report."""
    arguments = ["--dry-run", "-r", write_lines("requirements.txt", lines)]
    if bounds:
        arguments += ["-c", write_lines("constraints.txt", bounds)]
    if keep:
        try:
            return pip_report(python, pip, [*arguments, "-c", write_lines("keep.txt", keep)], env)
        except FailedError:
            pass  # what was chosen before cannot stay beside what is asked for now
    return pip_report(python, pip, arguments, env)


def needs(document: Document) -> Document:
    """For each source: the files its build needs, static (build-system.requires) and asked from its backend."""
    pip = unpack_pip(document["pip"])
    answer = []
    for source in document["sources"]:
        fresh(SOURCE)
        root = copy_project(source["root"], document["variables"]) if "root" in source else unpack(source["file"])
        system = build_system(root)
        fresh(WORK + "/env")
        python = make_venv(WORK + "/env")
        env = build_environment(**document["variables"])
        files = []
        if system["requires"]:
            files += pip_install(python, pip, ["-r", write_lines("build.txt", system["requires"])], env)
        more: list[str] = []
        for hook in source["hooks"]:
            more += call_hook(python, root, "get_requires_for_" + hook, [None], env).get("value") or []
        if more:
            files += pip_install(python, pip, ["-r", write_lines("more.txt", more)], env)
        # What a second installation replaced stays out: the last file of a name is the one that is there.
        answer.append(list({entry["name"].lower(): entry for entry in files}.values()))
    return {"needs": answer}


# ---- sources ---------------------------------------------------------------------------------------------------------


def fresh(path: str) -> None:
    """Nothing is left at path."""
    shutil.rmtree(path, ignore_errors=True)


def copy_project(root: str, variables: Env) -> str:
    """A writable copy of the project (backends write beside the sources); the copy of `root`."""
    fresh(SOURCE)
    shutil.copytree(PROJECT, SOURCE, symlinks=True)
    copy = copied(root)
    tell_version(copy, variables.get("ENVTOOL_VERSIONINGIT", ""))
    return copy


def copied(root: str) -> str:
    """Where the copy of a directory of the project is."""
    return os.path.normpath(SOURCE + "/" + os.path.relpath(root, PROJECT))


def unpack(archive: str) -> str:
    """The one directory of a source distribution, below SOURCE."""
    os.makedirs(SOURCE)
    if archive.endswith(".zip"):
        with zipfile.ZipFile(archive) as file:
            file.extractall(SOURCE)  # noqa: S202 - zipfile stays inside
    else:
        with tarfile.open(archive) as file:
            if hasattr(tarfile, "data_filter"):
                file.extractall(SOURCE, filter="data")
            else:
                for member in file.getmembers():
                    if member.name.startswith("/") or ".." in member.name.split("/"):
                        raise FailedError(f"{member.name} leads outside of {archive}")
                file.extractall(SOURCE)  # noqa: S202 - checked just above
    directories = [name for name in os.listdir(SOURCE) if os.path.isdir(os.path.join(SOURCE, name))]
    if len(directories) != 1:
        raise FailedError(f"{archive} is not a source distribution: it has {len(directories)} directories")
    return os.path.join(SOURCE, directories[0])


def build_system(root: str) -> Document:
    """PEP 518's table with its defaults."""
    legacy = {"requires": ["setuptools>=40.8.0"], "backend": "setuptools.build_meta:__legacy__", "paths": []}
    try:
        with open(os.path.join(root, "pyproject.toml"), "rb") as file:
            table = toml_loads(file.read()).get("build-system")
    except FileNotFoundError:
        return legacy
    if table is None:
        return legacy
    return {
        "requires": table.get("requires", []),
        "backend": table.get("build-backend", legacy["backend"]),
        "paths": [os.path.join(root, path) for path in table.get("backend-path", [])],
    }


def toml_loads(content: bytes) -> Document:
    """Tomllib came with 3.11; pip brings tomli to older Pythons."""
    text = content.decode()
    import importlib

    try:
        toml = importlib.import_module("tomllib")
    except ImportError:
        sys.path.append(WORK + "/pip")
        toml = importlib.import_module("pip._vendor.tomli")
    table: Document = toml.loads(text)
    return table


def call_hook(python: str, root: str, name: str, arguments: list[str | None], env: Env) -> Document:
    """Call a hook of a build backend (PEP 517, PEP 660) in its environment: {"value": …} or {"missing": True}."""
    system = build_system(root)
    os.makedirs(WORK + "/hook", exist_ok=True)
    script, answer = WORK + "/hook/hook.py", WORK + "/hook/answer.json"
    with open(script, "w", encoding="utf-8") as file:
        file.write(HOOK)
    request = json.dumps([system["backend"], system["paths"], name, arguments, answer])
    result = subprocess.run(
        [python, script, request], cwd=root, env=env, stdin=subprocess.DEVNULL, stdout=2, check=False
    )
    if result.returncode != 0:
        raise FailedError("the build backend {} failed ({})".format(system["backend"], name))
    with open(answer, encoding="utf-8") as file:
        answered: Document = json.load(file)
    return answered


def build_environment(**changes: str) -> Env:
    """For build backends: no debug information, no path of the build in what compilers write."""
    env = environment(**changes)
    for name in ("CFLAGS", "CXXFLAGS"):
        steady = f"-g0 -ffile-prefix-map={WORK}=/usr/src"
        env[name] = (env.get(name, "") + " " + steady).strip()
    env["PATH"] = WORK + "/env/bin:" + env.get("PATH", os.defpath)
    return env


# ---- building -------------------------------------------------------------------------------------------------


def build(document: Document) -> Document:
    """Make or extend the virtual environment; everything comes from `blobs`."""
    pip = unpack_pip(document["pip"])
    wheels = WORK + "/wheels"
    os.makedirs(wheels)
    files = document["files"]
    for entry in files:
        if entry["file"].endswith(".whl"):
            os.symlink(os.path.join(document["blobs"], entry["file"]), os.path.join(wheels, entry["file"]))
    for entry in files:  # they are in the order in which they need each other
        if not entry["file"].endswith(".whl"):
            fresh(SOURCE)
            root = unpack(os.path.join(document["blobs"], entry["file"]))
            build_one(root, [files[index] for index in entry["build"]], "build_wheel", pip, {})
    python = document["venv"] + "/bin/python"
    if not os.path.exists(python):
        make_venv(document["venv"])
    install(python, pip, [files[index] for index in document["install"]])
    wanted = [files[index]["name"] for index in document["install"]]
    project = document.get("project")
    if project:
        wanted = [install_project(project, files, python, pip)]
    compile_installed(python, wanted)
    return {}


def build_one(root: str, requires: list[Document], hook: str, pip: str, variables: Env) -> str:
    """A wheel of the source at root, in wheels/: its file name; "" where the backend lacks that hook."""
    fresh(WORK + "/env")
    python = make_venv(WORK + "/env")
    install(python, pip, requires)
    fresh(WORK + "/new")
    os.makedirs(WORK + "/new")
    env = build_environment(**variables)
    result = call_hook(python, root, hook, [WORK + "/new", None, None], env)
    if "missing" in result:
        return ""
    (name,) = [name for name in os.listdir(WORK + "/new") if name.endswith(".whl")]
    os.replace(os.path.join(WORK + "/new", name), os.path.join(WORK + "/wheels", name))
    return name


def install(python: str, pip: str, files: list[Document], *more: str) -> None:
    """Install exactly these files' wheels. By name and version: a path would be written to direct_url.json."""
    names = sorted(entry["name"] + "==" + entry["version"] for entry in files)
    if names:
        arguments = ["--no-index", "--no-deps", "--no-compile", "--no-warn-script-location", "--pre"]
        arguments += ["--find-links", WORK + "/wheels", *more, *names]
        execute([python, pip, "install", *QUIET, *arguments], env=environment())


def install_project(project: Document, files: list[Document], python: str, pip: str) -> str:
    """Build the project and install it over whatever copy of it came along; its name. What the project's directory
    lacks then (extension modules, a version module) goes to `keep`, by its path in the project."""
    requires = [files[index] for index in project["build"]]
    root = copy_project(project["root"], project["variables"])
    editable = project["install"] == "editable"
    before = {path for path, _ in files_below(SOURCE)}
    name = ""
    if editable and not build_system(root)["backend"].startswith(BUILDS_WHEN_IMPORTED):
        name = build_one(root, requires, "build_editable", pip, project["variables"])
    if name:
        keep_written(before, project["keep"])
        point_to_project(WORK + "/wheels/" + name, project["root"])
    else:  # a backend from before PEP 660, or a wheel was asked for
        name = build_one(root, requires, "build_wheel", pip, project["variables"])
        if not name:
            raise FailedError("the build backend has no build_wheel")
        wheel = WORK + "/wheels/" + name
        found = keep_members(wheel, os.path.relpath(root, SOURCE), before, project["keep"], editable)
        if editable and not found:
            raise FailedError("the backend makes no editable install, and no module of its wheel is in the project")
        if editable:
            point_to_project(wheel, project["root"])
    distribution, version = name.split("-")[:2]
    install(python, pip, [{"name": distribution, "version": version}], "--force-reinstall")
    return distribution


def compile_installed(python: str, names: list[str]) -> None:
    """Write .pyc files for what was installed, that and nothing else (what lies below stays untouched).

    Marshal's reference flags depend on what one process compiled before: so always two processes, with the
    same halves on every machine.
    """
    site = subprocess.check_output(
        [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib')); print(sysconfig.get_path('platlib'))"],
        env=environment(), universal_newlines=True,
    ).split("\n")  # fmt: skip
    keys = {name.lower().replace("-", "_").replace(".", "_") for name in names}
    paths: set[str] = set()
    for directory in {line for line in site if line}:
        for found in os.listdir(directory) if os.path.isdir(directory) else ():
            name = found.rpartition(".dist-info")[0].partition("-")[0]
            if found.endswith(".dist-info") and name.lower().replace("-", "_").replace(".", "_") in keys:
                with open(os.path.join(directory, found, "RECORD"), encoding="utf-8", newline="") as file:
                    paths.update(python_files(file, directory))
    ordered = sorted(paths)
    halves = [ordered[0::2], ordered[1::2]]
    env = environment()
    env.pop("PYTHONPYCACHEPREFIX")
    children = []
    for index, half in enumerate(halves):
        listed = write_lines(f"compile-{index}.txt", half)
        argv = [python, os.path.abspath(__file__), "compile", json.dumps({"list": listed})]
        children.append(subprocess.Popen(argv, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL))
    if any([child.wait() for child in children]):  # noqa: C419 - wait for all, also after a failure
        raise FailedError("the installed files could not be compiled")


MODES = {"info": info, "match": match, "resolve": resolve, "needs": needs, "build": build, "compile": compile_list}


def main() -> int:
    """One mode; WORK is gone afterwards."""
    mode, document = sys.argv[1], json.loads(sys.argv[2])
    if mode in ("info", "match", "compile"):
        print(json.dumps(MODES[mode](document)))
        return 0
    os.umask(0o022)
    fresh(WORK)
    os.makedirs(WORK)
    try:
        answer = MODES[mode](document)
    except FailedError as failure:
        print(f"envtool: {failure}", file=sys.stderr)
        return 1
    finally:
        fresh(WORK)
    if answer:  # what a build makes is no text
        print(json.dumps(answer))
    return 0


if __name__ == "__main__":
    sys.exit(main())
