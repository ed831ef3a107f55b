"""A libfaketime for each base, from the base's own archive, so that it fits the C library there."""

from __future__ import annotations

import os
import threading

from envtool.build.context import Context
from envtool.build.resolution import MadeLayer
from envtool.build.site import ContainerSite
from envtool.errors import EnvtoolError

NO_LIBRARY = "the clock could not be moved: the base's archive has no libfaketime"


class FaketimeLibraries:
    """Finds the library for a base once, and keeps it in `directory`."""

    def __init__(self, context: Context, directory: str) -> None:
        self._setting = context
        self._directory = directory
        self._found: dict[str, tuple[str, str]] = {}
        self._lock = threading.Lock()

    def library_for(self, base: MadeLayer) -> tuple[str, str]:
        """The path of the library (empty when there is none), and what there is to say about it."""
        with self._lock:
            key = base.settled.node.id
            if key not in self._found:
                self._found[key] = self._find(base)
            return self._found[key]

    def _find(self, base: MadeLayer) -> tuple[str, str]:
        settled = base.settled
        site = ContainerSite(self._setting, settled.request, (), f"verify:{settled.node.id}")
        try:
            content = settled.node.kind.faketime(settled.request, settled.pins, site)
        except EnvtoolError as error:
            self._setting.cancel.check()
            return "", f"the clock could not be moved: {error.message}"
        if content is None:
            return "", NO_LIBRARY
        path = os.path.join(self._directory, f"{settled.node.id}.so")
        with open(path, "wb") as file:
            file.write(content)
        os.chmod(path, 0o644)
        return path, ""
