"""`limit:` of what is fetched without a size."""

from __future__ import annotations

import jsonschema_rs
import pytest

from envtool.api import Request
from envtool.kinds.fetch import FetchLayer, parse_limit
from envtool.kinds.tarball import Tarball
from envtool.model import Where

SHA = "0" * 64
WHERE = Where(file="e", line=1, column=1)


@pytest.mark.parametrize(
    ("said", "size"), [("20GiB", 20 << 30), ("5 MB", 5_000_000), (7, 7), ("1.5g", 1_500_000_000), (None, 0)]
)
def test_what_may_be_said(said, size):
    options = {"url": "https://x.invalid/a.tar", "sha256": SHA, "to": "/opt"} | ({"limit": said} if said else {})
    jsonschema_rs.validate(FetchLayer.schema, options)
    assert parse_limit(options) == size
    (fetch,) = FetchLayer().fetches(
        Request(name="l", options=options, inputs=(), arch="x86_64", epoch=0, where=WHERE), None
    )
    assert fetch.limit == size
    base = {key: value for key, value in options.items() if key != "to"}
    jsonschema_rs.validate(Tarball.schema, base)
    request = Request(name="b", options=base, inputs=(), arch="x86_64", epoch=0, where=WHERE)
    (fetch,) = Tarball().fetches(request, {"url": base["url"], "sha256": SHA})
    assert fetch.limit == size


@pytest.mark.parametrize("said", ["", "-1", 0, -1, 1.5, True, "9" * 5000, "1e3", "2PiB", 1 << 61, "٣"])
def test_what_may_not_be_said(said):
    options = {"url": "https://x.invalid/a.tar", "sha256": SHA, "to": "/opt", "limit": said}
    assert not jsonschema_rs.is_valid(FetchLayer.schema, options)
