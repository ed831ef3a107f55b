"""Makes what uv installed the tree that pip installs from the same wheels. Runs in containers, like inside.py.

Both unpack the same files. They differ in the scripts of entry points, in INSTALLER and REQUESTED, in the order of
RECORD and in uv's own files. pip's forms are kept, since layers of earlier locks have them; the text of a script is
read from the pinned pip, for it is another one in each pip.
"""

from __future__ import annotations

import ast
import base64
import csv
import hashlib
import io
import os
import re
import textwrap
import zipfile

WHEEL_MODULE = "pip/_internal/operations/install/wheel.py"
_ENTRY = re.compile(r"^([^=\s][^=]*?)\s*=\s*([\w.]+)\s*:\s*([\w.]+)\s*(?:\[.*\])?$")
_OWN_FILES = ("uv_cache.json", "uv_build.json")
_PLAIN_DATA = ("scripts", "purelib", "platlib", "data")


class NotTheSameError(Exception):
    """uv's tree would differ from pip's."""


def script_template(pip_wheel: str) -> str:
    """Returns the text of a script, with %(module)s, %(import_name)s and %(func)s. Raises NotTheSameError if this pip
    has none that is known."""
    with zipfile.ZipFile(pip_wheel) as archive:
        tree = ast.parse(archive.read(WHEEL_MODULE))
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef) and node.name == "PipScriptMaker":
            for statement in node.body:
                if isinstance(statement, ast.Assign) and getattr(statement.targets[0], "id", "") == "script_template":
                    constants = [part.value for part in ast.walk(statement.value) if isinstance(part, ast.Constant)]
                    if len(constants) == 1 and isinstance(constants[0], str):
                        return textwrap.dedent(constants[0])
    raise NotTheSameError("this pip writes scripts in a way that is not known")


def same_with_pip(wheels: str, python: str, names: list[str]) -> None:
    """Raises NotTheSameError if one of these wheels is installed otherwise by pip: it is there already, has headers,
    or scripts that pip names anew; or the path is none that fits behind `#!`."""
    if len("#!" + python) > 120 or " " in python:
        raise NotTheSameError("the path of Python is long, or has a blank")
    wanted = {_key(name) for name in names}
    for site in _sites(python):
        if any(_key(entry.partition("-")[0]) in wanted for entry in os.listdir(site) if entry.endswith("-info")):
            raise NotTheSameError("a distribution is replaced")
    for file in os.listdir(wheels):
        if _key(file.partition("-")[0]) not in wanted:
            continue
        with zipfile.ZipFile(os.path.join(wheels, file)) as archive:
            members = archive.namelist()
            data = {name.split("/")[1] for name in members if name.split("/")[0].endswith(".data") and "/" in name}
            if data - set(_PLAIN_DATA):
                raise NotTheSameError(f"{file} has {sorted(data)}")
            for name in members:
                if name.endswith(".dist-info/entry_points.txt"):
                    scripts = _scripts(archive.read(name).decode())
                    if any(script == "pip" or script.startswith("easy_install") for script, _, _ in scripts):
                        raise NotTheSameError(f"{file} has scripts that pip names anew")


def as_pip_writes(python: str, template: str) -> None:
    """Rewrites each distribution whose INSTALLER is uv."""
    for site in _sites(python):
        for entry in sorted(os.listdir(site)):
            info = os.path.join(site, entry)
            if entry.endswith(".dist-info") and _read(os.path.join(info, "INSTALLER")).strip() == b"uv":
                _rewrite(site, entry, python, template)
    lock = os.path.join(os.path.dirname(os.path.dirname(python)), ".lock")
    if os.path.exists(lock):
        os.unlink(lock)


def _rewrite(site: str, info: str, python: str, template: str) -> None:
    """One distribution."""
    with open(os.path.join(site, info, "RECORD"), encoding="utf-8", newline="") as file:
        rows = {row[0]: row[1:3] for row in csv.reader(file) if row}
    for name in _OWN_FILES:
        if rows.pop(info + "/" + name, None) is not None:
            os.unlink(os.path.join(site, info, name))
    rows[info + "/INSTALLER"] = _write(os.path.join(site, info, "INSTALLER"), b"pip\n")
    rows[info + "/REQUESTED"] = _write(os.path.join(site, info, "REQUESTED"), b"")
    bin_directory = os.path.dirname(python)
    points = _read(os.path.join(site, info, "entry_points.txt")).decode()
    for script, module, function in _scripts(points):
        text = template % {"module": module, "import_name": function.partition(".")[0], "func": function}
        path = os.path.join(bin_directory, script)
        rows[os.path.relpath(path, site)] = _write(path, f"#!{python}\n{text}".encode())
    output = io.StringIO(newline="")
    csv.writer(output).writerows(sorted((path, *fields) for path, fields in rows.items()))
    with open(os.path.join(site, info, "RECORD"), "w", encoding="utf-8", newline="") as file:
        file.write(output.getvalue())


def _scripts(text: str) -> list[tuple[str, str, str]]:
    """(script, module, function) of an entry_points.txt."""
    found, section = [], ""
    for line in map(str.strip, text.splitlines()):
        if line.startswith("["):
            section = line
        elif section in ("[console_scripts]", "[gui_scripts]") and not line.startswith(("#", ";")):
            match = _ENTRY.match(line)
            if match:
                found.append((match.group(1), match.group(2), match.group(3)))
    return found


def _sites(python: str) -> list[str]:
    """The directories of installed distributions of an environment."""
    top = os.path.join(os.path.dirname(os.path.dirname(python)), "lib")
    found = [os.path.join(top, name, "site-packages") for name in sorted(os.listdir(top)) if name.startswith("python")]
    return [site for site in found if os.path.isdir(site)]


def _key(name: str) -> str:
    return re.sub(r"[-_.]+", "_", name).lower()


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except FileNotFoundError:
        return b""


def _write(path: str, content: bytes) -> list[str]:
    """Writes a file, keeping its mode, and returns the fields of its row."""
    with open(path, "wb") as file:
        file.write(content)
    digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
    return ["sha256=" + digest, str(len(content))]
