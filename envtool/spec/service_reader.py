"""Reads `services:` of a spec, and renders those that each env uses."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

from envtool.lazy_dataclass import dataclass, field
from envtool.model import Env, Service
from envtool.spec.declarations import has_template
from envtool.spec.envs import EnvPoint
from envtool.spec.render_service import render_service
from envtool.spec.service_hosts import named_hosts

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from envtool.api import Project
    from envtool.spec.declarations import LoadContext
    from envtool.spec.node import YamlNode

RESERVED = ("all", "envtool", "localhost")
MAX_SERVICES = 1000  # of one spec
MAX_USES = 100_000  # services beside tasks, of all envs together
MAX_NAME = 58  # a replica's name, NAME-1000, is a DNS label of at most 63
_DNS_LABEL = re.compile(rf"[A-Za-z0-9](?:[A-Za-z0-9-]{{0,{MAX_NAME - 2}}}[A-Za-z0-9])?\Z")
_REPLICA = re.compile(r"(.+)-([1-9][0-9]{0,3})\Z")
_ADDRESS = re.compile(r"(?:0[xX][0-9A-Fa-f]*|[0-9]+)\Z")  # inet_aton(3) takes such a name for an address


@dataclass(slots=True, kw_only=True, eq=False)
class ServiceReader:
    """The declared services of one spec. `rendered` has each service that was rendered, by its name and the env whose
    scope its templates had ("" if it has none); None: it is wrong, which is noted."""

    work: LoadContext
    project: Project
    nodes: dict[str, YamlNode] = field(default_factory=dict)
    keys: dict[str, YamlNode | None] = field(default_factory=dict)
    hosts: dict[str, str] = field(default_factory=dict)  # by host name in small letters
    needs: dict[str, tuple[str, ...]] = field(default_factory=dict)
    templated: set[str] = field(default_factory=set)
    rendered: dict[tuple[str, str], Service | None] = field(default_factory=dict)
    remaining: int = MAX_USES

    # ---- declarations ----------------------------------------------------------------------------------------------

    def declare(self, name: str, node: YamlNode, key: YamlNode) -> None:
        """Adds one service, whose name is new. Notes a name that no host can have. Raises SpecError if there are too
        many."""
        if len(self.nodes) == MAX_SERVICES:
            self.work.problems.add(key, f"more than {MAX_SERVICES:,} services", code="limit")
            self.work.problems.raise_any()
        self.nodes[name] = node
        self.hosts.setdefault(name.rpartition("/")[2].lower(), name)
        _check_name(self.work, name, key)

    def link(self) -> None:
        """Finds what each service needs, once all are declared. Notes unknown needs and cycles."""
        for name, node in self.nodes.items():
            if self._is_templated(node):
                self.templated.add(name)
            at = node.get("needs")
            self.needs[name] = tuple(
                need
                for item in (at.items() if at is not None else ())
                if (need := self._find(item, str(item.value), f"service `{name}` needs", name)) is not None
            )
        self._check_cycles()

    def _find(self, node: YamlNode, written: str, what: str, beside: str = "") -> str | None:
        """Returns the full name of the service that `node` names. Notes an unknown name, and returns None."""
        if not isinstance(node.value, str) or not written:
            return None
        name = node.source.resolve_name(written, self.keys)
        if name in self.nodes:
            return name
        if name not in self.keys:
            others = {known: at for known, at in self.keys.items() if known != beside}
            hint = self.work.problems.nearest_hint(written, others) or (
                "declare it under `services:` at the top of the file"
            )
            message = f"{what} the service `{written}`, which is not declared"
            self.work.problems.add(node, message, code="unknown-service", hint=hint)
        return None

    def _is_templated(self, node: YamlNode) -> bool:
        """Returns whether a service may differ between envs: it has a template, or its base or a layer of it has."""
        work = self.work
        if has_template(node):
            return True
        base, layers = node.get("base"), node.get("layers")
        bases = [base] if base is not None and isinstance(base.value, str) else []
        entries = [entry for entry in (layers.items() if layers is not None else ()) if isinstance(entry.value, str)]
        declared = [
            *(work.bases.get(work.base(entry, str(entry.value))) for entry in bases),
            *(work.layers.get(work.layer(entry, str(entry.value))) for entry in entries),
        ]
        return any(item is not None and item.templated for item in declared)

    def _check_cycles(self) -> None:
        """Notes services that need themselves, directly or through others; each cycle once."""
        done: set[str] = set()
        for start in self.needs:
            path: list[str] = []
            pending: list[tuple[str, bool]] = [(start, False)]
            while pending:
                name, ended = pending.pop()
                if ended:
                    path.pop()
                    done.add(name)
                elif name in path:
                    self._note_cycle([*path[path.index(name) :], name])
                elif name not in done:
                    path.append(name)
                    pending.append((name, True))
                    pending += [(need, False) for need in reversed(self.needs[name])]

    def _note_cycle(self, cycle: list[str]) -> None:
        at = self.nodes[cycle[-2]].get("needs")
        items = at.items() if at is not None else []
        closing = [item for item in items if item.source.resolve_name(str(item.value), self.keys) == cycle[-1]]
        if len(cycle) == 2:
            message, hint = f"service `{cycle[0]}` needs itself", "remove it"
        else:
            message = f"services need each other: {' → '.join(cycle)}"
            hint = "none of them could start first: remove one of these `needs`"
        self.work.problems.add(closing[0], message, code="cycle", hint=hint)
        last = cycle[-2]
        self.needs[last] = tuple(need for need in self.needs[last] if need != cycle[-1])

    def closure(self, names: Iterable[str]) -> tuple[str, ...]:
        """Returns the services and all that they need, each after those that it needs."""
        ordered: dict[str, None] = {}
        pending = [(name, False) for name in reversed([*names])]
        while pending:
            name, ended = pending.pop()
            if name in ordered:
                continue
            if ended:
                ordered[name] = None
            else:
                pending.append((name, True))
                pending += [(need, False) for need in reversed(self.needs[name]) if need not in ordered]
        return tuple(ordered)

    # ---- envs ------------------------------------------------------------------------------------------------------

    def add_to_env(self, point: EnvPoint, env: Env | None) -> Env | None:
        """Returns the env with the services that it and its tasks use. Notes all errors."""
        own = point.node.get("services")
        tasks = point.node.get("tasks")
        of_tasks = {
            task: node.get("services")
            for task, node in (tasks.mapping().items() if tasks is not None else ())
            if node.get("services") is not None
        }
        if own is None and not of_tasks:
            return env
        names = self._names(point, own, f"{point.label} uses")
        uses = self.closure(names)
        closures = {
            task: self.closure((*names, *self._names(point, at, f"task `{task}` of {point.label} uses")))
            for task, at in of_tasks.items()
        }
        self.remaining -= len(uses) + sum(map(len, closures.values()))
        if self.remaining < 0:
            message = f"more than {MAX_USES:,} services beside tasks, counting each point of a matrix"
            self.work.problems.add(point.at, message, code="limit")
            self.work.problems.raise_any()
        everything = tuple(dict.fromkeys((*uses, *(name for closure in closures.values() for name in closure))))
        services = {name: self.render(name, point) for name in everything}
        for at, closure in ((own, uses), *((of_tasks[task], closure) for task, closure in closures.items())):
            if at is not None:
                self._check_together(at, [service for name in closure if (service := services[name]) is not None])
        network = point.node.get("network")
        if everything and network is not None and network.value is True:
            hint = "name what it may reach: `network: {allow: [HOST:PORT]}`"
            message = f"{point.label} has this machine's network, and so cannot be in the network of its services"
            self.work.problems.add(network, message, code="unsupported", hint=hint)
        if env is None:
            return None
        return replace(
            env,
            services=tuple(service for service in services.values() if service is not None),
            uses=uses,
            tasks=tuple(replace(task, services=closures.get(task.name, uses)) for task in env.tasks),
        )

    def _names(self, point: EnvPoint, node: YamlNode | None, what: str) -> list[str]:
        items = node.items() if node is not None else ()
        found = (
            self._find(item, self.work.text(item, point.scope), what) for item in items if isinstance(item.value, str)
        )
        return [name for name in found if name is not None]

    def _check_together(self, at: YamlNode, services: Sequence[Service]) -> None:
        """Notes services of one run that clash: in the variables that they provide, in a published port, or in the
        host name."""
        note = self.work.problems.add
        providers: dict[str, Service] = {}
        hosts: dict[str, Service] = {}
        ports: dict[int, Service] = {}
        loopback: dict[int, Service] = {}
        for service in services:
            for number in service.localhost_ports():
                first = loopback.setdefault(number, service)
                if first is not service:
                    message = f"services `{first.name}` and `{service.name}` would both be at 127.0.0.1:{number}"
                    hint = "remove `localhost` from one of them, and use it by its name"
                    note(at, message, code="port-twice", hint=hint)
            for variable, value in service.provides.items():
                first = providers.setdefault(variable, service)
                if first.provides[variable] != value:
                    message = f"services `{first.name}` and `{service.name}` both provide {variable}"
                    hint = (
                        f"in one of them, write `provides: {{{variable}: null}}`, or give both the same value; "
                        "`provides:` may have the value under another name"
                    )
                    note(at, message, code="provides", hint=hint)
            first = hosts.setdefault(service.host.lower(), service)
            if first is not service:
                message = f"services `{first.name}` and `{service.name}` would both be the host `{service.host}`"
                note(at, message, code="host", hint="rename one of them, or use them in different tasks")
            for port in service.publish:
                first = ports.setdefault(port.host_port, service) if port.host_port else service
                if first is not service:
                    message = f"services `{first.name}` and `{service.name}` both publish on port {port.host_port}"
                    note(at, message, code="port-twice", hint="give one of them another port, or any free one")
        for host, service in hosts.items():
            replica = _REPLICA.match(host)
            of = hosts.get(replica[1]) if replica is not None else None
            if replica is not None and of is not None and int(replica[2]) <= of.replicas:
                message = f"service `{service.name}` has the name of a replica of `{of.name}`"
                note(at, message, code="host", hint="rename it: the replicas of a service are NAME-1, NAME-2 …")

    # ---- one service -----------------------------------------------------------------------------------------------

    def render(self, name: str, user: EnvPoint | None) -> Service | None:
        """Returns a service with its templates rendered for the env `user`. Notes all errors."""
        owner = user.name if user is not None and name in self.templated else ""
        if (name, owner) not in self.rendered:
            self.rendered[name, owner] = self._render(name, user)
        return self.rendered[name, owner]

    def _render(self, name: str, user: EnvPoint | None) -> Service | None:
        node, key = self.nodes[name], self.keys[name]
        if key is None or not isinstance(node.value, dict):  # the schema has reported it
            return None
        point = EnvPoint(
            name=name, group=name, node=node, at=key, values={}, args="", project=self.project, section="services",
            user=user,
        )  # fmt: skip
        service = render_service(self.work, point, self.needs[name])
        if service is None:
            return None
        needed = self.closure([name])
        unneeded = (other for host in named_hosts(service) if (other := self.hosts.get(host)) and other not in needed)
        return replace(service, unneeded=tuple(other.rpartition("/")[2] for other in unneeded))

    # ---- the whole spec --------------------------------------------------------------------------------------------

    def finish(self, envs: Sequence[Env]) -> tuple[tuple[Env, ...], tuple[Service, ...]]:
        """Returns the envs with the names of their services' stacks, and the declared services without templates.
        Renders and checks those that no env uses."""
        if not self.nodes:
            return tuple(envs), ()
        plain = [name for name in self.closure(self.nodes) if not {*self.closure([name])} & self.templated]
        declared = [service for name in plain if (service := self.render(name, None)) is not None]
        names = self._stack_names(envs)

        def named(service: Service) -> Service:
            return replace(service, env=names[id(service)]) if id(service) in names else service

        return (
            tuple(replace(env, services=tuple(map(named, env.services))) if env.services else env for env in envs),
            tuple(declared),
        )

    def _stack_names(self, envs: Sequence[Env]) -> dict[int, Env]:
        """Returns new stacks for rendered services, by their id: `service:db of unit[15]` where the stack of `db`
        differs between envs, with the first env that has it. Those that keep their name are not in it."""
        stacks: dict[str, dict[str, tuple[str, list[Service]]]] = {}
        for env in envs:
            for service in env.services:
                if service.name in self.templated:
                    different = stacks.setdefault(service.name, {})
                    different.setdefault(repr(service.env), (env.name, []))[1].append(service)
        return {
            id(service): replace(service.env, name=f"{service.env.name} of {owner}")
            for different in stacks.values()
            if len(different) > 1
            for owner, services in different.values()
            for service in services
        }


def _check_name(work: LoadContext, name: str, key: YamlNode) -> None:
    host = name.rpartition("/")[2]
    hint = f"the name is a host name: letters, digits and `-`, a letter or digit first and last, at most {MAX_NAME}"
    if host.lower() in RESERVED:
        hint = "choose another name"
        work.problems.add(key, f"the name `{host}` is reserved, and no service can have it", code="name", hint=hint)
    elif not _DNS_LABEL.match(host):
        better = re.sub(r"[^A-Za-z0-9]+", "-", host).strip("-")[:MAX_NAME].strip("-")
        hint += f": `{better}`" if better and better.lower() not in RESERVED else ""
        work.problems.add(key, f"`{host}` cannot be the name of a service", code="name", hint=hint)
    elif _ADDRESS.match(host):
        hint = "programs would take it for an address: begin it with a letter"
        work.problems.add(key, f"`{host}` cannot be the name of a service", code="name", hint=hint)
