"""Runs in containers, beside inside.py: what inside.py does with pip, done with uv. Standard
library only, 3.8 and later.

    python3 with_uv.py MODE DOCUMENT     as inside.py

    resolve   requirement lines -> what uv chooses, as texts of pylock.toml (network)
    needs     source distributions or the project -> what their builds need, likewise (network)
    build     files -> a virtual environment (offline): the same tree that inside.py makes

The steps of a build are those of inside.py: only the installation of wheels is another.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import shutil
import subprocess
import sys
import threading
import zipfile
from typing import TYPE_CHECKING, Any

from envtool_python import inside
from envtool_python.as_pip_writes import NotTheSameError, as_pip_writes, same_with_pip, script_template
from envtool_python.beside import SOURCE, WORK
from envtool_python.calls import name_before, normal, write_lines

if TYPE_CHECKING:
    from typing import TypeAlias

    Document: TypeAlias = dict[str, Any]
    Env: TypeAlias = dict[str, str]

UV = WORK + "/uv"
UV_PROGRAM = "/run/envtool/python/uv"  # see agent_script.py
# Directories of the standard library that builds seldom import: what is not linked is compiled once more.
NOT_IMPORTED = (
    "site-packages", "dist-packages", "test", "tests", "idlelib", "lib2to3", "tkinter", "turtledemo", "pydoc_data",
    "ensurepip", "venv", "asyncio", "curses", "dbm", "sqlite3", "wsgiref", "xmlrpc", "mime", "sax", "dom", "dummy",
)  # fmt: skip
ENCODINGS = ("__init__", "aliases", "ascii", "cp437", "idna", "latin_1", "utf_8")  # of 120; cp437: names in archives
OTHER_MACHINE = "ENVTOOL_OTHER_MACHINE"  # variable: resolve for this architecture, by wheels alone
GLIBC = (17, 28, *range(31, 41))  # minor versions of glibc 2 that uv's --python-platform has
# Backends that never need more than `build-system.requires` (their get_requires_for_build_* return an empty list).
SELF_CONTAINED = ("poetry.core.masonry.api", "uv_build")


class Unpacking:
    """uv, which a thread copies, or unpacks, while Python makes an environment. A file of the store, which is mounted,
    is not executable."""

    def __init__(self, wheel: str) -> None:
        self._wheel = wheel
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._unpack)
        self._thread.start()

    def _unpack(self) -> None:
        try:
            if os.path.exists(UV_PROGRAM):
                shutil.copyfile(UV_PROGRAM, UV)
                os.chmod(UV, 0o755)
                return
            with zipfile.ZipFile(self._wheel) as archive:
                (member,) = [name for name in archive.namelist() if name.endswith(".data/scripts/uv")]
                with archive.open(member) as source, open(UV, "wb") as target:
                    shutil.copyfileobj(source, target, 1 << 20)
            os.chmod(UV, 0o755)
        except (OSError, ValueError, zipfile.BadZipFile) as error:
            self._error = error

    def join(self) -> None:
        """Wait until it writes no more."""
        self._thread.join()

    def wait(self) -> None:
        """Raises FailedError if there is no uv."""
        self.join()
        if self._error:
            raise inside.FailedError(f"uv could not be unpacked: {self._error}")


def uv_environment(**changes: str) -> Env:
    """Variables of a run of uv: no configuration of the container, no other Python, a cache that goes with WORK."""
    env = inside.environment(**changes)
    return {**env, "UV_CACHE_DIR": WORK + "/uv-cache", "UV_NO_CONFIG": "1", "UV_PYTHON_DOWNLOADS": "never",
            "UV_LINK_MODE": "copy", "UV_NO_PROGRESS": "1"}  # fmt: skip


def link_compiled() -> None:
    """Put links to the standard library's .pyc files where inside.environment makes every process look for them
    (PYTHONPYCACHEPREFIX): else they compile what they import of it. A file that is out of date is replaced there."""
    library = os.path.dirname(os.__file__)
    end = f".{sys.implementation.cache_tag}.pyc"
    for directory, inner, files in os.walk(library):
        inner[:] = [name for name in inner if name not in NOT_IMPORTED]
        if os.path.basename(directory) == "__pycache__":
            target = WORK + "/pycache" + os.path.dirname(directory)
            os.makedirs(target, exist_ok=True)
            is_encodings = target.endswith("/encodings")
            for name in files:
                if name.endswith(end) and (not is_encodings or name[: -len(end)] in ENCODINGS):
                    os.symlink(os.path.join(directory, name), os.path.join(target, name))


# ---- resolving -----------------------------------------------------------------------------------------------------


def start(name: str, lines: list[str], constraints: list[str], env: Env) -> subprocess.Popen[str]:
    """Begin to resolve lines together; the answer is the text of a pylock.toml."""
    argv = [UV, "pip", "compile", "--quiet", "--format", "pylock.toml", "--no-header", "--python", sys.executable]
    if env.get(OTHER_MACHINE):
        argv += ["--no-build", "--python-platform", python_platform(env[OTHER_MACHINE])]
    if constraints:
        argv += ["-c", write_lines(name + "-constraints.txt", constraints)]
    argv.append(write_lines(name + ".txt", lines))
    return subprocess.Popen(
        argv, cwd=WORK, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, universal_newlines=True
    )


def python_platform(machine: str) -> str:
    """Uv's name of an architecture with this Python's own glibc. Raises FailedError for another libc."""
    libc, _, minor = platform.libc_ver()[1].partition(".")
    fitting = [number for number in GLIBC if libc == "2" and minor.isdigit() and number <= int(minor)]
    if platform.libc_ver()[0] != "glibc" or not fitting:
        raise inside.FailedError("uv resolves for another architecture where the libc is glibc 2.17 or later")
    return f"{machine}-manylinux_2_{fitting[-1]}"


def finish(process: subprocess.Popen[str]) -> str:
    """What it chose. Raises FailedError."""
    text, _ = process.communicate()
    if process.returncode != 0:
        raise inside.FailedError(f"uv ended with {process.returncode}")
    return text


def note_python(env: Env) -> None:
    """Let uv note in its cache which Python this is: it starts Python for that, and would do so in each of several
    processes that begin at once. What fails here fails in them, which say why."""
    argv = [UV, "python", "find", "--quiet", "--no-project", sys.executable]
    subprocess.run(argv, cwd=WORK, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                   stderr=subprocess.DEVNULL, check=False)  # fmt: skip


def resolve(document: Document) -> Document:
    """As inside.py's; the lines of one call are settled together, and what it chose stays for the next. Beside them,
    what the project's build needs."""
    answer: Document = {"info": inside.info(document), "calls": [], "pip": "", "build": ""}
    if answer["info"]["extends"]:
        return {**answer, "reason": "the environment extends another one"}
    document["unpacking"].wait()
    env = uv_environment(**document["variables"])
    if document["build"] or not knows_pip(document):
        note_python(env)
    pip = start_pip(document, env)
    build = start("build", document["build"], [], env) if document["build"] else None
    chosen: list[str] = []
    for lines in document["calls"]:
        names = {name_before(line) for line in chosen}
        bounds = [line for line in document["constraints"] if name_before(line) not in names] + chosen
        keep = [line for line in document.get("keep") or () if name_before(line) not in names]
        text = settle(lines, bounds, keep, env)
        answer["calls"].append(text)
        chosen += [line for line in versions(text) if name_before(line) not in names]
    answer["pip"] = finish(pip) if pip else ""
    with contextlib.suppress(inside.FailedError):  # it is asked again for the project's own layer, which says why
        answer["build"] = finish(build) if build else ""
    return {**answer, "said": said()}


def said() -> list[list[str]]:
    """What all packages that uv has looked at say of themselves: see uv_metadata.py. Raises FailedError."""
    from envtool_python.uv_metadata import read_cache  # only where something is resolved: no build has this module

    try:
        return read_cache(WORK + "/uv-cache")
    except ValueError as error:
        raise inside.FailedError(f"uv's cache has another format: {error}") from None


def knows_pip(document: Document) -> bool:
    """Whether the caller knows the pip of the pins for this Python."""
    return "{}.{}".format(*sys.version_info) in document["pips"]


def start_pip(document: Document, env: Env) -> subprocess.Popen[str] | None:
    """Begin to choose the pip of the pins, unless the caller knows it."""
    if not knows_pip(document):
        return start("pip", ["pip"], [], {**env, "UV_NO_BUILD": "1"})
    sys.path.append(document["pips"]["{}.{}".format(*sys.version_info)])  # for its tomli, on Pythons without tomllib
    return None


def settle(lines: list[str], bounds: list[str], keep: list[str], env: Env) -> str:
    """One call; with the versions that were chosen before, where they can stay."""
    if keep:
        try:
            return finish(start("call", lines, [*bounds, *keep], env))
        except inside.FailedError:
            pass
    return finish(start("call", lines, bounds, env))


def versions(text: str) -> list[str]:
    """`name==version` of each package in the text of a pylock.toml, which uv writes with a line for each key."""
    found, name = [], ""
    for line in text.splitlines():
        key, _, value = line.partition(" = ")
        if key == "name":
            name = json.loads(value)
        elif key == "version" and name:
            found.append(normal(name) + "==" + json.loads(value))
            name = ""
    return found


def needs(document: Document) -> Document:
    """As inside.py's: what each build needs, resolved together, with what its backend asks for beyond."""
    answer: Document = {"info": inside.info(document), "needs": []}
    document["unpacking"].wait()
    env = uv_environment(**document["variables"])
    if not knows_pip(document):
        note_python(env)
    pip = start_pip(document, env)
    if pip and sys.version_info < (3, 11):
        pip.kill()
        pip.wait()
        raise inside.FailedError("this Python reads no TOML, and pip, which does, is not there yet")
    for source in document["sources"]:
        inside.fresh(SOURCE)
        in_project = "root" in source
        root = (
            inside.copy_project(source["root"], document["variables"]) if in_project else inside.unpack(source["file"])
        )
        system = inside.build_system(root)
        lines = [*system["requires"]]
        resolving = start("build", lines, [], env) if lines else None
        more = [] if declares_all(root, system) else asked(root, lines, source["hooks"], env, document["variables"])
        text = finish(resolving) if resolving else ""
        if more:
            text = finish(start("more", lines + more, [], env))
        answer["needs"].append(text)
    answer["pip"] = finish(pip) if pip else ""
    return {**answer, "said": said()}


def declares_all(root: str, system: Document) -> bool:
    """Whether the backend needs nothing beyond `build-system.requires`, by what pyproject.toml says alone."""
    if system["paths"]:
        return False
    if system["backend"] == "flit_core.buildapi":  # it asks for the requirements of a module that it has to import
        with open(os.path.join(root, "pyproject.toml"), "rb") as file:
            table = inside.toml_loads(file.read()).get("project") or {}
        return "version" in table and "description" in table and not table.get("dynamic")
    return system["backend"] in SELF_CONTAINED


def asked(root: str, lines: list[str], hooks: list[str], env: Env, variables: Env) -> list[str]:
    """What a backend asks for, in an environment of its own."""
    inside.fresh(WORK + "/env")
    if not os.path.exists(WORK + "/pycache"):
        link_compiled()
    python = inside.make_venv(WORK + "/env")
    if lines:
        argv = [UV, "pip", "install", "--quiet", "--python", python, "-r", write_lines("static.txt", lines)]
        inside.execute(argv, env)
    more: list[str] = []
    for hook in hooks:
        build_env = inside.build_environment(**variables)
        more += inside.call_hook(python, root, "get_requires_for_" + hook, [None], build_env).get("value") or []
    return more


# ---- building --------------------------------------------------------------------------------------------------------


class Installer:
    """Installs wheels with uv so that the tree is the one that pip makes; with pip where uv's would differ."""

    def __init__(self, document: Document) -> None:
        self._unpacking: Unpacking = document["unpacking"]
        self._pip_wheel: str = document["pip"]
        self._install_with_pip = inside.install
        self._unpack_pip = inside.unpack_pip
        self._pip = ""

    def install(self, python: str, pip: str, files: list[Document], *more: str) -> None:
        """As inside.install."""
        wheels = WORK + "/wheels"
        try:
            template = script_template(self._pip_wheel)
            same_with_pip(wheels, python, [entry["name"] for entry in files])
            self._unpacking.wait()
        except NotTheSameError:
            self._pip = self._pip or self._unpack_pip(self._pip_wheel)
            self._install_with_pip(python, self._pip, files, *more)
            return
        names = sorted(entry["name"] + "==" + entry["version"] for entry in files)
        if names:
            argv = [UV, "pip", "install", "--quiet", "--python", python, "--offline", "--no-index", "--no-deps"]
            argv += ["--no-build", "--prerelease", "allow", "--find-links", wheels, *names]
            inside.execute(argv, uv_environment())
            as_pip_writes(python, template)


def make_venv(path: str) -> str:
    """As inside.make_venv, in this process: `python -m venv` without another start of Python."""
    sys.dont_write_bytecode = True  # what is imported here would come into a layer
    try:
        import venv

        venv.main(["--without-pip", path])
    except (ImportError, OSError, ValueError, SystemExit, subprocess.CalledProcessError) as error:
        print(f"venv: {error}", file=sys.stderr)
        raise inside.FailedError(
            "python3 cannot make a virtual environment: add python3-venv to the apt layer below"
        ) from None
    return path + "/bin/python"


def build(document: Document) -> Document:
    """As inside.py's."""
    installer = Installer(document)
    inside.make_venv = make_venv
    inside.install = installer.install  # the steps of a build are inside.py's, each with this installation
    inside.unpack_pip = lambda wheel: wheel
    sys.path.append(document["pip"])  # for pip's tomli, on Pythons without tomllib
    if document.get("project") or not all(entry["file"].endswith(".whl") for entry in document["files"]):
        link_compiled()  # else no backend runs, and to make and remove the links takes longer than they save
    return inside.build(document)


MODES = {"resolve": resolve, "needs": needs, "build": build}


def main() -> int:
    """One mode; WORK is gone afterwards."""
    mode, document = sys.argv[1], json.loads(sys.argv[2])
    inside.__file__ = os.path.join(os.path.dirname(os.path.abspath(__file__)), "inside.py")  # compiles in processes
    os.umask(0o022)
    inside.fresh(WORK)
    os.makedirs(WORK)
    unpacking = document["unpacking"] = Unpacking(document["uv"])
    try:
        answer = MODES[mode](document)
    except inside.FailedError as failure:
        print(f"envtool: {failure}", file=sys.stderr)
        return 1
    finally:
        unpacking.join()
        inside.fresh(WORK)
    if answer:
        print(json.dumps(answer))
    return 0


if __name__ == "__main__":
    sys.exit(main())
