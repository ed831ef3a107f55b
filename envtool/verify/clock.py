"""Gets libfaketime from the archive of each base, so that it fits the base's C library."""

from __future__ import annotations

import os
import threading

from envtool.api import Base
from envtool.build.context import Context
from envtool.build.site import ContainerSite
from envtool.build.stack import StoredLayer
from envtool.errors import EnvtoolError

NO_LIBRARY = "the clock could not be moved: the base's archive has no libfaketime"


class FaketimeLibraries:
    """Fetches the library of each base once, and stores it in `directory`."""

    def __init__(self, context: Context, directory: str) -> None:
        self._setting = context
        self._directory = directory
        self._libraries: dict[str, tuple[str, str]] = {}
        self._lock = threading.Lock()

    def library_for(self, base: StoredLayer) -> tuple[str, str]:
        """Returns the path of the library (empty if there is none), and a note for the report (empty if there is
        nothing to say)."""
        with self._lock:
            key = base.resolved.node.id
            if key not in self._libraries:
                self._libraries[key] = self._find(base)
            return self._libraries[key]

    def _find(self, base: StoredLayer) -> tuple[str, str]:
        resolved = base.resolved
        site = ContainerSite(self._setting, resolved.request, (), f"verify:{resolved.node.id}")
        if not isinstance(resolved.node.kind, Base):  # a sublayer, which stands alone
            return "", NO_LIBRARY
        try:
            content = resolved.node.kind.faketime(resolved.request, resolved.pins, site)
        except EnvtoolError as error:
            self._setting.cancel.check()
            return "", f"the clock could not be moved: {error.message}"
        if content is None:
            return "", NO_LIBRARY
        path = os.path.join(self._directory, f"{resolved.node.id}.so")
        with open(path, "wb") as file:
            file.write(content)
        os.chmod(path, 0o644)
        return path, ""
