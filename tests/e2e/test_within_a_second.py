"""^C ends within a second whatever is being made: what heeds no signal, and servers that never answer."""

from __future__ import annotations

import socket
import threading
import time

import pytest

from tests.e2e.test_interrupts import ask
from tests.e2e.test_layers import archive, small_root
from tests.load import allowed

pytestmark = pytest.mark.e2e

LOAD = 1.0  # seconds that a machine with much else to do may add
DEAF = 'trap "" INT TERM; sleep {nap} & wait; sleep {nap}'
SLOW = {
    # what runs, with {url} a server that takes connections and never says a word; and the verb
    "a layer that heeds no signal": ("layers: {{x: {{run: '{deaf}'}}}}\nenvs: {{unit: {{layers: [x]", "test"),
    "the same, for exec": ("layers: {{x: {{run: '{deaf}'}}}}\nenvs: {{unit: {{layers: [x]", "exec unit -- true"),
    "the same, for lock": ("layers: {{x: {{run: '{deaf}'}}}}\nenvs: {{unit: {{layers: [x]", "lock"),
    "the same, for export": ("layers: {{x: {{run: '{deaf}'}}}}\nenvs: {{unit: {{layers: [x]", "export unit x.tar"),
    "a stalled file": ("layers: {{x: {{fetch: {{url: '{url}/x', sha256: {zero}, to: /opt/x}}}}}}\nenvs: {{unit: {{layers: [x]", "test"),
    "a stalled file, for fetch": ("layers: {{x: {{fetch: {{url: '{url}/x', sha256: {zero}, to: /opt/x}}}}}}\nenvs: {{unit: {{layers: [x]", "fetch"),
    "a stalled registry": ("bases: {{x: {{image: '{host}/x:1'}}}}\nenvs: {{unit: {{base: x", "test"),
    "a stalled registry, for exec": ("bases: {{x: {{image: '{host}/x:1'}}}}\nenvs: {{unit: {{base: x", "exec unit -- true"),
    "a stalled archive": ("bases: {{x: {{debian: {{suite: bookworm, mirror: '{url}/'}}}}}}\nenvs: {{unit: {{base: x", "test"),
    "a stalled index": ("envs: {{unit: {{layers: [{{pip: [x]}}]", "test"),
    "a Dockerfile's RUN": ("bases: {{x: {{dockerfile: Dockerfile}}}}\nenvs: {{unit: {{base: x", "test"),
}  # fmt: skip


@pytest.fixture
def silent():
    """A server that takes connections and never says a word: (host and port, what it was sent)."""
    heard: list[bytes] = []
    listening = socket.create_server(("127.0.0.1", 0))
    held = []

    def serve() -> None:
        while True:
            try:
                connection, _ = listening.accept()
                held.append(connection)
                heard.append(connection.recv(1000))
            except OSError:
                return

    threading.Thread(target=serve, daemon=True).start()
    yield f"127.0.0.1:{listening.getsockname()[1]}", heard
    listening.shutdown(socket.SHUT_RDWR)
    listening.close()
    for each in held:
        each.close()


@pytest.mark.sampled(4)
@pytest.mark.one_caller
@pytest.mark.parametrize("case", SLOW)
def test_it_ends_within_a_second(place, silent, case):
    host, heard = silent
    text, verb = SLOW[case]
    deaf = DEAF.format(nap=place.nap)
    place.environ |= {"ENVTOOL_INSECURE_REGISTRIES": host, "PIP_INDEX_URL": f"http://{host}/simple", "PIP_RETRIES": "0"}
    if "Dockerfile" in case:
        tree = {name: path.read_bytes() for name, path in small_root("/bin/sleep").items()}
        place.write("root.tar.gz", archive(tree, mode=0o755))
        place.write("Dockerfile", f"FROM scratch\nADD root.tar.gz /\nRUN {deaf}\n")
    place.spec(text.format(url=f"http://{host}", host=host, zero="ab" * 32, deaf=deaf) + ", tasks: {test: 'true'}}}\n")
    process = place.start(*verb.split())
    place.until(lambda: heard or place.asleep(), "it is under way", 30)
    began = time.monotonic()
    ask(process, "group")
    done = place.finish(process)
    spent = time.monotonic() - began
    assert done.status == 130, done.said
    assert "interrupted" in done.err
    assert spent < LOAD + allowed(1), (case, spent)
    place.check_nothing_left(seconds=15)
