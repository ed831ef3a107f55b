"""What the core offers to a kind that resolves, fetches or explains: its only access to the outside world."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, BinaryIO, Protocol, TypeVar

from envtool.model import Command
from envtool.project.host_access import MAX_FILE_SIZE

if TYPE_CHECKING:
    from pathlib import Path

    from envtool.api.oci_images import Registries
    from envtool.recipe import Bind, Completed, Fetch, Sealed

T = TypeVar("T")


class Site(Protocol):
    """The only access that `resolve` has to the outside world. The core checks what the methods return, or makes it in
    a container."""

    arch: str

    def open(self, path: str, *, limit: int = MAX_FILE_SIZE) -> BinaryIO:
        """Opens a regular file of the project, of at most `limit` bytes. `path` is relative to the project. Read every
        file that the spec, a lock or a file of the project names by this method alone. Follows links that stay in the
        project. Raises ResolveError (codes no-file, outside, not-a-file, too-large)."""

    def url(self, path: str) -> str:
        """Returns the file: URL of a file of the project, for `Kind.locate`."""

    def own(self, place: str) -> None:
        """Permits file: URLs into a directory or file that this machine's own configuration names (a variable, a file
        of pip's or apt's). Never call it for a path that comes from the spec, the pins or a file of the project: their
        file: URLs may lead only into the project, or to paths that the caller allows."""

    def variable(self, name: str) -> str | None:
        """Returns a variable of the caller's environment that a file of the project names, or None if it is not set.
        Raises ResolveError (code pass-not-allowed) if the caller does not allow it."""

    def tags(self, directory: str = "") -> tuple[str, ...]:
        """Returns the names of the tags of the repository that a directory of the project is in; () outside git."""

    def described(self, directory: str, names: Collection[str]) -> str:
        """Returns which of these tags `git describe --tags` names for a directory of the project; "" if none of them is
        reachable from the commit that is checked out, and outside git."""

    def get(self, url: str) -> bytes:
        """Fetches a whole small file, by the host's proxies and certificate authorities. Raises FetchError."""

    def fetch(self, fetches: Sequence[Fetch]) -> list[Path]:
        """Fetches exact files in parallel into the store. Returns their paths in the same order. Raises FetchError."""

    def registries(self) -> Registries:
        """Returns the client of image registries, which all bases and layers of a run share: see api.oci_images."""

    def learn(self, sealed: Sequence[Sealed]) -> list[Fetch]:
        """Fetches files in parallel into the store; checks each by its known hash while it streams. Returns for each,
        in the same order, a Fetch with its sha256, its size and the URL that had the file. Raises FetchError."""

    def run(
        self,
        command: Command,
        *,
        env: Mapping[str, str] | None = None,
        binds: Sequence[Bind] = (),
        network: bool = False,
    ) -> Completed:
        """Runs a command in a throw-away container on the stack below, with the inputs at PROJECT. With `network` the
        container has the host's network, CA bundle and proxy variables. A non-zero exit status raises nothing."""

    def host_pip(self, *arguments: str, variables: Mapping[str, str] | None = None) -> Completed:
        """Runs this machine's own pip, as its user has configured it; with `variables`, by these alone. For commands
        that install nothing: see api.pip_indexes. Raises ResolveError if there is no pip; a non-zero exit status raises
        nothing."""

    def packages_with(self, ends: Sequence[str]) -> Mapping[str, str]:
        """Returns, for each end of a path (`ffi.h`, `bin/cmake`), the package of the base's own distribution that has a
        file with such a path; ends without a known package are left out. For hints: call it after a failure only."""

    def seen(self, sha256: str, url: str) -> None:
        """Remembers, on this machine only, the URL of a file whose pin has none: `locate` gets it as a hint. `url` must
        have no credentials."""

    def keep(self, pieces: Iterable[bytes], *, sha256: str = "") -> Path:
        """Puts a file that has no URL into the store, such as a member of an archive of the project. Returns its path,
        which ends in its sha256. Raises FetchError (code fetch-hash) if `sha256` is set and the file has another."""

    def temporary_directory(self) -> AbstractContextManager[Path]:
        """Returns a new directory of this machine, for a socket or files that a container is given, as a context: it is
        removed at the end, and by a later run if this process is killed before. Raises OSError."""

    def shared(self, name: str, make: Callable[[], T]) -> T:
        """Returns the result of `make`, which is called once for all bases and layers of a run. For a client, say, with
        its connections and tokens. `name` must begin with the name of the kind."""

    def cancelled(self) -> bool:
        """Returns whether the run is about to end. A kind that waits for something itself asks this now and then."""

    def note(self, text: str) -> None:
        """Displays `text` as progress ("resolving 12 requirements")."""
