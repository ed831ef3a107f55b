"""Runs the Python plugin's agent scripts (inside.py, with_uv.py) on this machine, as they run in containers."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

from envtool import api

PLAIN = {"PATH": "/usr/bin:/bin", "HOME": "/nonexistent", "PYTHONPATH": ":".join(sys.path)}
PROGRAM = """\
import os, sys
from envtool_python import beside, calls, inside, with_uv
TOP, SCRIPT, UV = {top!r}, {script!r}, {uv!r}
class Unpacked:
    def __init__(self, wheel): os.symlink(UV, with_uv.UV)
    def join(self): pass
    wait = join
for module in (beside, calls, inside, with_uv):
    module.WORK = TOP + "/work"
inside.SOURCE = with_uv.SOURCE = inside.WORK + "/source"
inside.PROJECT = TOP + "/project"
inside.unpack_pip = lambda wheel: TOP + "/pip/pip"
with_uv.UV, with_uv.Unpacking = inside.WORK + "/uv", Unpacked
sys.exit({{"inside.py": inside, "with_uv.py": with_uv}}[SCRIPT].main())
"""
INFO = b'{"version": "3.11.2", "extends": false}'  # what inside.py's mode `info` answers: pip needs no more


def unpacked_uv(directory: Path) -> Path:
    """The uv that envtool-python pins, from this machine's index. Raises CalledProcessError where it has none."""
    from envtool_python.uv_wheels import MEMBER, VERSION

    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--quiet", "--no-deps"]
    subprocess.run([*pip, "-d", directory, f"uv=={VERSION}"], check=True)
    (wheel,) = directory.glob("*.whl")
    program = directory / "uv"
    with zipfile.ZipFile(wheel) as archive, archive.open(MEMBER) as source, program.open("wb") as target:
        shutil.copyfileobj(source, target)
    program.chmod(0o755)
    return program


class AgentSite:
    """A Site that runs the agent scripts on this machine, with `top`/project as /project. `uv` is the program of uv;
    `programs` is a directory that comes first on their PATH."""

    arch = "x86_64"

    def __init__(self, top: Path, uv: str | os.PathLike[str] = "", programs: str = "") -> None:
        import pip

        self.top, self.uv, self.programs = top, os.fspath(uv), programs
        self.ran: list[tuple[str, str, int, str]] = []  # script, mode, status and standard error of each run
        self.files: dict[str, Path] = {}  # what `fetch` returns, by file name
        self._shared: dict[str, object] = {}
        (top / "pip").mkdir(parents=True)  # without what is installed beside the one that runs the tests
        (top / "pip/pip").symlink_to(Path(pip.__file__).parent)

    def open(self, path, *, limit=0):
        try:
            return (self.top / "project" / path).open("rb")
        except OSError as error:
            code = "not-a-file" if isinstance(error, IsADirectoryError) else "no-file"
            raise api.ResolveError(path, code=code) from None

    def fetch(self, fetches):
        return [self.files.get(fetch.name, Path("/nowhere") / fetch.name) for fetch in fetches]

    def url(self, path):
        return f"file:///here/{path}"

    def tags(self, directory=""):
        return ()

    def note(self, text):
        pass

    def seen(self, sha256, url):
        pass

    def shared(self, name, make):
        return self._shared.setdefault(name, make())

    def run(self, command, *, env=None, binds=(), network=False):
        script, mode, document = command.argv[-3].rpartition("/")[2], command.argv[-2], json.loads(command.argv[-1])
        if mode == "info":
            return api.Completed(status=0, stdout=INFO, stderr=b"")
        text = json.dumps(document).replace("/project", f"{self.top}/project")
        for bind in binds:
            if bind.source in map(str, self.files.values()):
                text = text.replace(bind.target, bind.source)
        program = PROGRAM.format(top=str(self.top), script=script, uv=self.uv)
        environ = {**PLAIN, **(env or {})}
        environ["PATH"] = f"{self.programs}:{environ['PATH']}".lstrip(":")
        done = subprocess.run(
            [sys.executable, "-c", program, mode, text], env=environ, capture_output=True, check=False
        )
        self.ran.append((script, mode, done.returncode, done.stderr.decode(errors="replace")))
        output = done.stdout.replace(f"{self.top}/project".encode(), b"/project")
        return api.Completed(status=done.returncode, stdout=output, stderr=done.stderr)
