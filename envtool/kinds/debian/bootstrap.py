"""The commands that make a configured system of an unpacked tree, and what of it nobody wants captured."""

from __future__ import annotations

from envtool.api import Command, Run

ENVIRONMENT = {
    "DEBIAN_FRONTEND": "noninteractive",
    "DEBCONF_NONINTERACTIVE_SEEN": "true",
    "LC_ALL": "C.UTF-8",
    "PYTHONHASHSEED": "0",
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/root",
    "TERM": "dumb",
}

# Caches, logs and spare copies: they differ from one run to the next, and everything that reads them makes them anew.
DROP = (
    "/etc/*-",
    "/etc/.pwd.lock",
    "/var/backups/**",
    "/var/cache/apt/*.bin",
    "/var/cache/apt/archives/**",
    "/var/cache/debconf/*-old",
    "/var/cache/ldconfig/aux-cache",
    "/var/cache/man/**",
    "/var/lib/apt/lists/**",
    "/var/lib/dpkg/*-old",
    "/var/lib/dbus/machine-id",
    "/var/lib/systemd/random-seed",
    "/var/log/alternatives.log",
    "/var/log/apt/**",
    "/var/log/bootstrap.log",
    "/var/log/dpkg.log",
    "/var/log/fontconfig.log",
)

# What dpkg does before it unpacks. base-passwd's comes first: it makes /etc/passwd, which the others look into.
_PREINST = """
umask 022
cd /var/lib/dpkg/info
first=$(ls base-passwd.preinst 2>/dev/null || true)
for script in $first $(ls | grep '[.]preinst$' | grep -v '^base-passwd[.]'); do
  key=${script%.preinst}
  export DPKG_MAINTSCRIPT_PACKAGE=${key%%:*} DPKG_MAINTSCRIPT_NAME=preinst DEBCONF_PACKAGE=${key%%:*}
  (cd / && "/var/lib/dpkg/info/$script" install) || { echo "preinst of $key failed" >&2; exit 1; }
done
"""


# Before Python 3.11 sets are written to a .pyc in the order of their hashes, and Debian's scripts compile with -E: each
# process has another seed. So what they have just compiled is compiled again, in one order by one process.
_COMPILE = r"""
for python in /usr/bin/python3.[0-9] /usr/bin/python3.10; do
  [ -x "$python" ] || continue
  find / -xdev -name "*.cpython-3${python##*.}.pyc" -newermt "@$SOURCE_DATE_EPOCH" | sort | "$python" -B -S -c '
import importlib.util, py_compile, sys
for line in sys.stdin:
    path = line.rstrip("\n")
    try:
        py_compile.compile(importlib.util.source_from_cache(path), cfile=path, doraise=True)
    except (OSError, ValueError, py_compile.PyCompileError):
        pass
'
done
"""


def recompile_step() -> Run:
    """The step that makes .pyc files of older Pythons the same every time."""
    return shell_step(_COMPILE)


def shell_step(script: str, **env: str) -> Run:
    """A shell step in the environment that maintainer scripts expect."""
    return Run(command=Command(shell=script), env=ENVIRONMENT | env)


def configure_steps(arch: str) -> tuple[Run, ...]:
    """The preinst of every package, then the postinst of every package in the order that dpkg finds."""
    return (
        shell_step(_PREINST, DPKG_MAINTSCRIPT_ARCH=arch, DPKG_ROOT="", DPKG_RUNNING_VERSION="1"),
        shell_step("umask 022\ndpkg --force-unsafe-io --force-depends --force-confold --configure -a\ndpkg --audit"),
    )
