"""What all tests share: who calls and where (places.py, accounts.py), real registries (registries.py), how much is run (depth.py), what
a test leaves (leftovers.py), how long things may take (load.py)."""

from __future__ import annotations

import shutil
import signal

import pytest

PROGRAMS = {"git", "ldd", "openssl", "ssh-keygen", "strace", "unshare", "mount", "gzip", "xz", "zstd"}

pytest.register_assert_rewrite("tests.places", "tests.registries")

from envtool import errors  # noqa: E402
from envtool.fs import beneath  # noqa: E402
from tests import places  # noqa: E402
from tests.depth import (  # noqa: E402
    configure,
    depth,  # noqa: F401
    pytest_collection_modifyitems,  # noqa: F401
    pytest_make_collect_report,  # noqa: F401
    pytest_report_header,  # noqa: F401
    pytest_runtest_logreport,  # noqa: F401
    pytest_sessionfinish,  # noqa: F401
    pytest_terminal_summary,  # noqa: F401
    pytest_testnodedown,  # noqa: F401
)
from tests.places import caller, common, few_descriptors, fresh, place, server, warm_store  # noqa: E402, F401
from tests.registries import (  # noqa: E402
    certificates,  # noqa: F401
    password_registry,  # noqa: F401
    registry,  # noqa: F401
    tls_registry,  # noqa: F401
    token_registry,  # noqa: F401
)


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    configure(config)
    # What a shell's `&`, or nohup, has ignored stays ignored in what tests start, which would be deaf to it.
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if signal.getsignal(signal.SIGHUP) == signal.SIG_IGN:
        signal.signal(signal.SIGHUP, lambda *_: None)
    if not hasattr(config, "workerinput"):
        top = places.begin()
        config.add_cleanup(lambda: places.end(top))


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    """A command is one process, holds one project for its life, and warns of a plugin once; tests that call our
    functions are many in one."""
    beneath.release_projects()
    errors.forget_faults()


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown() -> None:
    """The trees that are too deep for pytest are removed here, whatever became of their test."""
    places.remove_nested()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo):
    """A test that could not start a program, since this machine has none of that name, is skipped, and says which."""
    report = yield
    error = call.excinfo.value if call.excinfo else None
    name = getattr(error, "filename", None) if isinstance(error, FileNotFoundError) else None
    if isinstance(name, str) and "/" not in name and name in PROGRAMS and not shutil.which(name):
        report.outcome = "skipped"
        report.longrepr = (str(item.path), item.location[1] or 0, f"Skipped: {name} is not installed")
    return report
