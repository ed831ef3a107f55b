"""Fills the directory by which a task asks for fresh services (fresh_server.py): the clients, and a socket.

Imports next to nothing: a task that starts early gets such a directory before the server is there.
"""

from __future__ import annotations

import os
import socket

DIRECTORY = "/run/envtool"  # in the task's container
# Directories that are appended to variables of the task, by the variable's name
VARIABLES = {"PATH": f"{DIRECTORY}/bin", "PYTHONPATH": f"{DIRECTORY}/python"}
_BACKLOG = 16
_METADATA = "Metadata-Version: 2.1\nName: envtool-fresh\nVersion: 1\n"
_ENTRY_POINTS = "[pytest11]\nenvtool_fresh = envtool_fresh\n"
_COMMAND = f"""#!/bin/sh
# Makes services of this run fresh: envtool-fresh SERVICE...
if command -v python3 >/dev/null 2>&1; then
    exec python3 -IS {DIRECTORY}/python/envtool_fresh.py "$@"
fi
exec perl -MIO::Socket::UNIX -e '
    @ARGV or die "usage: envtool-fresh SERVICE...\\n";
    for my $name (@ARGV) {{
        my $connection = IO::Socket::UNIX->new(Peer => "{DIRECTORY}/fresh.sock")
            or die "envtool does not answer: $!\\n";
        print $connection "fresh $name\\n";
        $connection->flush;
        my $answer = <$connection>;
        defined $answer or die "envtool has ended\\n";
        $answer eq "ok\\n" or die $answer;
    }}
' "$@"
"""


def fill(directory: str) -> int:
    """Writes the clients into an empty directory, and makes the socket that they connect to. Returns the socket, which
    listens and does not block. Raises OSError."""
    _write_clients(directory)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
    try:
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:  # the path of a socket may have 107 bytes
            listener.bind(f"/proc/self/fd/{descriptor}/fresh.sock")
            os.chmod("fresh.sock", 0o666, dir_fd=descriptor)
        finally:
            os.close(descriptor)
        listener.listen(_BACKLOG)
        return listener.detach()
    finally:
        listener.close()


def _write_clients(directory: str) -> None:
    """Writes the command `envtool-fresh` and the module `envtool_fresh`, which is a plugin of pytest."""
    source = os.path.join(os.path.dirname(os.path.abspath(__file__)), "fresh_client.py")
    with open(source, encoding="utf-8") as file:
        client = file.read()
    files = {
        "bin/envtool-fresh": (_COMMAND, 0o755),
        "python/envtool_fresh.py": (client, 0o644),
        "python/envtool_fresh-1.dist-info/METADATA": (_METADATA, 0o644),
        "python/envtool_fresh-1.dist-info/entry_points.txt": (_ENTRY_POINTS, 0o644),
    }
    for name, (text, mode) in files.items():
        path = os.path.join(directory, name)
        parent = os.path.dirname(path)
        while not os.path.isdir(parent):
            above = parent
            while not os.path.isdir(os.path.dirname(above)):
                above = os.path.dirname(above)
            os.mkdir(above)
            os.chmod(above, 0o755)  # the container's ids read it, whatever the umask
        with open(path, "x", encoding="utf-8") as file:
            file.write(text)
        os.chmod(path, mode)
