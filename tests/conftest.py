"""What all tests share: who calls and where (places.py), real registries (registries.py), how much is run (depth.py)."""

from __future__ import annotations

import pytest

pytest.register_assert_rewrite("tests.places", "tests.registries")

from tests.depth import (  # noqa: E402
    depth,
    pytest_collection_modifyitems,
    pytest_configure,
    pytest_report_header,
    pytest_runtest_logreport,
    pytest_terminal_summary,
)
from tests.places import caller, copies_are_removed, fresh, place, server, warm_store  # noqa: E402
from tests.registries import certificates, password_registry, registry, tls_registry, token_registry  # noqa: E402

__all__ = [
    "caller",
    "certificates",
    "copies_are_removed",
    "depth",
    "fresh",
    "password_registry",
    "place",
    "pytest_collection_modifyitems",
    "pytest_configure",
    "pytest_report_header",
    "pytest_runtest_logreport",
    "pytest_terminal_summary",
    "registry",
    "server",
    "tls_registry",
    "token_registry",
    "warm_store",
]
