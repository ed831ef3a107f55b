"""The keys of compose that a spec cannot express, each with its meaning here. Every key of the Compose Specification is
in one of these tables, or a module of this package reads it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

    from envtool.app.compose.notes import Effect, ImportState
    from envtool.spec.node import YamlNode


class KeyMeaning(NamedTuple):
    """The meaning of a key here, and the hint."""

    effect: Effect
    message: str
    hint: str = ""


def _nothing(message: str) -> KeyMeaning:
    return KeyMeaning("meaningless", message)


def _left_out(message: str, hint: str = "") -> KeyMeaning:
    return KeyMeaning("left-out", message, hint)


_RIGHTS = "a container of envtool never has more rights than its caller"
_LIMITS = "limits are not taken over"
_WRITE_LIMITS = "write them into the spec, as in `limits: {memory: 512M, cpus: 1.5, pids: 100}`"
_KERNEL = "it is a setting of the kernel, which only root may change"
_OWN = "each service has namespaces of its own, and shares only the network of its run"
_NAMES = "the names in a run are those of its services"
_OTHER = "run without it, or keep this service outside of envtool"

SERVICE_KEYS: dict[str, KeyMeaning] = {
    # No effect: envtool always does so, or only a daemon needs the value.
    "annotations": _nothing("no daemon reads them here"),
    "attach": _nothing("`envtool up` shows the output of all services"),
    "develop": _nothing("`envtool up` watches the files that a service is made of"),
    "init": _nothing("the first process of every container is envtool's own, which reaps processes"),
    "labels": _nothing("no daemon reads them here"),
    "label_file": _nothing("no daemon reads it here"),
    "logging": _nothing("`envtool logs` has the output; a failure shows its last lines"),
    "pull_policy": _nothing("envtool.lock pins the image"),
    "pull_refresh_after": _nothing("envtool.lock pins the image"),
    "read_only": _nothing("what a service writes is dropped at its end"),
    "stdin_open": _nothing("a service has no standard input"),
    "tty": _nothing("a service has no terminal"),
    "cap_drop": _nothing("a container has no capabilities outside of its user namespace"),
    "storage_opt": _nothing("what a service writes is in memory, or with `scratch: disk` on the disk"),
    "isolation": _nothing("it is for Windows"),
    "credential_spec": _nothing("it is for Windows"),
    "oom_kill_disable": _nothing("the kernel's own rules hold"),
    "oom_score_adj": _nothing("the kernel's own rules hold"),
    # Left out: envtool would need root, a daemon, or another kernel.
    "privileged": _left_out(_RIGHTS, _OTHER),
    "cap_add": _left_out(_RIGHTS, "if it is for ports below 1024: no capability is needed for them here"),
    "devices": _left_out(f"{_RIGHTS}, and there are no devices in it", _OTHER),
    "device_cgroup_rules": _left_out(f"{_RIGHTS}, and there are no devices in it", _OTHER),
    "gpus": _left_out("there are no devices in a container", _OTHER),
    "runtime": _left_out("envtool has one runtime, its own", _OTHER),
    "security_opt": _left_out("the filter of system calls and `no_new_privs` hold for every container"),
    "userns_mode": _left_out("every container is in a user namespace"),
    "cgroup": _left_out(_LIMITS),
    "cgroup_parent": _left_out(_LIMITS),
    "ipc": _left_out(_OWN, "let the processes talk over the network, or run them in one service"),
    "pid": _left_out(_OWN, "run the processes in one service"),
    "uts": _left_out(_OWN),
    "sysctls": _left_out(_KERNEL, "a program that asks for it has a setting of its own, as a rule"),
    "ulimits": _left_out(
        "the limits are those of the caller", "write them into the spec, as in `limits: {files: 4096, pids: 100}`"
    ),
    "shm_size": _left_out("/dev/shm is in memory, without a limit of its own"),
    "group_add": _left_out("a service has the groups that its /etc/passwd and /etc/group give its user"),
    "volumes_from": _left_out("each service has files of its own", "give both services the same layers"),
    "external_links": _left_out("there is nothing outside of the run", "declare it as a service"),
    "extra_hosts": _left_out(_NAMES, "call a service by its name; for this machine's own ports see `network:`"),
    "dns": _left_out(f"{_NAMES}; the resolver is the run's own"),
    "dns_opt": _left_out("the resolver is the run's own"),
    "dns_search": _left_out(_NAMES, "write names in full"),
    "domainname": _left_out(_NAMES),
    "mac_address": _left_out("addresses are chosen for each run"),
    "post_start": _left_out("there is no command after the start", "do it in `command`, or once in `prepare`"),
    "pre_stop": _left_out("there is no command before the stop", "let the program do it at its stop signal"),
    "provider": _left_out("another program provides it", "declare it as a service, with a base and a command"),
    "models": _left_out("envtool runs no models", "declare the server of the model as a service"),
    "use_api_socket": _left_out("there is no daemon whose socket a service could have", _OTHER),
    **dict.fromkeys(
        (
            "blkio_config", "cpu_count", "cpu_percent", "cpu_period", "cpu_quota", "cpu_rt_period", "cpu_rt_runtime",
            "cpu_shares", "cpus", "cpuset", "mem_limit", "mem_reservation", "mem_swappiness", "memswap_limit",
            "pids_limit",
        ),
        _left_out(_LIMITS, _WRITE_LIMITS),
    ),
}  # fmt: skip

BUILD_KEYS: dict[str, KeyMeaning] = {
    "cache_from": _nothing("each instruction is a layer with a key, in the store or the team cache"),
    "cache_to": _nothing("each instruction is a layer with a key, in the store or the team cache"),
    "labels": _nothing("they are of the image, which nothing reads here"),
    "no_cache": _nothing("a layer is built again if something that it is made of has changed"),
    "pull": _nothing("envtool.lock pins the images"),
    "tags": _nothing("the image has no name here"),
    "platforms": _nothing("it is built for this machine"),
    "provenance": _nothing("`envtool test --provenance` writes a statement"),
    "sbom": _nothing("`envtool sbom` writes it"),
    "isolation": _nothing("it is for Windows"),
    "entitlements": _left_out(_RIGHTS),
    "privileged": _left_out(_RIGHTS),
    "ssh": _left_out("a build has no agent's socket", "fetch by `https`, or with a secret"),
    "network": _left_out("RUN has this machine's network, unless it says `--network=none`"),
    "extra_hosts": _left_out("names are those of this machine"),
    "shm_size": _left_out("/dev/shm is in memory, without a limit of its own"),
    "ulimits": _left_out("the limits are those of the caller"),
    "dockerfile_inline": _left_out("a Dockerfile is a file of the project", "write it to a file, and name it: `file:`"),
    "additional_contexts": _left_out("a build has one context", "`images:` of a Dockerfile names other images"),
    "secrets": _left_out("the source of a secret is not taken over", "see `secrets:` in docs/dockerfile.md"),
}

DEPLOY_KEYS: dict[str, KeyMeaning] = {
    "endpoint_mode": _nothing("the resolver gives one ready replica an answer, in turn"),
    "labels": _nothing("no daemon reads them here"),
    "placement": _nothing("all services run on this machine"),
    "rollback_config": _nothing("`envtool up` with the former lock is the way back"),
    "update_config": _nothing("`envtool up` replaces replica by replica, the new one ready first"),
    "mode": _left_out("there is one machine: write `replicas`"),
    "resources": _left_out(_LIMITS, _WRITE_LIMITS),
}

TOP_KEYS: dict[str, KeyMeaning] = {
    "version": _nothing("compose itself ignores it"),
    "name": _nothing("a run has no name of its own: runs never collide"),
    "networks": _nothing("the services of a run share one network, which has nothing outside"),
    "models": _left_out("envtool runs no models"),
}


def note_keys(
    state: ImportState, node: YamlNode, read: frozenset[str], table: Mapping[str, KeyMeaning], prefix: str = ""
) -> None:
    """Notes each key of a mapping that no module reads: as its table says, or as a key that compose does not have."""
    for key, child in node.mapping().items():
        if key in read or key.startswith("x-"):
            continue
        if key in table:
            if child.value not in (None, False) and child.value not in ([], {}):
                meaning = table[key]
                state.note(node.key(key), f"{prefix}{key}", meaning.effect, meaning.message, meaning.hint)
        else:
            hint = state.problems.nearest_hint(key, [*read, *table], listed=0)
            state.note(node.key(key), f"{prefix}{key}", "left-out", "it is no key of compose that is known here", hint)
