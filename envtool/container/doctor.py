"""What this machine can do for containers, for `envtool doctor`. A check tries the thing itself where trying is cheap.

Each check is a sentence and, where something is missing, the exact command that mends it.
"""

from __future__ import annotations

import errno
import grp
import os
import pwd
import shutil
import stat
import sys
import tempfile
from typing import Literal

from envtool.container import cgroups, mounts, pod, seccomp, syscalls, userns
from envtool.container.syscalls import syscall
from envtool.errors import FetchError, SandboxError
from envtool.fs.sizes import format_size
from envtool.lazy_dataclass import dataclass

_MIN_KERNEL = (5, 12)
_ENFORCED = {  # how a limit is, in words
    "sampled": "watched from outside, ten times a second and more",
    "rlimit": "by the kernel for each user or process (setrlimit)",
    "tmpfs": "by the size of the file system in memory",
    "watched": "by envtool's clock",
    "": "cannot be limited: there is no cgroup that envtool may use",
}
_MIN_SPACE = 2 * 10**9  # bytes below which a base and its layers hardly fit


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """The result of one check. `mend` is a command that mends what is missing, or empty."""

    name: str
    state: Literal["ok", "warn", "fail"]
    text: str
    mend: str = ""


def check_machine(store: str = "") -> tuple[Check, ...]:
    """Returns all checks, the most important first. `store`: the directory that layers will be kept in."""
    namespaces = _check_namespaces()
    checks = [_check_kernel(), *namespaces]
    if all(check.state != "fail" for check in checks):
        checks += [
            _check_ids(),
            _check_overlay("overlay", ""),
            _check_overlay("tmpfs as upper layer", "tmpfs"),
            _check_proc(),
        ]
        if os.geteuid() == 0:
            checks.append(_check_idmapped_mounts())
        checks += [_check_pods(), _check_policies(), _check_landlock()]
    checks += [_check_seccomp(), _check_limits()]
    if store:
        checks.append(_check_space(store))
    return tuple(checks)


def apparmor_profile(interpreter: str = "") -> str:
    """Returns the AppArmor profile that lets envtool's interpreter make user namespaces where AppArmor (Ubuntu 23.10
    and later) refuses them to programs without a profile. Ubuntu's own profiles for browsers are of the same form:
    unconfined, with `userns`.
    """
    path = os.path.realpath(interpreter or sys.executable)
    return (
        "abi <abi/4.0>,\n"
        "include <tunables/global>\n\n"
        f'profile envtool "{path}" flags=(unconfined) {{\n'
        "  userns,\n"
        "  include if exists <local/envtool>\n"
        "}\n"
    )


def _read_setting(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            return file.read().strip()
    except OSError:
        return ""


def _check_kernel() -> Check:
    release, machine = os.uname().release, os.uname().machine
    if machine not in seccomp.MACHINES:
        return Check(
            name="kernel",
            state="fail",
            text=f"no system call numbers for {machine}: {', '.join(seccomp.MACHINES)} only",
        )
    if syscalls.kernel_version() < _MIN_KERNEL:
        return Check(name="kernel", state="fail", text=f"Linux {release}: containers need 5.12 at least")
    if syscalls.kernel_version() < (6, 6):
        return Check(
            name="kernel",
            state="warn",
            text=f"Linux {release}: a tmpfs cannot hold layers before 6.6; use `scratch: disk`",
        )
    return Check(name="kernel", state="ok", text=f"Linux {release} on {machine}")


def _check_namespaces() -> list[Check]:
    name = "user namespaces"
    if _read_setting("/proc/sys/user/max_user_namespaces") == "0":
        mend = "sudo sysctl -w user.max_user_namespaces=65536"
        return [Check(name=name, state="fail", text="switched off (user.max_user_namespaces=0)", mend=mend)]
    try:
        userns.run_as_root(os.getpid)
    except SandboxError as error:
        return [Check(name=name, state="fail", text=error.message, mend=_fix_command(error))]
    try:
        userns.run_as_root(_try_mount)
    except OSError as error:
        if _read_setting("/proc/sys/kernel/apparmor_restrict_unprivileged_userns") == "1":
            text = "made, but without rights (AppArmor, kernel.apparmor_restrict_unprivileged_userns=1)"
            return [Check(name=name, state="fail", text=text, mend=_APPARMOR_COMMAND)]
        text = f"made, but mounting in them is refused: {error.strerror}"
        return [Check(name=name, state="fail", text=text)]
    return [Check(name=name, state="ok", text="can be made, and mounted in")]


_APPARMOR_COMMAND = (
    "envtool doctor --print apparmor-profile | sudo tee /etc/apparmor.d/envtool && "
    "sudo apparmor_parser -r /etc/apparmor.d/envtool"
)


def _fix_command(error: SandboxError) -> str:
    if error.code == "userns-apparmor":
        return _APPARMOR_COMMAND
    return error.hint.removeprefix("as root: ") if error.hint != "envtool doctor" else ""


def _try_mount() -> None:
    os.close(mounts.new_filesystem("tmpfs"))


def _check_ids() -> Check:
    mode = userns.caller_ids().mode
    name = "user ids"
    if mode == "root":
        _, base, count = userns.caller_ids().uids[0]
        state: Literal["ok", "warn"] = "ok" if count >= userns.ID_COUNT - 1 else "warn"
        return Check(
            name=name, state=state, text=f"root inside is not root of this machine: ids {base} to {base + count - 1}"
        )
    if mode == "range":
        return Check(
            name=name, state="ok", text=f"each container has a range of ids, from {userns.caller_ids().uids[0][1]}"
        )
    user = _user_name()
    missing = [n for n in ("newuidmap", "newgidmap") if not userns.find_helper(n)]
    limits = f"containers have one id{_undroppable_groups()}; databases that refuse root need more"
    if missing:
        text = f"{' and '.join(missing)} not installed: {limits}"
        return Check(name=name, state="warn", text=text, mend="sudo apt-get install uidmap")
    free = _free_range()
    return Check(
        name=name,
        state="warn",
        text=f"no subuid and subgid range for `{user}`: {limits}",
        mend=f"sudo usermod --add-subuids {free} --add-subgids {free} {user}",
    )


def _undroppable_groups() -> str:
    """Returns a text that names the groups that tasks keep: without a range of ids setgroups(2) is denied."""
    names = []
    for group in sorted({*os.getgroups()} - {os.getegid()}):
        try:
            names.append(grp.getgrgid(group).gr_name)
        except KeyError:
            names.append(str(group))
    return f", and what your groups may read ({', '.join(names)}) their tasks may" if names else ""


def _user_name() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())


def _free_range() -> str:
    ends = [100000]
    for path in ("/etc/subuid", "/etc/subgid"):
        for line in _read_setting(path).splitlines():
            fields = line.split(":")
            if len(fields) == 3 and fields[1].isdigit() and fields[2].isdigit():
                ends.append(int(fields[1]) + int(fields[2]))
    return f"{max(ends)}-{max(ends) + userns.ID_COUNT - 1}"


def _check_overlay(name: str, upper: str) -> Check:
    with tempfile.TemporaryDirectory(prefix="envtool-") as directory:
        try:
            userns.run_as_root(_try_overlay, upper, at=directory)
        except OSError as error:
            if upper:
                text = f"refused ({error.strerror}): ephemeral writes must go to disk; use `scratch: disk`"
                return Check(name=name, state="warn", text=text)
            mend = "sudo modprobe overlay" if error.errno == errno.ENODEV else ""
            return Check(name=name, state="fail", text=f"overlay in a user namespace is refused: {error}", mend=mend)
    return Check(name=name, state="ok", text="can be mounted in a user namespace")


def _try_overlay(upper: str) -> None:
    """Mount an overlay in a new mount namespace; the working directory is a temporary one."""
    mounts.make_private()
    mounts.attach(mounts.new_filesystem("tmpfs", mode="0755"), "/tmp")
    os.chdir("/tmp")
    for directory in ("low", "root"):
        os.mkdir(directory)
    if upper:
        os.mkdir("up")
        os.mkdir("work")
        mounts.overlay("root", ["low"], "up", "work", volatile=False)
        os.mkdir("root/made")
        os.rmdir("root/made")
    else:
        os.mkdir("other")
        syscall("mount", "overlay", "root", "overlay", 0, "lowerdir=low:other,userxattr")


def _check_proc() -> Check:
    lines = _read_setting("/proc/self/mountinfo").splitlines()
    masked = [line.split()[4] for line in lines if " /proc/" in line]
    masked = [path for path in masked if path.startswith("/proc/") and not path.startswith("/proc/sys/fs/binfmt_misc")]
    if not masked:
        return Check(name="/proc", state="ok", text="each container has its own, whole")
    return Check(
        name="/proc",
        state="warn",
        text=f"masked by the container that envtool runs in ({masked[0]}): its processes are visible inside ours",
        mend="docker run --security-opt systempaths=unconfined …, or podman run --security-opt unmask=ALL …",
    )


def _check_idmapped_mounts() -> Check:
    name = "id-mapped mounts"
    with tempfile.TemporaryDirectory(prefix="envtool-") as directory:
        try:
            ids = userns.caller_ids()
            (_, base, count), (_, group, groups) = ids.uids[0], ids.gids[0]
            namespace = userns.user_namespace(
                userns.idmapped_extents(0, userns.TASK_UID, base, count),
                userns.idmapped_extents(0, userns.TASK_UID, group, groups),
            )
            try:
                mount = mounts.clone(directory, recursive=False)
                try:
                    mounts.set_attributes(mount, mounts.IDMAP, idmap=namespace, recursive=False)
                finally:
                    os.close(mount)
            finally:
                os.close(namespace)
        except OSError as error:
            return Check(
                name=name, state="warn", text=f"refused ({error.strerror}): projects of root are copied at each start"
            )
    if syscalls.kernel_version() < (5, 19):
        return Check(
            name=name, state="warn", text="not as overlay layers before Linux 5.19: projects of root are copied"
        )
    return Check(name=name, state="ok", text="projects of root are shown without a copy")


def _check_pods() -> Check:
    name = "networks of services"
    try:
        with pod.Pod(spare=1) as made:
            made.add_member("one")
            kind = made.kind
    except SandboxError as error:
        mend = "sudo modprobe veth" if error.code == "network-kernel" else ""
        return Check(name=name, state="warn", text=f"no services can run: {error.message}", mend=mend)
    if kind == "routed":
        text = "this kernel has no bridge: containers of one run reach each other, but not by broadcast"
        return Check(name=name, state="warn", text=text, mend="sudo modprobe bridge")
    return Check(name=name, state="ok", text="containers can have a network of their own")


def _check_policies() -> Check:
    """Check whether a pod with a gateway can be made. The gateway connects to nothing."""
    name = "network policies"
    try:
        with pod.Pod(spare=1, allow=("192.0.2.1:443",)) as made:
            made.add_member("one")
    except (SandboxError, FetchError) as error:
        text = f"`network: {{allow: […]}}` does not work: {error.message}"
        mend = "sudo modprobe veth" if error.code == "network-kernel" else ""
        return Check(name=name, state="warn", text=text, mend=mend)
    return Check(
        name=name, state="ok", text="containers can reach what `network: {allow: […]}` names, and nothing else"
    )


def _check_seccomp() -> Check:
    actions = _read_setting("/proc/sys/kernel/seccomp/actions_avail").split()
    if "errno" in actions:
        return Check(name="seccomp", state="ok", text="this kernel filters system calls")
    return Check(name="seccomp", state="fail", text="this kernel has no seccomp filters (CONFIG_SECCOMP_FILTER)")


def _check_landlock() -> Check:
    """Check whether a container can confine its programs (landlock(7)), as its first process does."""
    try:
        if userns.run_as_root(syscalls.confine_programs):
            return Check(name="Landlock", state="ok", text="containers cannot execute envtool's own program")
        version = syscall("landlock_create_ruleset", None, 0, 1)  # LANDLOCK_CREATE_RULESET_VERSION
        reason = (
            "before Linux 5.19 it cannot confine programs"
            if version < 2
            else "too many confinements are around this process"
        )
    except OSError as error:
        reasons = {
            errno.ENOSYS: "this kernel is built without it",
            errno.EOPNOTSUPP: "switched off: `landlock` is missing from the boot parameter `lsm=`",
        }
        reason = reasons.get(error.errno or 0, f"refused: {error.strerror}")
    text = f"{reason}; a hostile task may execute envtool's own program on this machine, and change its mode and times"
    return Check(name="Landlock", state="warn", text=text)


def _check_limits() -> Check:
    """Check how limits of containers are enforced here. There is no command: it depends on how the session began."""
    how = cgroups.enforcement()
    by = {words: [name for name in how if how[name] == words] for words in dict.fromkeys(how.values())}
    text = "; ".join(f"{', '.join(names)}: {_ENFORCED.get(words, words)}" for words, names in by.items())
    if how["cpus"] or os.geteuid() == 0:
        return Check(name="limits", state="ok", text=text)
    mend = "systemd-run --user --scope -p Delegate=yes envtool …" if os.path.isdir("/run/systemd/system") else ""
    return Check(name="limits", state="ok", text=text, mend=mend)


def _check_space(store: str) -> Check:
    path = store
    while not os.path.isdir(path):
        path = os.path.dirname(path) or "/"
    total, _, free = shutil.disk_usage(path)
    if not os.access(path, os.W_OK) or not total:  # /proc holds nothing, whatever its modes say
        return Check(name="store", state="fail", text=f"{path} is not writable", mend="export ENVTOOL_STORE=DIRECTORY")
    if stat.S_ISDIR(os.stat(path).st_mode) and free < _MIN_SPACE:
        text = f"{format_size(free)} free at {path}: a base with layers takes some 2 GB"
        return Check(name="store", state="warn", text=text, mend="export ENVTOOL_STORE=DIRECTORY")
    return Check(name="store", state="ok", text=f"{format_size(free)} free at {path}")
