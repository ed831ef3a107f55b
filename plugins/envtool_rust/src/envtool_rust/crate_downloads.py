"""Where a crate's file is on this machine's registries: https://doc.rust-lang.org/cargo/reference/registry-index.html."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

from envtool import api
from envtool_rust.cargo_config import CargoConfig
from envtool_rust.cargo_lock import LockedCrate

_MARKS = ("{crate}", "{version}", "{prefix}", "{lowerprefix}", "{sha256-checksum}")


def file_name(crate: LockedCrate) -> str:
    """Returns the name of a crate's file in a build, and in a local registry: "serde-1.0.0.crate"."""
    return f"{crate.name}-{crate.version}.crate"


def index_prefix(name: str) -> str:
    """Returns the directory of a crate in an index: "se/rd" for serde."""
    if len(name) < 3:
        return str(len(name))
    return f"3/{name[0]}" if len(name) == 3 else f"{name[:2]}/{name[2:4]}"


def download_url(template: str, crate: LockedCrate) -> str:
    """Returns the URL of a crate's file by `dl` of an index's config.json."""
    if not any(mark in template for mark in _MARKS):
        return f"{template}/{crate.name}/{crate.version}/download"
    values = (crate.name, crate.version, index_prefix(crate.name), index_prefix(crate.name.lower()), crate.sha256)
    for mark, value in zip(_MARKS, values, strict=True):
        template = template.replace(mark, value)
    return template


def parse_index_config(content: bytes, label: str) -> tuple[str, bool]:
    """Returns `dl` of an index's config.json, and whether its downloads want a token. Raises ResolveError."""
    try:
        document = json.loads(content)
    except (ValueError, RecursionError):
        document = None
    template = document.get("dl") if isinstance(document, dict) else None
    if not isinstance(template, str) or urlsplit(template.partition("{")[0]).scheme not in ("http", "https"):
        raise api.ResolveError(f"{label}: its config.json does not say where crates are", code="cargo-index")
    return template.rstrip("/"), document.get("auth-required") is True


class CrateLocator:
    """Finds the files of crates, and asks each index once. `default` gets the name of a crate and returns the
    content of config.json of cargo's own registry: it is called if this machine configures no other. `name` is that of
    the kind."""

    def __init__(self, config: CargoConfig, site: api.Site, default: Callable[[str], bytes], *, name: str) -> None:
        self._config = config
        self._site = site
        self._default = default
        self._name = name
        self._templates: dict[str, tuple[str, bool]] = {}

    def locate(self, crate: LockedCrate) -> tuple[str, str]:
        """Returns the URL of a crate's file and the header Authorization for it, empty for none. Raises ResolveError,
        FetchError."""
        origin = self._config.origin(crate.registry)
        if origin.directory:
            self._site.own(origin.directory)
            return Path(os.path.join(origin.directory, file_name(crate))).as_uri(), ""
        if origin.index not in self._templates:
            self._templates[origin.index] = self._ask(origin.index, origin.token, crate)
        template, wants_token = self._templates[origin.index]
        return download_url(template, crate), origin.token if wants_token else ""

    def _ask(self, index: str, token: str, crate: LockedCrate) -> tuple[str, bool]:
        if not index:
            content = self._site.shared(f"{self._name}: its own registry", lambda: self._default(crate.name))
            return parse_index_config(content, "cargo's own registry")
        if not index.startswith("sparse+"):
            raise api.ResolveError(
                f"the registry {_displayed(index)} has an index in git, which is not supported",
                code="cargo-index",
                hint="use its sparse index, whose URL begins with `sparse+`: in cargo's configuration of this machine,"
                " or in Cargo.toml and Cargo.lock",
            )
        url = f"{index.removeprefix('sparse+').rstrip('/')}/config.json"
        if not token:
            return parse_index_config(self._site.get(url), _displayed(index))
        (fetch,) = self._site.learn([api.Sealed(urls=(url,), name="config.json", authorization=token)])
        (path,) = self._site.fetch([fetch])
        return parse_index_config(Path(path).read_bytes(), _displayed(index))


def _displayed(index: str) -> str:
    parts = urlsplit(index.removeprefix("sparse+"))
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()
