"""What an editor or a shell needs of an env: its variables, and which of its programs shims are for."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from envtool.app.command_request import CommandRequest
from envtool.app.env_stack import build_stack
from envtool.app.open_project import open_for_building
from envtool.build.context import Cancel
from envtool.errors import UsageError, near_name_hint
from envtool.events import Emit
from envtool.model import Env
from envtool.run.task import list_programs
from envtool.run.task_container import task_environment
from envtool.spec.select_envs import find_env, used_services
from envtool.store import layers
from envtool.store.overlay_view import merge_layers, parse_record

if TYPE_CHECKING:
    from envtool.build.scheduler import Stack

PROGRAM_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,99}")
# The utilities of POSIX.1-2024, shells, and what GNU coreutils and util-linux bring beside them. In the caller's PATH a
# shim of `mkdir` would take the place of this machine's own: whatever the caller's shell made would be gone at once.
SYSTEM_PROGRAMS = frozenset(
    re.findall(
        r"\S+",
        """
    admin alias ar arch asa at awk b2sum base32 base64 basename bash batch bc bg busybox c17 c89 c99 cal cat
    cd cflow chcon chgrp chmod chown chroot cksum clear cmp col column comm command compress cp crontab csh
    csplit ctags cut cxref dash date dd delta df diff dir dircolors dirname dmesg du echo ed egrep env envtool
    ex expand expr factor false fc fg fgrep file find fish flock fmt fold fuser gawk gencat get getconf getopt
    getopts gettext git grep groups gzip hash head hexdump hostid hostname iconv id install ionice ipcrm ipcs
    jobs join kill ksh less lex link ln locale localedef logger login logname look lp ls lsattr lsblk m4 mailx
    man mawk md5sum mesg mkdir mkfifo mknod mktemp more mount mountpoint msgfmt mv newgidmap newgrp newuidmap
    nice nl nm nohup nproc nsenter numfmt od passwd paste patch pathchk pax perl pg pgrep pidof pinky pkill pr
    printenv printf prs ps ptx pwd qalter read readelf readlink realpath renice reset rev rm rmdel rmdir rsh
    runcon sact scp script sed seq setpriv setsid sftp sh sha1sum sha224sum sha256sum sha384sum sha512sum
    shred shuf sleep sort split ssh stat stdbuf strings strip stty su sudo sum sync tabs tac tail talk tar
    taskset tcsh tee test time timeout top touch tput tr trap true truncate tsort tty type ulimit umask umount
    unalias uname uncompress unexpand unget uniq unlink unshare unxz unzip uptime users uucp uudecode uuencode
    uux val vdir vi vim vmstat w wait watch wc what whereis which who whoami write xargs xgettext xz yacc yes
    zcat zip zsh zstd
    """,
    )
)
_KEYWORDS = frozenset({"!", "{", "do", "elif", "else", "env", "exec", "if", "nohup", "then", "time", "until", "while"})
_COMMANDS = re.compile(r"[;&|()\n`]|\$\(")
_ASSIGNMENT = re.compile(r"[A-Za-z_]\w*=")


class EnvVariables(NamedTuple):
    """The variables of an env's commands, without those that `pass:` takes from the caller and without secrets."""

    env: str
    root: str  # absolute path of the project
    variables: dict[str, str]


class EnvProgram(NamedTuple):
    """A program that `envtool exec ENV` finds by its PATH."""

    name: str
    env: str


class ProjectPrograms(NamedTuple):
    """The programs of a project that shims are for; `spec` is the absolute path of its spec file."""

    root: str
    spec: str
    programs: tuple[EnvProgram, ...]  # by name


def read_variables(request: CommandRequest, env: str, emit: Emit, cancel: Cancel) -> EnvVariables:
    """Returns the variables of an env; builds its stack if necessary. Raises as `env_stack.execute` does."""
    with open_for_building(request, emit, cancel, only=env) as project:
        selected = find_env(project.spec, env)
        stack = build_stack(project, selected)
        beside = [service for service in used_services(selected) if service.name in selected.uses]
        provided = {name: value for service in beside for name, value in service.provides.items()}
        variables = task_environment(selected, stack, {}, user="user", provided=provided)
        return EnvVariables(selected.name, project.spec.root, dict(sorted(variables.items())))


def find_programs(request: CommandRequest, names: Sequence[str], emit: Emit, cancel: Cancel) -> ProjectPrograms:
    """Returns the programs `names` of the selected envs; without names, those that layers above a base put into the
    env's PATH, and those that tasks name, but for SYSTEM_PROGRAMS. The first env that has a program counts; of each
    matrix only the first env does, unless the caller names another. Builds the stacks if necessary. Raises UsageError
    for a name that no env has, and as `env_stack.execute` does."""
    with open_for_building(request, emit, cancel) as project:
        found: dict[str, str] = {}
        known: set[str] = set()
        for env in _one_of_each_group(project.spec.envs, chosen=bool(request.envs)):
            stack = build_stack(project, env)
            with layers.hold_layers(project.context.store, [made.layer for made in stack.layers]):
                every = {name for name in list_programs(stack) if PROGRAM_NAME.fullmatch(name)}
                own = {*_programs_of_layers(stack), *(every & set(_programs_of_tasks(env)))} - SYSTEM_PROGRAMS
            known |= every
            for name in sorted(own) if not names else [name for name in dict.fromkeys(names) if name in every]:
                found.setdefault(name, env.name)
        for name in names:
            if name not in found:
                hint = near_name_hint(name, sorted(known), "`envtool exec ENV -- ls /usr/bin` lists programs of an env")
                raise UsageError(f"no env has a program `{name}`", code="no-program", hint=hint)
        programs = tuple(EnvProgram(name, found[name]) for name in sorted(found))
        return ProjectPrograms(project.spec.root, os.path.join(project.spec.root, project.spec.file), programs)


def _one_of_each_group(envs: Sequence[Env], *, chosen: bool) -> Iterator[Env]:
    groups: set[str] = set()
    for env in envs:
        if chosen or env.group not in groups:
            groups.add(env.group)
            yield env


def _programs_of_layers(stack: Stack) -> Iterator[str]:
    """Yields the programs in directories of PATH that a layer above the base has put there."""
    directories = {part.strip("/") for part in (stack.variables.get("PATH") or "").split(":")}
    directories |= {f"{top}{name}" for top in ("", "usr/", "usr/local/") for name in ("bin", "sbin")}
    records = [layers.read_records(made.layer) if made.layer.key else [] for made in stack.layers]
    for path, (fields, index) in merge_layers(records).items():
        directory, _, name = os.fsdecode(path).rpartition("/")
        if index and directory in directories and PROGRAM_NAME.fullmatch(name):
            entry = parse_record(fields)
            if entry.letter == "l" or (entry.letter == "f" and entry.mode & stat.S_IXUSR):
                yield name


def _programs_of_tasks(env: Env) -> Iterator[str]:
    """Yields the words where a shell looks for a command, in the commands of all tasks. Expansions are not made."""
    for task in env.tasks:
        for command in task.commands:
            for text in [command.argv[0]] if command.argv else _COMMANDS.split(command.shell):
                words = [word for word in text.split() if not _ASSIGNMENT.match(word) and word not in _KEYWORDS]
                yield from words[:1]
