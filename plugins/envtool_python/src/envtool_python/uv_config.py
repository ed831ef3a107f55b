"""pip's configuration of this machine -> variables of uv. Pure.

uv reads no pip configuration. Indexes, extra indexes, find-links, certificates, proxies, trusted hosts, time limits and
the credentials in URLs mean the same to both; several indexes have no order for pip, which takes the best version of
all: uv's `unsafe-best-match`. Sources: uv's reference of environment variables, pip's "Configuration".
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from envtool.api.pip_indexes import is_on

if TYPE_CHECKING:
    from collections.abc import Mapping

    from envtool_python.pip_config import PipConfig

_SAME = {  # of pip -> of uv
    "PIP_INDEX_URL": ("UV_INDEX_URL",),
    "PIP_EXTRA_INDEX_URL": ("UV_EXTRA_INDEX_URL",),
    "PIP_TRUSTED_HOST": ("UV_INSECURE_HOST",),
    "PIP_DEFAULT_TIMEOUT": ("UV_HTTP_TIMEOUT",),
    "PIP_TIMEOUT": ("UV_HTTP_TIMEOUT",),  # pip's older and newer name
    "PIP_RETRIES": ("UV_HTTP_RETRIES",),
    "PIP_CERT": ("SSL_CERT_FILE",),
    "PIP_CLIENT_CERT": ("SSL_CLIENT_CERT",),
}


def uv_variables(config: PipConfig) -> dict[str, str]:
    """Returns the variables with which uv in a container looks where the host's pip looks, with its credentials."""
    variables: Mapping[str, str] = config.variables
    translated = {"UV_INDEX_STRATEGY": "unsafe-best-match"}
    for name, uv_names in _SAME.items():
        if name in variables:
            translated |= dict.fromkeys(uv_names, variables[name])
    if is_on(variables.get("PIP_NO_INDEX", "")):
        translated["UV_NO_INDEX"] = "1"
    if proxy := variables.get("PIP_PROXY"):
        url = proxy if "://" in proxy else f"http://{proxy}"
        translated |= dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"), url)
    bound = {bind.target for bind in config.binds}
    if locations := [place for place in variables.get("PIP_FIND_LINKS", "").split() if _exists(place, bound)]:
        translated["UV_FIND_LINKS"] = ",".join(locations)
    return translated


def _exists(location: str, bound: set[str]) -> bool:
    """Whether a location of find-links exists in the container: pip skips a directory that does not, uv ends."""
    path = location.removeprefix("file://")
    return not path.startswith("/") or path.rstrip("/").removesuffix("/simple") in bound or path.rstrip("/") in bound
