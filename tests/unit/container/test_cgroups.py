"""Cgroups of containers, on directories laid out like those of v1, v2, both at once, and a delegated slice. The kernel
makes the files of a new cgroup; here `os.mkdir` does."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from envtool import proc
from envtool.container import cgroups
from envtool.errors import SandboxError

V1_FILES = {
    "memory": ("memory.limit_in_bytes", "memory.memsw.limit_in_bytes", "memory.max_usage_in_bytes"),
    "pids": ("pids.max", "pids.events"),
    "cpu": ("cpu.cfs_period_us", "cpu.cfs_quota_us"),
    "cpuset": ("cpuset.cpus", "cpuset.mems"),
    "blkio": ("blkio.reset_stats",),
}
V2_FILES = (
    "cgroup.type", "cgroup.controllers", "cgroup.subtree_control", "memory.max", "memory.swap.max", "memory.events",
    "memory.peak", "pids.max", "pids.events", "cpu.max",
)  # fmt: skip


class Machine:
    """The directories, and the files of /proc that say where they are."""

    def __init__(self, top: Path) -> None:
        self.top = top
        self.mountinfo, self.own = top / "mountinfo", top / "cgroup"
        self.mountinfo.touch()
        self.own.touch()

    def mount(self, name: str, kind: str, options: str, root: str = "/") -> Path:
        directory = self.top / name
        directory.mkdir()
        with self.mountinfo.open("a") as file:
            file.write(f"36 25 0:31 {root} {directory} rw,nosuid shared:9 - {kind} {kind} rw,{options}\n")
        return directory

    def be_in(self, line: str) -> None:
        with self.own.open("a") as file:
            file.write(f"{line}\n")

    def v1(self, path: str = "/user/me", controllers: tuple[str, ...] = ("memory", "pids", "cpu")) -> dict[str, Path]:
        made = {}
        for number, controller in enumerate(controllers, 1):
            point = self.mount(controller, "cgroup", controller if controller != "cpu" else "cpu,cpuacct")
            self.be_in(f"{number}:{controller if controller != 'cpu' else 'cpu,cpuacct'}:{path}")
            made[controller] = group(f"{point}{path}", V1_FILES[controller])
        return made

    def v2(self, path: str, *, parent: str = "", own: str = "", processes: str = "") -> Path:
        """A tree of v2 with this process in `path`; `parent` and `own` are the controllers that are enabled below."""
        point = self.mount("unified", "cgroup2", "nsdelegate")
        self.be_in(f"0::{path}")
        inside = group(f"{point}{path}", V2_FILES)
        for directory in (inside, *inside.parents):
            if directory == self.top:
                break
            (directory / "cgroup.controllers").write_text("cpuset cpu io memory pids\n")
            (directory / "cgroup.subtree_control").write_text("")
            (directory / "cgroup.procs").touch()
        (inside.parent / "cgroup.subtree_control").write_text(f"{parent}\n")
        (inside / "cgroup.subtree_control").write_text(f"{own}\n")
        (inside / "cgroup.procs").write_text(processes)
        return inside

    def sites(self) -> list[cgroups.CgroupSite]:
        return cgroups.find_sites(str(self.mountinfo), str(self.own))


def group(path: str, files: tuple[str, ...]) -> Path:
    directory = Path(path)
    directory.mkdir(parents=True, exist_ok=True)
    for name in (*files, "cgroup.procs"):
        (directory / name).touch()
    return directory


def limits(**values: float) -> dict[str, tuple[float, str, bool]]:
    return {name: (value, f"envtool.yaml:4:{number}", True) for number, (name, value) in enumerate(values.items())}


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A machine whose cgroups have their files as soon as they are made, as the kernel's do."""
    real_mkdir, real_rmdir = os.mkdir, os.rmdir

    def mkdir(path, mode=0o777):
        real_mkdir(path, mode)
        of_v1 = [name for names in V1_FILES.values() for name in names]
        for name in (*(V2_FILES if "unified" in str(path) else of_v1), "cgroup.procs"):
            Path(path, name).touch()

    def rmdir(path):
        for name in os.listdir(path):
            os.unlink(os.path.join(path, name))
        real_rmdir(path)

    monkeypatch.setattr(cgroups.os, "mkdir", mkdir)
    monkeypatch.setattr(cgroups.os, "rmdir", rmdir)
    monkeypatch.setattr(cgroups.DirectoryGroup, "_wait_for_memory", lambda self, directory: None)
    monkeypatch.setattr(cgroups, "_has_systemd", lambda: False)
    return Machine(tmp_path)


def test_v1_is_below_the_own_cgroup(machine):
    made = machine.v1()
    (site,) = machine.sites()
    assert site.how == "cgroup v1"
    assert site.directories == {name: str(path) for name, path in made.items()}


def test_a_hierarchy_that_is_mounted_from_below(machine):
    """In a container of another engine the mount's root is a cgroup, and /proc/self/cgroup has its whole path."""
    point = machine.mount("memory", "cgroup", "memory", root="/docker/0123")
    machine.be_in("3:memory:/docker/0123/inner")
    inner = group(f"{point}/inner", V1_FILES["memory"])
    assert machine.sites()[0].directories == {"memory": str(inner)}
    assert cgroups._below("/sys/x", "/docker/0123", "/docker/01234") == "/sys/x"


def test_what_is_not_writable_is_no_place(machine, monkeypatch):
    machine.v1()
    monkeypatch.setattr(cgroups, "_is_writable", lambda directory: "memory" not in directory)
    assert {*machine.sites()[0].directories} == {"pids", "cpu"}
    assert cgroups.enforcement(machine.sites()) == {
        "memory": "sampled", "cpus": "cgroup v1", "pids": "cgroup v1", "disk": "tmpfs", "files": "rlimit",
        "time": "watched", "idle": "watched",
    }  # fmt: skip


def test_nothing_at_all(machine):
    assert machine.sites() == []
    how = cgroups.enforcement([])
    assert (how["memory"], how["pids"], how["cpus"]) == ("sampled", "rlimit", "")
    assert cgroups.open_group(limits(memory=1e9, pids=5), []) is None
    with pytest.raises(
        SandboxError, match=r"no cgroup can limit processors here, as envtool.yaml:4:0 wants it"
    ) as caught:
        cgroups.open_group(limits(cpus=1.5), [])
    assert "enforce: try" in caught.value.hint
    assert cgroups.open_group({"cpus": (1.5, "", False)}, []) is None


def test_limits_of_v1(machine):
    machine.v1()
    made = cgroups.open_group(limits(memory=3 << 20, pids=40, cpus=1.5), machine.sites())
    assert made.held == {"memory", "pids", "cpus"}
    memory, pids, cpu = (Path(made.directories[name]) for name in ("memory", "pids", "cpus"))
    assert {memory.name} == {pids.name} == {cpu.name}
    assert memory.name.startswith(f"envtool-{os.getpid()}-{cgroups.process_start(os.getpid())}-")
    assert (pids / "pids.max").read_text() == "42", "with pid 1 and the process that makes it"
    assert (cpu / "cpu.cfs_quota_us").read_text() == "150000"
    assert (cpu / "cpu.cfs_period_us").read_text() == "100000"
    made.attach(1234)
    assert [(path / "cgroup.procs").read_text() for path in (memory, pids, cpu)] == ["1234"] * 3
    (pids / "pids.events").write_text("max 0\n")
    assert not made.is_over_processes()
    (pids / "pids.events").write_text("max 17\n")
    assert made.is_over_processes()
    made.close()
    assert not any(path.exists() for path in (memory, pids, cpu))


def test_a_container_of_v1_is_shown_cgroups_of_its_own(machine):
    """Also where it has no limit: a JVM believes none without all of them."""
    parents = machine.v1(controllers=("memory", "pids", "cpu", "cpuset", "blkio"))
    (parents["cpuset"] / "cpuset.cpus").write_text("0-3\n")
    (parents["cpuset"] / "cpuset.mems").write_text("0\n")
    made = cgroups.open_group(limits(memory=3 << 20), machine.sites())
    assert {*made.shown} == {"memory", "cpu,cpuacct", "pids", "cpuset"}
    assert made.held == {"memory"}
    made.attach(1234)
    ours = [next(parent.glob("envtool-*")) for name, parent in parents.items() if name != "blkio"]
    assert [(path / "cgroup.procs").read_text() for path in ours] == ["1234"] * 4
    assert [(ours[3] / name).read_text() for name in V1_FILES["cpuset"]] == ["0-3\n", "0\n"]
    assert not list(parents["blkio"].glob("envtool-*"))
    made.close()
    assert not any(path.exists() for path in ours)


def test_what_cannot_be_made_is_not_shown(machine):
    parents = machine.v1(controllers=("memory", "pids"))
    site = machine.sites()[0]
    site = site._replace(hierarchies={**site.hierarchies, "cpuset": str(parents["pids"] / "gone")})
    made = cgroups.open_group(limits(memory=3 << 20), [site])
    assert made.shown == ("memory", "pids")
    made.close()
    assert not list(parents["memory"].glob("envtool-*"))


def test_over_memory_of_v1(machine):
    machine.v1()
    made = cgroups.open_group(limits(memory=3 << 20), machine.sites())
    directory = Path(made.directories["memory"])
    control = directory / "memory.oom_control"
    for text, over in (
        ("oom_kill_disable 1\nunder_oom 0\noom_kill 0\n", False),
        ("under_oom 1\n", True),
        ("oom_kill 1", True),
    ):
        control.write_text(text)
        assert made.is_over_memory() == over, text
    (directory / "memory.max_usage_in_bytes").write_text("3145728\n")
    assert made.peak() == 3 << 20
    made.close()


def test_memory_that_was_refused(machine):
    machine.v1()
    made = cgroups.open_group(limits(memory=3 << 20), machine.sites())
    directory = Path(made.directories["memory"])
    assert not made.was_refused_memory()
    (directory / "memory.failcnt").write_text("0\n")
    assert not made.was_refused_memory()
    (directory / "memory.failcnt").write_text("3\n")
    assert made.was_refused_memory()
    (directory / "memory.failcnt").unlink()
    (directory / "memory.events").write_text("low 0\nhigh 0\nmax 7\noom 0\noom_kill 0\n")
    assert not made.was_refused_memory(), "v2: caches were dropped, and that was enough"
    (directory / "memory.events").write_text("max 7\noom 1\noom_kill 0\n")
    assert made.was_refused_memory()
    made.close()


def test_a_cgroup_that_cannot_be_made_leaves_nothing(machine):
    parents = machine.v1()
    (parents["cpu"] / "cgroup.procs").chmod(0o600)
    site = cgroups.CgroupSite("cgroup v1", {"memory": str(parents["memory"]), "cpu": str(parents["cpu"] / "gone")})
    with pytest.raises(SandboxError, match=r"cgroup could not be made: .*gone"):
        cgroups.open_group(limits(memory=3 << 20, cpus=1), [site])
    assert not list(parents["memory"].glob("envtool-*"))


def test_v2_as_the_root_of_the_hierarchy(machine):
    """As root without an init that divides it: only the root may have both processes and children."""
    inside = machine.v2("/", processes="1\n2\n")
    (inside / "cgroup.type").unlink()
    machine.sites()
    assert (inside / "cgroup.subtree_control").read_text().split() == ["+memory", "+pids", "+cpu"]


def test_v2_beside_the_own_cgroup(machine):
    """A scope below a user's slice that systemd has delegated: the slice divides itself among its scopes."""
    inside = machine.v2(
        "/user.slice/user-1000.slice/user@1000.service/app.slice/run-7.scope",
        parent="cpu memory pids",
        processes="5\n6\n",
    )
    (site,) = machine.sites()
    assert site == ("cgroup v2", dict.fromkeys(("cpu", "memory", "pids"), str(inside.parent)), {})
    made = cgroups.open_group(limits(memory=1 << 30, pids=7, cpus=0.25), [site])
    assert made.shown == ("",)
    directory = Path(made.directories["memory"])
    assert directory.parent == inside.parent
    assert {*made.directories.values()} == {str(directory)}
    assert (directory / "memory.max").read_text() == str(1 << 30)
    assert (directory / "memory.swap.max").read_text() == "0"
    assert (directory / "pids.max").read_text() == "9"
    assert (directory / "cpu.max").read_text() == "25000 100000"
    (directory / "memory.events").write_text("low 0\nhigh 0\nmax 12\noom 1\noom_kill 0\n")
    assert not made.is_over_memory(), "reclaimed in time"
    (directory / "memory.events").write_text("low 0\nhigh 0\nmax 12\noom 1\noom_kill 1\n")
    assert made.is_over_memory()
    (directory / "memory.peak").write_text("1073741824\n")
    assert made.peak() == 1 << 30
    made.close()
    assert not directory.exists()


def test_v2_alone_in_a_delegated_cgroup(machine):
    """`systemd-run --user --scope -p Delegate=yes envtool …`: this process moves into a leaf, then divides the scope."""
    inside = machine.v2("/user.slice/run-9.scope", processes=f"{os.getpid()}\n")
    sites = machine.sites()
    leaf = inside / "envtool.self"
    assert (leaf / "cgroup.procs").read_text() == str(os.getpid())
    assert (inside / "cgroup.subtree_control").read_text().split() == ["+memory", "+pids", "+cpu"]
    assert sites == [], "the kernel lists what is enabled, without the signs"
    (inside / "cgroup.subtree_control").write_text("cpu memory pids\n")
    (leaf / "cgroup.controllers").write_text("cpu memory pids\n")
    machine.own.write_text("0::/user.slice/run-9.scope/envtool.self\n")
    directories = dict.fromkeys(("cpu", "memory", "pids"), str(inside))
    assert machine.sites() == [("cgroup v2", directories, {})], "from the leaf"


def test_v2_with_others_in_the_own_cgroup(machine):
    machine.v2("/user.slice/session-3.scope", processes=f"77\n{os.getpid()}\n")
    assert machine.sites() == []


def test_both_at_once(machine):
    """v1 has some controllers, v2 others: each is used where it is."""
    machine.v1(controllers=("memory",))
    machine.v2("/a/b", parent="pids", processes="5\n")
    first, second = machine.sites()
    assert (first.how, {*first.directories}) == ("cgroup v1", {"memory"})
    assert (second.how, {*second.directories}) == ("cgroup v2", {"pids"})
    made = cgroups.open_group(limits(memory=1 << 30, pids=7), [first, second])
    assert Path(made.directories["pids"], "pids.max").read_text() == "9"
    assert "unified" not in made.directories["memory"]
    assert made.shown == ("memory", "")
    made.close()


def test_systemd_where_nothing_is_delegated(machine, monkeypatch):
    machine.v2("/user.slice/session-3.scope", processes="77\n")
    monkeypatch.setattr(cgroups, "_has_systemd", lambda: True)
    (site,) = machine.sites()
    assert site.how == "systemd"
    assert cgroups.enforcement([site])["cpus"] == "systemd"
    made = cgroups.open_group(limits(memory=1 << 30), [site])
    assert isinstance(made, cgroups.SystemdScope)
    assert made.shown == ("",)
    monkeypatch.setattr(
        cgroups.proc,
        "run",
        lambda argv, **_: proc.ProcessResult(argv=tuple(argv), status=1, stdout=b"", stderr=b"no bus\n"),
    )
    with pytest.raises(SandboxError, match=r"systemd made no scope for the container: busctl .*: no bus"):
        made.attach(os.getpid())


def test_the_call_of_systemd():
    command = cgroups.scope_command("envtool-1-2-3.scope", 77, {"memory": 1e9, "pids": 5, "cpus": 0.5}, system=False)
    assert command[1] == "--user"
    at = command.index("ssa(sv)a(sa(sv))")
    assert command[at + 1 :] == [
        "envtool-1-2-3.scope", "fail", "6",
        "PIDs", "au", "1", "77",
        "CollectMode", "s", "inactive-or-failed",
        "MemoryMax", "t", "1000000000", "MemorySwapMax", "t", "0",
        "TasksMax", "t", "7",
        "CPUQuotaPerSecUSec", "t", "500000",
        "0",
    ]  # fmt: skip


def test_where_systemd_is_asked(monkeypatch, tmp_path):
    monkeypatch.setattr(cgroups.programs, "find_program", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(cgroups.os, "geteuid", lambda: 1000)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    assert not cgroups._has_systemd()
    (tmp_path / "systemd").mkdir()
    (tmp_path / "systemd" / "private").touch()
    (tmp_path / "bus").touch()
    assert cgroups._has_systemd()
    monkeypatch.setattr(cgroups.programs, "find_program", lambda name: "")
    assert not cgroups._has_systemd()


def test_what_a_killed_envtool_left_is_removed(machine):
    parents = machine.v1()
    top = parents["pids"]
    start = cgroups.process_start(os.getpid())
    kept = [f"envtool-{os.getpid()}-{start}-9", "envtool-x-1-1", "other-1-2-3"]
    left = [f"envtool-{os.getpid()}-{start + 1}-1", "envtool-4194305-1-1"]
    for name in (*kept, *left):
        (top / name).mkdir()
    cgroups.sweep(str(top))
    assert sorted(path.name for path in top.iterdir() if path.is_dir()) == sorted(kept)
    cgroups.sweep(str(top / "gone"))
