"""The commands that configure an unpacked system, and the files that are not captured."""

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

# Caches, logs and backup copies: they differ from one run to the next, and the programs that read them make them anew.
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
    "/var/lib/rabbitmq/.erlang.cookie",
    "/var/lib/systemd/random-seed",
    "/var/log/alternatives.log",
    "/var/log/apt/**",
    "/var/log/bootstrap.log",
    "/var/log/dpkg.log",
    "/var/log/fontconfig.log",
)

# Runs the preinst scripts, as dpkg does before it unpacks. The first is base-passwd's: it makes /etc/passwd, which the
# others read.
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


# Before Python 3.11 a .pyc has sets in the order of their hashes, and Debian's scripts compile with -E, so that each
# process has another hash seed. So one process compiles the new .pyc files again, in a fixed order.
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
    """Returns the step that makes the .pyc files of Python 3.10 and older reproducible."""
    return shell_step(_COMPILE)


def shell_step(script: str, **env: str) -> Run:
    """Returns a shell step in the environment that maintainer scripts expect."""
    return Run(command=Command(shell=script), env=ENVIRONMENT | env)


def configure_steps(arch: str) -> tuple[Run, ...]:
    """Returns the steps that run the preinst of every package, then the postinst of every package in dpkg's order."""
    return (
        shell_step(_PREINST, DPKG_MAINTSCRIPT_ARCH=arch, DPKG_ROOT="", DPKG_RUNNING_VERSION="1"),
        shell_step("umask 022\ndpkg --force-unsafe-io --force-depends --force-confold --configure -a\ndpkg --audit"),
    )
