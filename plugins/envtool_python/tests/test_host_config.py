"""The host's pip configuration is read once for a run, however many layers ask for it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from envtool_python import pip_config

from envtool import api
from envtool.testing import MemorySite


def test_one_run_starts_the_hosts_pip_once(monkeypatch):
    starts = []

    def config_list(*arguments):
        starts.append(arguments)
        return "global.index-url='https://ann:s3cret@h.invalid/simple'\n"

    monkeypatch.setattr(pip_config, "run_host_pip", config_list)
    site = MemorySite()
    with ThreadPoolExecutor(4) as pool:
        answers = [*pool.map(pip_config.read_index, [site] * 8)]
    assert starts == [("config", "list")]
    assert {answer.variables["PIP_INDEX_URL"] for answer in answers} == {"https://ann:s3cret@h.invalid/simple"}
    pip_config.read_index(MemorySite())  # another run: what the user has changed since counts
    assert len(starts) == 2


def test_a_failure_is_every_layers(monkeypatch):
    def fail(*_):
        raise api.ResolveError("pip config failed", code="pip")

    monkeypatch.setattr(pip_config, "run_host_pip", fail)
    site = MemorySite()
    for _ in range(2):
        with pytest.raises(api.ResolveError):
            pip_config.read_index(site)
