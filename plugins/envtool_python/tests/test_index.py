"""The host's pip configuration reaches containers without its secrets reaching anything that is kept."""

from __future__ import annotations

import pytest
from envtool_python.pip_config import (
    config_for_options,
    file_name,
    is_backend_failure,
    last_words,
)

from envtool.api.pip_indexes import parse_config_list, redact_credentials, strip_credentials

LISTING = """\
global.constraint='/etc/limits.txt'
global.extra-index-url='https://one.invalid/simple\\nhttps://ann:s3cret@two.invalid/simple'
global.index-url='https://low.invalid/simple'
install.index-url='https://high.invalid/simple'
:env:.timeout='7'
global.timeout='3'
freeze.timeout='9'
"""


def test_sections_have_pips_order_and_constraints_stay_out():
    options = parse_config_list(LISTING)
    assert options["index-url"] == "https://high.invalid/simple"
    assert options["timeout"] == "7"
    index = config_for_options(options)
    assert index.variables["PIP_EXTRA_INDEX_URL"].split() == [
        "https://one.invalid/simple",
        "https://ann:s3cret@two.invalid/simple",
    ]
    assert not any("CONSTRAINT" in name for name in index.variables)


def test_credentials_come_back_for_their_host_alone():
    index = config_for_options(parse_config_list(LISTING))
    assert index.opened("https://two.invalid/a-1.whl") == "https://ann:s3cret@two.invalid/a-1.whl"
    assert index.opened("https://one.invalid/a-1.whl") == "https://one.invalid/a-1.whl"
    assert strip_credentials("https://ann:s3cret@two.invalid/a%2B1.whl#sha256=00") == "https://two.invalid/a%2B1.whl"
    assert "s3cret" not in redact_credentials("ERROR: 401 for https://ann:s3cret@two.invalid/simple")
    assert file_name("https://two.invalid/d/a-1%2Bcpu.whl") == "a-1+cpu.whl"


def test_directories_and_certificates_are_shown_at_known_places(tmp_path):
    (tmp_path / "pypi" / "simple").mkdir(parents=True)
    (tmp_path / "wheels").mkdir()
    pem = tmp_path / "ca.pem"
    pem.write_text("x")
    options = {"index-url": f"file://{tmp_path}/pypi/simple", "find-links": f"{tmp_path}/wheels", "cert": str(pem)}
    index = config_for_options(options)
    assert {(bind.source, bind.target) for bind in index.binds} == {
        (f"{tmp_path}/pypi", f"{tmp_path}/pypi"),
        (f"{tmp_path}/wheels", f"{tmp_path}/wheels"),
        (str(pem), "/run/envtool/python/cert.pem"),
    }
    assert index.variables["PIP_CERT"] == "/run/envtool/python/cert.pem"


def test_the_reason_is_what_pip_called_an_error():
    text = (
        "WARNING: old\nERROR: Could not find a version that satisfies the requirement x==9 "
        "(from versions: 1, 2, 3, 4, 5, 6, 7)\nERROR: No matching distribution found for x==9\n"
        "envtool: pip ended with 1\n"
    )
    assert last_words(text) == (
        "could not find a version that satisfies the requirement x==9 (newest versions: 3, 4, 5, 6, 7); "
        "No matching distribution found for x==9"
    )
    assert last_words("talk\nenvtool: no venv") == "no venv"
    assert last_words("") == "it said nothing"


TRACEBACK = """\
Traceback (most recent call last):
  File "a.py", line 1, in <module>
    raise OldError
OldError: not this

During handling of the above exception, another exception occurred:

Traceback (most recent call last):
  File "a.py", line 3, in <module>
    f()
lib.errors.NoTagError:
there is no tag
  and more

"""
SAID = "envtool: the build backend b failed (get_requires_for_build_wheel)\n"


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (TRACEBACK + SAID, "lib.errors.NoTagError: there is no tag"),
        ("talk\nerror: libfoo is needed\nbye\n" + SAID, "libfoo is needed"),
        ("Error: pg_config executable not found.\n\nread this\n" + SAID, "pg_config executable not found"),
        ("meson.build:3:0: ERROR: Dependency x not found\nA full log is at y\n" + SAID, "dependency x not found"),
        ("give up\n" + SAID, "give up"),
        (SAID, ""),
    ],
)
def test_a_build_backends_own_last_words_are_the_reason(text, wanted):
    assert is_backend_failure(text)
    said = last_words(text)
    assert said.startswith("the build backend b failed (get_requires_for_build_wheel)")
    assert said.lower().endswith(wanted.lower())


def test_what_a_build_under_pip_said_last_is_the_reason():
    text = "  error: subprocess-exited-with-error\n  × python setup.py egg_info did not run.\n  │ exit code: 1\n"
    text += "  ╰─> [9 lines of output]\n"
    text += "".join(f"      {line}\n" for line in TRACEBACK.splitlines())
    text += (
        "      [end of output]\n\n  note: This error originates from a subprocess\nerror: metadata-generation-failed\n"
    )
    assert is_backend_failure(text)
    assert last_words(text + "envtool: pip ended with 1\n") == "lib.errors.NoTagError: there is no tag"
    assert not is_backend_failure("ERROR: No matching distribution found for x==9\nenvtool: pip ended with 1\n")
