"""Makes services of a run fresh, from inside of a task: what they wrote is thrown away, and they start again.

envtool puts this file into the containers of tasks that have services, as the module `envtool_fresh`, a plugin of
pytest and the command `envtool-fresh`. It needs nothing but Python 3.6 or later.

    def test_orders(fresh_service):
        fresh_service("db")             # 50 ms for a PostgreSQL with its prepared data
"""

import os
import socket
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

SOCKET = "/run/envtool/fresh.sock"
SECONDS = 600  # in which a service has to be ready

try:
    if __name__ != "__main__":  # the command does not wait for the import
        import pytest
    else:
        pytest = None  # type: ignore[assignment]
except ImportError:
    pytest = None  # type: ignore[assignment]


class FreshError(Exception):
    """A service could not be made fresh."""


def fresh(name: str) -> None:
    """Throws away what a service has written, starts it anew, and returns when it is ready. Its connections end. Raises
    FreshError for a service that this task does not have, or that was not ready."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        try:
            connection.connect(os.environ.get("ENVTOOL_FRESH", SOCKET))  # waits where many ask; with a limit it fails
            connection.settimeout(SECONDS)
            connection.sendall(f"fresh {name}\n".encode())
            answer = b""
            while not answer.endswith(b"\n"):
                data = connection.recv(4096)
                if not data:
                    break
                answer += data
        except OSError as error:
            raise FreshError(f"service `{name}`: envtool does not answer: {error}") from error
    if answer != b"ok\n":
        raise FreshError(answer.decode("utf-8", "replace").strip() or f"service `{name}`: envtool has ended")


if pytest is not None:

    @pytest.fixture
    def fresh_service() -> "Callable[[str], None]":
        """A function that makes a service of this run fresh: `fresh_service("db")`."""
        return fresh


def main(names: "list[str]") -> int:
    """The command: envtool-fresh SERVICE..."""
    if not names or names[0].startswith("-"):
        sys.stderr.write("usage: envtool-fresh SERVICE...\n")
        return 2
    try:
        for name in names:
            fresh(name)
    except FreshError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
