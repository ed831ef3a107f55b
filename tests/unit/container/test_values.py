"""Programs as plain values, refusals as sentences, and what the hot path may import."""

from __future__ import annotations

import errno
import marshal
import os
import subprocess
import sys
import types
from pathlib import Path

import pytest

from envtool.container import doctor, kernel_errors, syscalls, userns
from envtool.container.program import BindMount, ContainerStep, Program, ProjectMount, Root
from envtool.errors import FetchError, SandboxError

TOP = Path(__file__).resolve().parents[3]


def test_a_program_is_marshallable_and_complete():
    program = Program(
        root=Root(lowers=("/b", "/a"), memory=5),
        steps=(ContainerStep(argv=("true",), env={"A": "2", "C": "3"}, cwd="/x"),),
        binds=(BindMount(source="/s", target="/t"),),
        project=ProjectMount(source="/p", hidden=("h",)),
        env={"A": "1", "B": "1"},
        outputs=("*.log",),
    )
    flat = marshal.loads(marshal.dumps(program.to_dict()))
    assert flat["operations"] == program.operations()
    assert flat["operations"][0] == ("root", "/", ("/b", "/a"), "", "", "", 5)
    assert ("bind", "/t", "/s", True, False, ()) in flat["operations"]
    assert ("project", "/project", "/p", (), (), (), ()) in flat["operations"]
    assert flat["steps"][0]["env"] == {"A": "2", "B": "1", "C": "3"}
    assert flat["hidden"] == ("h",)
    assert flat["outputs_at"] == "/project"
    assert flat["user"] == "user"
    assert flat["seccomp_single"] == b""


def test_the_hot_path_imports_little():
    code = (
        f"import sys; sys.path[:0] = [{str(TOP)!r}]; before = set(sys.modules); import envtool.container.supervisor;"
        "print(*sorted(set(sys.modules) - before))"
    )
    done = subprocess.run([sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    banned = {"re", "enum", "typing", "json", "socket", "subprocess", "signal", "dataclasses", "contextlib", "inspect",
              "collections", "functools", "threading", "logging", "pathlib", "envtool.errors", "shutil"}  # fmt: skip
    assert not loaded & banned
    assert {name for name in loaded if name.startswith("envtool")} == {
        "envtool",
        "envtool.container",
        "envtool.fs",
        "envtool.fs.store_files",
        *(
            f"envtool.container.{name}"
            for name in ("userns", "pid1", "syscalls", "mounts", "rootfs", "supervisor", "messages")
        ),
    }


@pytest.mark.parametrize(
    ("stage", "number", "code"),
    [
        ("unshare", errno.ENOSPC, "userns-limit"),
        ("unshare", errno.EINVAL, "kernel-old"),
        ("mounts", errno.ENOSYS, "kernel-old"),
        ("ids", errno.EINVAL, "ids"),
        ("source", errno.ENOENT, "source"),
        ("cwd", errno.ENOENT, "cwd"),
        ("mounts", errno.EINVAL, "container-mounts"),
        ("mounts", errno.EROFS, "container-mounts"),
    ],
)
def test_refusals_have_codes(stage, number, code):
    error = kernel_errors.sandbox_error(stage, number, "/x: gone")
    assert error.code == code
    assert not error.message.endswith(".")
    assert ("`rw`" in error.hint) == (number == errno.EROFS)  # nothing that `envtool doctor` knows of


@pytest.mark.parametrize(
    ("setting", "code", "mend"),
    [
        ("unprivileged_userns_clone", "userns-refused", "sysctl -w kernel.unprivileged_userns_clone=1"),
        ("apparmor_restrict_unprivileged_userns", "userns-apparmor", "apparmor_parser -r"),
    ],
)
def test_the_hosts_policy_is_named(monkeypatch, setting, code, mend):
    values = {"unprivileged_userns_clone": "0", "apparmor_restrict_unprivileged_userns": "1"}
    monkeypatch.setattr(kernel_errors, "_read_setting", lambda path: values[setting] if path.endswith(setting) else "")
    monkeypatch.setattr(kernel_errors.os, "geteuid", lambda: 1000)
    error = kernel_errors.sandbox_error("mounts", errno.EPERM, "mount")
    assert error.code == code
    assert mend in error.hint


def test_the_apparmor_profile_names_the_interpreter():
    text = doctor.apparmor_profile("/opt/python")
    assert 'profile envtool "/opt/python" flags=(unconfined)' in text
    assert "userns," in text


def test_a_kernel_that_is_too_old(monkeypatch):
    monkeypatch.setattr(doctor.syscalls, "kernel_version", lambda: (5, 4))
    assert doctor._check_kernel().state == "fail"
    monkeypatch.setattr(doctor.syscalls, "kernel_version", lambda: (6, 1))
    assert doctor._check_kernel().state == "warn"


@pytest.mark.parametrize(
    ("groups", "said"),
    [([1000], ""), ([1000, 4, 99999], ", and what your groups may read (adm, 99999) their tasks may")],
)
def test_groups_that_stay_in_containers_are_named(monkeypatch, groups, said):
    monkeypatch.setattr(doctor.userns, "caller_ids", lambda: userns.IdMaps("single", [(0, 1000, 1)], [(0, 1000, 1)]))
    monkeypatch.setattr(doctor.os, "getgroups", lambda: groups)
    monkeypatch.setattr(doctor.os, "getegid", lambda: 1000)
    monkeypatch.setattr(doctor.grp, "getgrgid", lambda group: {4: types.SimpleNamespace(gr_name="adm")}[group])
    found = doctor._check_ids()
    assert found.state == "warn"
    assert f"containers have one id{said}; databases" in found.text


@pytest.mark.parametrize(
    ("version", "confined", "state", "text"),
    [
        (5, True, "ok", "containers cannot execute envtool's own program"),
        (1, False, "warn", "before Linux 5.19"),
        (5, False, "warn", "too many confinements"),
        (-errno.ENOSYS, False, "warn", "built without it"),
        (-errno.EOPNOTSUPP, False, "warn", "`lsm=`"),
        (-errno.EPERM, False, "warn", "refused: "),
    ],
)
def test_doctor_says_whether_landlock_is_there_and_what_follows(monkeypatch, version, confined, state, text):
    def create_ruleset(name, attributes, size, flags):
        assert (name, attributes, size, flags) == ("landlock_create_ruleset", None, 0, 1)
        if version < 0:
            raise OSError(-version, f"{name}: {os.strerror(-version)}")
        return version

    monkeypatch.setattr(doctor.userns, "run_as_root", lambda function, *_, **__: confined)
    monkeypatch.setattr(doctor, "syscall", create_ruleset)
    check = doctor._check_landlock()
    assert (check.name, check.state) == ("Landlock", state)
    assert text in check.text
    assert ("a hostile task may execute" in check.text) == (state == "warn")


def test_doctor_tries_landlock_itself():
    names = {check.name: check for check in doctor.check_machine()}
    assert names["Landlock"].state == ("ok" if userns.run_as_root(syscalls.confine_programs) else "warn")


@pytest.mark.parametrize(
    ("error", "mend"),
    [
        (SandboxError("no veth", code="network-kernel"), "sudo modprobe veth"),
        (SandboxError("the gateway has ended", code="network-lost"), ""),
        (FetchError("HTTPS_PROXY is `socks5://x`", code="fetch-proxy"), ""),
    ],
)
def test_doctor_says_why_policies_do_not_work(monkeypatch, error, mend):
    def refuse(**options):
        assert options["allow"], "a pod with a policy has a gateway"
        raise error

    monkeypatch.setattr(doctor.pod, "Pod", refuse)
    check = doctor._check_policies()
    assert (check.name, check.state, check.mend) == ("network policies", "warn", mend)
    assert check.text == f"`network: {{allow: […]}}` does not work: {error.message}"
