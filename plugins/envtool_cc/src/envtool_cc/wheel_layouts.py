"""Runs in containers: the files of an unpacked wheel -> those of a program. Imports nothing but the standard library.

A wheel of CMake has its files in `cmake/data`, one of Zig in `ziglang`, one of Ninja in `ninja/data` or, since 1.11, in
the directory for scripts. Meson is a Python package, which gets a script that starts it.
"""

import os
import shutil
import stat

LAYOUTS = {  # tool -> (path in the wheel, path in the toolchain); SCRIPTS is the wheel's directory for scripts
    "cmake": (("cmake/data/bin", "bin"), ("cmake/data/share", "share")),
    "meson": (("mesonbuild", "lib/mesonbuild"),),
    "ninja": (("ninja/data/bin/ninja", "bin/ninja"),),
    "ninja in scripts": (("SCRIPTS/ninja", "bin/ninja"),),
    "zig": (("ziglang/zig", "bin/zig"), ("ziglang/lib", "lib")),
}
PROGRAMS = {"cmake": ("cmake", "ctest", "cpack"), "meson": ("meson",), "ninja": ("ninja",), "zig": ("zig",)}
MESON = """\
#!/usr/bin/env python3
import sys

sys.path.insert(0, {library!r})
from mesonbuild.mesonmain import main

sys.exit(main())
"""


def finish(tool: str, top: str) -> None:
    """Makes the toolchain `tool` of the wheel that is unpacked in `top`: then its programs are in `bin`, and only its
    own files are left. Raises ValueError if the wheel has no such program."""
    wheel = f"{top}.wheel"
    os.rename(top, wheel)
    scripts = next((f"{name}/scripts" for name in sorted(os.listdir(wheel)) if name.endswith(".data")), "")
    is_script = scripts and os.path.lexists(f"{wheel}/{scripts}/{tool}")
    for source, target in LAYOUTS[f"{tool} in scripts" if tool == "ninja" and is_script else tool]:
        path = f"{wheel}/{source.replace('SCRIPTS', scripts)}"
        if not os.path.lexists(path):
            raise ValueError(f"the wheel has no {source}, where {tool} is expected")
        os.makedirs(os.path.dirname(f"{top}/{target}"), exist_ok=True)
        os.rename(path, f"{top}/{target}")
    if tool == "meson":
        os.mkdir(f"{top}/bin")
        with open(f"{top}/bin/meson", "w", encoding="utf-8") as file:
            file.write(MESON.format(library=f"{top}/lib"))
    for name in PROGRAMS[tool]:
        _mark_program(f"{top}/bin/{name}")
    shutil.rmtree(wheel)


def _mark_program(path: str) -> None:
    """Makes a file executable, as an installer of wheels does. Raises ValueError if it is no file."""
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        mode = 0
    if not stat.S_ISREG(mode):
        raise ValueError(f"the wheel has no program {os.path.basename(path)}")
    os.chmod(path, 0o755)
