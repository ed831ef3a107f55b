"""The host's pip configuration is read once for a run, however many layers ask for it."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from envtool_python import pip_config

from envtool import api
from envtool.testing import MemorySite


class CountingSite(MemorySite):
    """Counts the starts of pip; with `status`, pip fails."""

    status = 0

    def __init__(self):
        super().__init__()
        self.starts = []
        self._lock = threading.Lock()

    def host_pip(self, *arguments, variables=None):
        self.starts.append(arguments)
        listing = b"global.index-url='https://ann:s3cret@h.invalid/simple'\n"
        error = b"WARNING: old\nERROR: no https://ann:s3cret@h.invalid/simple\n" if self.status else b""
        return api.Completed(status=self.status, stdout=listing, stderr=error)

    def shared(self, name, make):
        with self._lock:
            return super().shared(name, make)


def test_one_run_starts_the_hosts_pip_once():
    site = CountingSite()
    with ThreadPoolExecutor(4) as pool:
        answers = [*pool.map(pip_config.read_index, [site] * 8)]
    assert site.starts == [("config", "list")]
    assert {answer.variables["PIP_INDEX_URL"] for answer in answers} == {"https://ann:s3cret@h.invalid/simple"}
    another = CountingSite()
    pip_config.read_index(another)  # another run: what the user has changed since counts
    assert len(another.starts) == 1


def test_a_failure_is_every_layers():
    site = CountingSite()
    site.status = 1
    for _ in range(2):
        with pytest.raises(api.ResolveError) as refused:
            pip_config.read_index(site)
        assert refused.value.message == "pip config failed on this machine: no https://****@h.invalid/simple"


def test_an_index_that_the_hosts_pip_cannot_reach():
    error = "'NewConnectionError('<x>: Failed to establish a new connection: [Errno 111] Connection refused')'"
    output = (
        f"WARNING: Retrying (Retry(total=0)) after connection broken by {error}: /simple/pip/\n"
        "ERROR: Could not find a version that satisfies the requirement pip (from versions: none)\n"
        "ERROR: No matching distribution found for pip\n"
    )

    class Site(MemorySite):
        def host_pip(self, *arguments, variables=None):
            return api.Completed(status=1, stdout=b"", stderr=output.encode())

    with pytest.raises(api.ResolveError) as refused:
        pip_config.run_host_pip(Site(), "install", "pip", variables={})
    assert refused.value.message == "`pip`: pip cannot reach an index that it reads: Connection refused"
    output = "ERROR: something else\n"
    with pytest.raises(api.ResolveError) as refused:
        pip_config.run_host_pip(Site(), "install", "pip", variables={})
    assert refused.value.message == "pip install failed on this machine: something else"
