"""How this host reaches a registry: mirrors, plain HTTP, and private authorities, by the host's own configuration.

registries.conf as containers-registries.conf(5) has it (version 2: prefix, location, insecure, blocked, mirror),
docker's daemon.json (registry-mirrors, insecure-registries), and certs.d as both have it. Short names and aliases are
not read: a name without a registry is one of docker.io.
"""

from __future__ import annotations

import json
import os
import urllib.parse
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from envtool import net
from envtool.errors import FetchError
from envtool.model import Json
from envtool.net.oci.reference import ALIASES, DOCKER_HUB, Reference

INSECURE = "ENVTOOL_INSECURE_REGISTRIES"
HUB_API = ALIASES[1]  # where docker.io answers
CERTIFICATE_DIRECTORIES = ("/etc/containers/certs.d", "/etc/docker/certs.d")
SYSTEM_FILE = "/etc/containers/registries.conf"
DAEMON_FILE = "/etc/docker/daemon.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """One place of a repository: `registry` is what credentials are kept under, `host` what answers."""

    registry: str
    repository: str
    plain: bool = False  # plain HTTP may be spoken, since somebody asked for it
    mirror: bool = False

    @property
    def host(self) -> str:
        """host[:port] of the API."""
        return HUB_API if self.registry == DOCKER_HUB else self.registry

    @property
    def root(self) -> str:
        """The API's URL, up to and with /v2/."""
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
    """All that this host's configuration says about registries."""

    rules: tuple[RegistryRule, ...] = ()
    insecure: frozenset[str] = frozenset()  # host[:port]

    def pull_endpoints(self, reference: Reference) -> tuple[Endpoint, ...]:
        """Where to pull from, in order: mirrors first, the registry itself last. Raises FetchError
        (registry-blocked)."""
        rule = self._find_rule(reference)
        if rule is None:
            return (self._endpoint(reference.name, False, False),)
        wanted = ("", "all", "digest-only" if reference.digest else "tag-only")
        mirrors = [
            self._endpoint(_rewrite_name(reference.name, rule.prefix, location), insecure, True)
            for location, insecure, pulled in rule.mirrors
            if pulled in wanted
        ]
        return (*mirrors, self.push_endpoint(reference))

    def push_endpoint(self, reference: Reference) -> Endpoint:
        """Where to push to: the registry itself, where its location says. Raises FetchError (registry-blocked)."""
        rule = self._find_rule(reference)
        if rule is None:
            return self._endpoint(reference.name, False, False)
        return self._endpoint(_rewrite_name(reference.name, rule.prefix, rule.location), rule.insecure, False)

    def allows_http(self, netloc: str) -> bool:
        """Whether this host's configuration lets plain HTTP be spoken with host[:port], for whatever repository."""
        rules = (rule.location for rule in self.rules if rule.insecure)
        mirrors = (place for rule in self.rules for place, insecure, _ in rule.mirrors if insecure)
        return netloc in self.insecure or any(place.partition("/")[0] == netloc for place in (*rules, *mirrors))

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
    """Read the configuration of this host and trust its registries' own authorities (`net.trust`). Raises FetchError
    (code registry-configuration)."""
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
    """Mirrors of docker.io, and the registries that docker speaks plain HTTP with (host[:port] alone: networks by their
    address are not read)."""
    try:
        with open(path, "rb") as file:
            top = json.load(file)
        mirrors = [urllib.parse.urlsplit(str(url)) for url in top.get("registry-mirrors") or ()]
        insecure = {str(host) for host in top.get("insecure-registries") or () if "/" not in str(host)}
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return (), set()
    except (OSError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise FetchError(f"{path}: {error}", code="registry-configuration") from error
    found = [(f"{url.netloc}{url.path}".rstrip("/"), url.scheme == "http", "") for url in mirrors if url.netloc]
    return tuple((location, plain or location in insecure, pulled) for location, plain, pulled in found), insecure


def _configuration_files(environ: Mapping[str, str]) -> Iterator[str]:
    """The files to be read; what a later one says of a prefix counts."""
    mine = os.path.join(_user_directory(environ), "registries.conf")
    named = environ.get("CONTAINERS_REGISTRIES_CONF") or environ.get("REGISTRIES_CONFIG_PATH")
    if named:
        yield named
        return
    main = mine if os.path.exists(mine) else SYSTEM_FILE
    if os.path.exists(main):
        yield main
    for directory in (SYSTEM_FILE + ".d", mine + ".d"):
        try:
            names = sorted(os.listdir(directory))
        except OSError:
            continue
        yield from (os.path.join(directory, name) for name in names if name.endswith(".conf"))


def _user_directory(environ: Mapping[str, str]) -> str:
    """The user's own directory for all of this."""
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
    only = "digest-only" if item.get("mirror-by-digest-only") else ""
    mirrors: list[tuple[str, bool, str]] = []
    given = item.get("mirror") or []
    if not isinstance(given, list):
        raise ValueError(f"the mirrors of {prefix} are no array")  # noqa: TRY004 - one error for all of the file
    for mirror in given:
        if not isinstance(mirror, dict) or not mirror.get("location"):
            raise ValueError(f"a mirror of {prefix} has no location")
        pulled = only or str(mirror.get("pull-from-mirror") or "")
        mirrors.append((str(mirror["location"]).rstrip("/"), bool(mirror.get("insecure")), pulled))
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
    """certs.d/HOST[:PORT]/: *.crt are authorities, *.cert with the *.key of that name who we are."""
    try:
        hosts = os.listdir(directory)
    except OSError:
        return
    for host in hosts:
        place = os.path.join(directory, host)
        try:
            names = sorted(os.listdir(place))
        except OSError:
            continue
        authorities = tuple(os.path.join(place, name) for name in names if name.endswith(".crt"))
        pairs = [(name, name.removesuffix(".cert") + ".key") for name in names if name.endswith(".cert")]
        identities = tuple(
            (os.path.join(place, certificate), os.path.join(place, key)) for certificate, key in pairs if key in names
        )
        if authorities or identities:
            net.trust_host(HUB_API if host == DOCKER_HUB else host, authorities, identities)
