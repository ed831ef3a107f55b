"""Reads how this host reaches a registry: mirrors, plain HTTP, and private authorities.

Read are registries.conf by containers-registries.conf(5) (version 2: prefix, location, insecure, blocked, mirror),
docker's daemon.json (registry-mirrors, insecure-registries), and the certs.d of both. Short names and aliases are not
read: a name without a registry is one of docker.io.
"""

from __future__ import annotations

import json
import os
import urllib.parse
from collections.abc import Iterator, Mapping

from envtool import net
from envtool.errors import FetchError
from envtool.lazy_dataclass import dataclass
from envtool.model import Json
from envtool.net.oci.reference import ALIASES, DOCKER_HUB, Reference

INSECURE = "ENVTOOL_INSECURE_REGISTRIES"
HUB_API = ALIASES[1]  # the host of docker.io's API
CERTIFICATE_DIRECTORIES = ("/etc/containers/certs.d", "/etc/docker/certs.d")
SYSTEM_FILE = "/etc/containers/registries.conf"
DAEMON_FILE = "/etc/docker/daemon.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """A repository at one host. Credentials are stored for `registry`; `host` is the host of its API."""

    registry: str
    repository: str
    plain: bool = False  # plain HTTP is allowed, by this host's configuration
    mirror: bool = False

    @property
    def host(self) -> str:
        """host[:port] of the API."""
        return HUB_API if self.registry == DOCKER_HUB else self.registry

    @property
    def root(self) -> str:
        """The API's URL, up to and including /v2/."""
        return f"{'http' if self.plain else 'https'}://{self.host}/v2/"


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistryRule:
    """A `[[registry]]` of registries.conf. `mirrors` are (location, insecure, pull-from-mirror)."""

    prefix: str
    location: str
    insecure: bool = False
    blocked: bool = False
    mirrors: tuple[tuple[str, bool, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistryHosts:
    """The configuration of registries on this host."""

    rules: tuple[RegistryRule, ...] = ()
    insecure: frozenset[str] = frozenset()  # host[:port]

    def pull_endpoints(self, reference: Reference) -> tuple[Endpoint, ...]:
        """Returns the endpoints to pull from, in order: mirrors first, the registry itself last. Raises FetchError
        (code registry-blocked)."""
        rule = self._find_rule(reference)
        if rule is None:
            return (self._endpoint(reference.name, False, False),)
        modes = ("", "all", "digest-only" if reference.digest else "tag-only")
        mirrors = [
            self._endpoint(_rewrite_name(reference.name, rule.prefix, location), insecure, True)
            for location, insecure, mode in rule.mirrors
            if mode in modes
        ]
        return (*mirrors, self.push_endpoint(reference))

    def push_endpoint(self, reference: Reference) -> Endpoint:
        """Returns the endpoint to push to: the registry itself, at its configured location. Raises FetchError (code
        registry-blocked)."""
        rule = self._find_rule(reference)
        if rule is None:
            return self._endpoint(reference.name, False, False)
        return self._endpoint(_rewrite_name(reference.name, rule.prefix, rule.location), rule.insecure, False)

    def allows_http(self, netloc: str) -> bool:
        """Returns whether this host's configuration allows plain HTTP to host[:port], for any repository."""
        rules = (rule.location for rule in self.rules if rule.insecure)
        mirrors = (location for rule in self.rules for location, insecure, _ in rule.mirrors if insecure)
        return netloc in self.insecure or any(location.partition("/")[0] == netloc for location in (*rules, *mirrors))

    def _find_rule(self, reference: Reference) -> RegistryRule | None:
        fitting = [rule for rule in self.rules if _matches_prefix(reference.name, rule.prefix)]
        rule = max(fitting, key=lambda rule: len(rule.prefix.removeprefix("*")), default=None)
        if rule is not None and rule.blocked:
            text = f"{reference}: registries.conf of this host blocks {rule.prefix}"
            raise FetchError(text, code="registry-blocked")
        return rule

    def _endpoint(self, name: str, insecure: bool, mirror: bool) -> Endpoint:
        registry, _, repository = name.partition("/")
        plain = insecure or registry in self.insecure
        return Endpoint(registry=registry, repository=repository, plain=plain, mirror=mirror)


def load(environ: Mapping[str, str] | None = None) -> RegistryHosts:
    """Reads the configuration of this host, and trusts its registries' own authorities (`net.trust_host`). Raises
    FetchError (code registry-configuration)."""
    environ = os.environ if environ is None else environ
    rules: dict[str, RegistryRule] = {}
    for path in _configuration_files(environ):
        for rule in _read_rules(path):
            rules[rule.prefix] = rule
    for directory in (*reversed(CERTIFICATE_DIRECTORIES), os.path.join(_user_directory(environ), "certs.d")):
        _trust_certificates(directory)
    mirrors, insecure = _read_daemon_json(DAEMON_FILE)
    if mirrors and DOCKER_HUB not in rules:
        rules[DOCKER_HUB] = RegistryRule(prefix=DOCKER_HUB, location=DOCKER_HUB, mirrors=mirrors)
    insecure |= {item.strip() for item in environ.get(INSECURE, "").split(",")} - {""}
    return RegistryHosts(rules=tuple(rules.values()), insecure=frozenset(insecure))


def _read_daemon_json(path: str) -> tuple[tuple[tuple[str, bool, str], ...], set[str]]:
    """Returns the mirrors of docker.io, and the registries to which docker speaks plain HTTP (host[:port] only:
    networks given by their address are ignored)."""
    try:
        with open(path, "rb") as file:
            top = json.load(file)
        mirrors = [urllib.parse.urlsplit(str(url)) for url in top.get("registry-mirrors") or ()]
        insecure = {str(host) for host in top.get("insecure-registries") or () if "/" not in str(host)}
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return (), set()
    except (OSError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise FetchError(f"{path}: {error}", code="registry-configuration") from error
    located = [(f"{url.netloc}{url.path}".rstrip("/"), url.scheme == "http", "") for url in mirrors if url.netloc]
    return tuple((location, plain or location in insecure, mode) for location, plain, mode in located), insecure


def _configuration_files(environ: Mapping[str, str]) -> Iterator[str]:
    """Yields the files to read. If two have a rule for one prefix, the later file wins."""
    user_file = os.path.join(_user_directory(environ), "registries.conf")
    configured = environ.get("CONTAINERS_REGISTRIES_CONF") or environ.get("REGISTRIES_CONFIG_PATH")
    if configured:
        yield configured
        return
    main = user_file if os.path.exists(user_file) else SYSTEM_FILE
    if os.path.exists(main):
        yield main
    for directory in (SYSTEM_FILE + ".d", user_file + ".d"):
        try:
            names = sorted(os.listdir(directory))
        except OSError:
            continue
        yield from (os.path.join(directory, name) for name in names if name.endswith(".conf"))


def _user_directory(environ: Mapping[str, str]) -> str:
    """Returns the user's own directory of configuration of containers."""
    home = environ.get("HOME") or os.path.expanduser("~")
    return os.path.join(environ.get("XDG_CONFIG_HOME") or os.path.join(home, ".config"), "containers")


def _read_rules(path: str) -> list[RegistryRule]:
    import tomllib

    try:
        with open(path, "rb") as file:
            top = tomllib.load(file)
        return [_parse_rule(item) for item in top.get("registry", [])]
    except OSError as error:
        raise FetchError(f"{path}: {error.strerror}", code="registry-configuration") from error
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        raise FetchError(f"{path}: {error}", code="registry-configuration") from error


def _parse_rule(item: Mapping[str, Json]) -> RegistryRule:
    location = str(item.get("location") or "")
    prefix = str(item.get("prefix") or location)
    if not prefix:
        raise ValueError("a [[registry]] has neither prefix nor location")
    by_digest = "digest-only" if item.get("mirror-by-digest-only") else ""
    mirrors: list[tuple[str, bool, str]] = []
    listed = item.get("mirror") or []
    if not isinstance(listed, list):
        raise ValueError(f"the mirrors of {prefix} are no array")  # noqa: TRY004 - one error for all of the file
    for mirror in listed:
        if not isinstance(mirror, dict) or not mirror.get("location"):
            raise ValueError(f"a mirror of {prefix} has no location")
        mode = by_digest or str(mirror.get("pull-from-mirror") or "")
        mirrors.append((str(mirror["location"]).rstrip("/"), bool(mirror.get("insecure")), mode))
    return RegistryRule(
        prefix=prefix.rstrip("/"),
        location=(location or ("" if prefix.startswith("*.") else prefix)).rstrip("/"),
        insecure=bool(item.get("insecure")),
        blocked=bool(item.get("blocked")),
        mirrors=tuple(mirrors),
    )


def _matches_prefix(name: str, prefix: str) -> bool:
    if prefix.startswith("*."):
        host, slash, path = prefix[1:].partition("/")
        registry, _, repository = name.partition("/")
        return registry.endswith(host) and (not slash or repository == path or repository.startswith(path + "/"))
    return name == prefix or name.startswith(prefix + "/")


def _rewrite_name(name: str, prefix: str, location: str) -> str:
    if not location:
        return name
    if prefix.startswith("*."):
        registry, _, _ = name.partition("/")
        return location + name.removeprefix(registry)
    return location + name.removeprefix(prefix)


def _trust_certificates(directory: str) -> None:
    """Trusts the files in certs.d/HOST[:PORT]/: *.crt are authorities, *.cert with *.key of the same name are client
    certificates."""
    try:
        hosts = os.listdir(directory)
    except OSError:
        return
    for host in hosts:
        host_directory = os.path.join(directory, host)
        try:
            names = sorted(os.listdir(host_directory))
        except OSError:
            continue
        authorities = tuple(os.path.join(host_directory, name) for name in names if name.endswith(".crt"))
        pairs = [(name, name.removesuffix(".cert") + ".key") for name in names if name.endswith(".cert")]
        identities = tuple(
            (os.path.join(host_directory, certificate), os.path.join(host_directory, key))
            for certificate, key in pairs
            if key in names
        )
        if authorities or identities:
            net.trust_host(HUB_API if host == DOCKER_HUB else host, authorities, identities)
