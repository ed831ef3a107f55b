"""kill -9 at random moments of lock, fetch and layer builds: nothing wrong is ever left, and the next run mends."""

from __future__ import annotations

import hashlib
import json
import signal
import time

import pytest

from envtool.container import userns
from envtool.lock import text_format
from envtool.store import canonical
from tests.places import _me, fresh_place

pytestmark = pytest.mark.e2e

FILES = {f"/file{number}": bytes([number]) * (700_000 + number) for number in range(6)}


def spec(url: str, round_: int) -> str:
    """Six files and three layers of commands, other ones each round."""
    rows = "".join(
        f"  f{number}: {{fetch: {{url: '{url}{path}', sha256: '{hashlib.sha256(body).hexdigest()}', to: /opt{path}}}}}\n"
        for number, (path, body) in enumerate(FILES.items())
    )
    runs = "".join(
        f'  r{number}: {{run: "mkdir -p /opt/{number}; for i in 1 2 3 4 5 6 7 8; do echo {round_} $i > /opt/{number}/$i; done"}}\n'
        for number in range(3)
    )
    names = ", ".join([*(f"f{number}" for number in range(6)), "r0", "r1", "r2"])
    return f"layers:\n{rows}{runs}envs:\n  unit:\n    layers: [{names}]\n    tasks: {{test: cat /opt/2/8}}\n"


def wrong(place, right: set[str]) -> list[str]:
    """What is in the store or beside the spec that is not whole; `right` are layers that were looked at before."""
    lock = place.project / "envtool.lock"
    if lock.exists():
        text_format.loads(lock.read_text())  # raises where it is not whole
    blobs = place.store.glob("blobs/sha256/*/*")
    found = [f"blob {path.name}" for path in blobs if hashlib.sha256(path.read_bytes()).hexdigest() != path.name]
    for path in place.store.glob("layers/*"):
        if path.name in right:
            continue
        if not (path / "layer.json").exists():
            found.append(f"half a layer {path.name}")
            continue
        known = json.loads((path / "layer.json").read_text())
        epoch = known["document"]["epoch"]
        # in place, which changes nothing of what is canonical already
        diff_id, size, entries = userns.run_as_root(canonical.capture, ".", epoch, (), at=str(path / "tree"))
        if (diff_id, size, entries) != (known["diff_id"], known["size"], known["entries"]):
            found.append(f"layer {path.name} is {diff_id}, not {known['diff_id']}")
        right.add(path.name)
    return found


def test_random_moments(server, depth):
    """The seed is the commit's (tests/depth.py)."""
    draw, moment = depth.random, 0
    server.files = dict(FILES)
    server.pause = 0.002
    with fresh_place(_me()) as place:
        place.spec(spec(server.url, 0))
        assert place.envtool("test").status == 0
        whole = {}  # seconds that each verb takes where nobody kills it
        for verb in ("lock", "fetch", "test"):
            place.spec(spec(server.url, -1 - len(whole)))
            began = time.monotonic()
            assert place.envtool(verb, "-q").status == 0
            whole[verb] = time.monotonic() - began
        killed, right = 0, set()
        for moment in depth.times(10, 200):
            place.spec(spec(server.url, moment))
            if moment % 10 == 0:  # fetched again
                for path in place.store.glob("blobs/sha256/*/*"):
                    path.unlink()
            verb = draw.choice([*whole])
            process = place.start(verb, "-q")
            time.sleep(draw.uniform(0, whole[verb]))
            if process.poll() is None:
                killed += 1
                process.send_signal(signal.SIGKILL)
            process.communicate()
            place.until(lambda: not place.processes(), "nothing runs any more", 10)
            assert not wrong(place, right), f"moment {moment}, {verb}"
        assert killed > moment // 4, "the moments were not in the middle of anything"
        server.pause = 0.0
        done = place.envtool("test", "--json", "--again")
        assert done.status == 0, done.said
        assert done.log() == f"{moment} 8\n"
        assert place.envtool("lock").status == 0
        assert not wrong(place, right)
        assert not place.left()
