"""Which Debian suite has which version of a server, and which of them a service gets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from envtool import api

SUITES = ("trixie", "bookworm", "bullseye")  # newest first; a suite that is stable or has long-term support


_VERSION = r"^[0-9]+(\.[0-9]+){0,2}$"


class Product(NamedTuple):
    """A server. `versions` has the version in those of SUITES that have the server, without the number of a fix."""

    title: str
    versions: Mapping[str, str]


class ServerRelease(NamedTuple):
    """The release that a service gets. `suite` is "" if that is not known: on a base of the user's own."""

    version: str
    suite: str
    installs: bool  # whether Debian packages are installed; False: the base has the server already


def schema(product: Product) -> api.Json:
    """Returns the JSON Schema of the value under the kind's name: a version, or true for the newest."""
    return {
        "description": f"{product.title} of a version that Debian has: {', '.join(_listed(product))}. `true`: the "
        "newest of these, or the one that the service's own base has.",
        "examples": [True],
        "type": ["boolean", "number", "string"],
        "pattern": _VERSION,
        "errorMessage": f"a version, as in {product.versions['bookworm']}, or true",
    }


def _listed(product: Product) -> list[str]:
    return [f"{product.versions[suite]} ({suite})" for suite in reversed(SUITES) if suite in product.versions]


def choose_release(product: Product, declaration: api.ServiceDeclaration, kind: str) -> ServerRelease:
    """Returns the release that a declaration asks for. Raises SpecError if no suite, or not the suite of the service's
    own base, has it."""
    wanted = _wanted(product, declaration, kind)
    if declaration.base_kind == "host":
        hint = f"leave `base` out: `{kind}` then brings its own"
        raise spec_error(declaration, f"nothing can be installed on base `host`, not even {product.title}", hint=hint)
    if declaration.base_kind == "debian":
        return _release_of_base(product, declaration, wanted)
    if declaration.base_kind:
        return ServerRelease(version=wanted, suite="", installs=False)
    for suite in SUITES:
        if suite in product.versions and _fits(wanted, product.versions[suite]):
            return ServerRelease(version=product.versions[suite], suite=suite, installs=True)
    there = _listed(product)
    raise spec_error(
        declaration,
        f"no Debian suite has {product.title} {wanted}: there are {', '.join(there[:-1])} and {there[-1]}",
        hint=f"write one of these, or take an image that has it: `{kind}: {wanted}` with "
        f"`base: {{image: {kind}:{wanted}}}`",
    )


def _wanted(product: Product, declaration: api.ServiceDeclaration, kind: str) -> str:
    """Returns the version in the spec; "" for the newest."""
    value = declaration.value
    if value is False:
        hint = f"write `{kind}: true` for the newest, or a version, as in `{kind}: {_listed(product)[0].split()[0]}`"
        raise spec_error(declaration, f"`{kind}: false` is no version of {product.title}", hint=hint)
    if isinstance(value, float):  # 10.10 is 10.1 by then
        message = f"{value} is a number, and versions are text"
        raise spec_error(declaration, message, hint=f'write it in quotes, as in `{kind}: "{value}"`')
    return "" if value is True else str(value)


def _release_of_base(product: Product, declaration: api.ServiceDeclaration, wanted: str) -> ServerRelease:
    options = declaration.base_options
    suite = str(options.get("suite", "")) if isinstance(options, dict) else str(options)
    version = product.versions.get(suite)
    if version is None and suite in SUITES:
        raise spec_error(
            declaration, f"{suite} has no {product.title}", hint=f"leave `base` out: {_listed(product)[-1]}"
        )
    if version is None:  # another suite, of Ubuntu perhaps: apt says whether it has the package
        return ServerRelease(version=wanted, suite="", installs=True)
    if not _fits(wanted, version):
        raise spec_error(
            declaration,
            f"{suite} has {product.title} {version}, not {wanted}",
            hint=f"leave `base` out, or write {version}",
        )
    return ServerRelease(version=version, suite=suite, installs=True)


def _fits(wanted: str, version: str) -> bool:
    return not wanted or version == wanted or version.startswith(f"{wanted}.")


def spec_error(declaration: api.ServiceDeclaration, message: str, *, hint: str) -> api.SpecError:
    """Returns the error of a service, with its place in the spec."""
    text = f"service `{declaration.name}`: {message}"
    return api.SpecError((api.Problem(where=declaration.where, message=text, code="service", hint=hint),))
