"""What pip says, in words of ours: its sentences are those of pip 26."""

from __future__ import annotations

import pytest
from envtool_python.pip_messages import explain_pip_error

INFO = {"implementation": "cpython", "version": "3.11.2", "platform": "linux-x86_64"}
PLACES = {"six": "r.txt:3", "attrs": "r.txt:4"}
A, B = "a" * 64, "b" * 64
HASH = f"""ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE. If you have updated the package versions, \
please update the hashes. Otherwise, examine the package contents carefully; someone may have tampered with them.
    six==1.16.0 from https://h.invalid/six-1.16.0-py2.py3-none-any.whl (from -r /tmp/r.txt (line 1)):
        Expected sha256 {A}
        Expected     or {"c" * 64}
             Got        {B}

envtool: /opt/venv/bin/python pip install --quiet ended with 1
"""
UNPINNED = """ERROR: In --require-hashes mode, all requirements must have their versions pinned with ==. These do not:
    attrs from https://h.invalid/attrs-24-py3-none-any.whl (from -r /tmp/r.txt (line 2))
"""
UNHASHED = f"""ERROR: Hashes are required in --require-hashes mode, but they are missing from some requirements. Here is a \
list of those requirements along with the hashes their downloaded archives actually had. Add lines like these to your \
requirements files to prevent tampering. (If you did not enable --require-hashes manually, note that it turns on \
automatically when any package has a hash.)
    attrs==24 --hash=sha256:{A}
"""
NONE = """ERROR: Could not find a version that satisfies the requirement six (from versions: none)
ERROR: No matching distribution found for six
"""
NEWER = """ERROR: Could not find a version that satisfies the requirement six==99 (from versions: 1.0, 1.1, 1.2, 1.3, 1.4, 1.5)
ERROR: No matching distribution found for six==99
"""
PYTHON = """ERROR: Ignored the following versions that require a different python version: 2.0 Requires-Python >=3.13; 2.1 \
Requires-Python >=3.14,<4
ERROR: Could not find a version that satisfies the requirement six>=2.1 (from versions: 1.0)
ERROR: No matching distribution found for six>=2.1
"""
YANKED = """ERROR: Ignored the following yanked versions: 1.5, 1.7
ERROR: Could not find a version that satisfies the requirement six>1.6 (from versions: 1.0)
ERROR: No matching distribution found for six>1.6
"""
BY = """ERROR: Could not find a version that satisfies the requirement other>=3 (from attrs) (from versions: 1.0, 2.0)
ERROR: No matching distribution found for other>=3
"""
BROKEN = """WARNING: Retrying (Retry(total=0, connect=None, read=None, redirect=None, status=None)) after connection broken by \
%s: /root/+simple/six/
"""
REFUSED = (
    BROKEN
    % """'NewConnectionError('<pip._vendor.urllib3.connection.HTTPSConnection object at 0x7f62f4e8f2d0>: \
Failed to establish a new connection: [Errno 111] Connection refused')'"""
)
PROXY = (
    BROKEN
    % """'ProxyError('Cannot connect to proxy.', NewConnectionError("HTTPSConnection(host='h.invalid', port=443): \
Failed to establish a new connection: [Errno -2] Name or service not known"))'"""
)
SILENT = (
    BROKEN
    % """"ReadTimeoutError("HTTPSConnectionPool(host='h.invalid', port=443): Read timed out. (read timeout=15)")\""""
)
AUTHORITY = (
    BROKEN
    % """'SSLError(SSLCertVerificationError(1, '[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: \
unable to get local issuer certificate (_ssl.c:1006)'))'"""
)
CLOSED = BROKEN % """'RemoteDisconnected('Remote end closed connection without response')'"""
PLAIN_HTTP = """WARNING: The repository located at h.invalid is not a trusted or secure host and is being ignored. If this \
repository is available via HTTPS we recommend you use HTTPS instead, otherwise you may silence this warning and allow it \
anyway with '--trusted-host h.invalid'.
"""
WHEEL = "ERROR: six-1.0-cp39-cp39-win_amd64.whl is not a supported wheel on this platform.\n"


@pytest.mark.parametrize(
    ("text", "said", "hint"),
    [
        (HASH, f"r.txt:3: `six==1.16.0`: the file has another hash than the line says: {B}, not {A}", f"sha256:{B}"),
        (UNPINNED, "r.txt:4: `attrs` has no hash, or no version with `==`", "--generate-hashes"),
        (UNHASHED, "r.txt:4: `attrs==24` has no hash", "--generate-hashes"),
        (NONE, "r.txt:3: `six`: nothing that this Python can install is called `six` where pip looks", "is the name right"),
        (REFUSED + NONE, "r.txt:3: `six`: pip cannot reach an index that it reads: Connection refused", "`pip config list`"),
        (PROXY + NONE, "r.txt:3: `six`: pip cannot reach an index that it reads: Name or service not known", "pip download six"),
        (SILENT + NONE, "r.txt:3: `six`: pip cannot reach an index that it reads: Read timed out", "`pip config list`"),
        (AUTHORITY + NONE, "r.txt:3: `six`: pip cannot reach an index that it reads: certificate verify failed: unable to", "pip"),
        (CLOSED + NONE, "r.txt:3: `six`: pip cannot reach an index that it reads: RemoteDisconnected('Remote end closed", "pip"),
        (PLAIN_HTTP + NONE, "r.txt:3: `six`: pip ignores the index on h.invalid, which speaks plain HTTP", "trusted-host h.invalid"),
        (REFUSED + NEWER, "r.txt:3: `six==99`: there is no such version of six", "as in `six>=1.5`"),
        (REFUSED.replace("/six/", "/pip/") + NONE, "r.txt:3: `six`: nothing that this Python can install is called", "right"),
        (NEWER, "r.txt:3: `six==99`: there is no such version of six; the newest that", "as in `six>=1.5`"),
        (PYTHON, "r.txt:3: `six>=2.1`: not for Python 3.11.2, since six 2.1 wants >=3.14,<4", "another"),
        (YANKED, "r.txt:3: `six>1.6`: what fits was yanked by its authors (1.7)", "write `six==1.7`"),
        (BY, "r.txt:4: `other>=3`, which `attrs` requires: there is no such version of other", "as in `other>=2.0`"),
        (WHEEL, "r.txt:3: `six`: the wheel six-1.0-cp39-cp39-win_amd64.whl is for Python `cp39`, platform `win_amd64`", ".tar.gz"),
    ],
)  # fmt: skip
def test_the_requirement_its_place_and_what_to_write(text, said, hint):
    message, advice = explain_pip_error(text, PLACES, INFO)
    assert message.startswith(said)
    assert hint in advice


def test_words_that_are_not_known_are_passed_on():
    assert explain_pip_error("ERROR: something else\n", PLACES, INFO) == ("", "")
    assert explain_pip_error("", {}, {}) == ("", "")


@pytest.mark.parametrize(
    ("file", "fits"),
    [
        ("six-1.0-cp39-cp39-win_amd64.whl", False),
        ("six-1.0-cp311-cp311-manylinux_2_17_aarch64.whl", False),
        ("six-1.0-cp312-cp312-linux_x86_64.whl", False),
        ("six-1.0-py2-none-any.whl", False),
        ("six-1.0-py2.py3-none-any.whl", True),
        ("six-1.0-cp38-abi3-manylinux_2_17_x86_64.whl", True),
        ("six-1.0-cp311-cp311-musllinux_1_2_x86_64.whl", True),
    ],
)
def test_a_wheel_of_the_project_that_is_not_for_this_python(file, fits):
    text = "ERROR: Cannot install six because these package versions have conflicting dependencies.\n"
    message, _ = explain_pip_error(text, {}, INFO, ["six", f"six @ file:///project/dist/{file}"])
    assert (not message) == fits
    assert fits or message.startswith(f"`six`: the wheel {file} is for Python")


CONFLICT = """ERROR: Cannot install -r /tmp/r.txt (line 1) and six<1 because these package versions have conflicting dependencies.

The conflict is caused by:
%s

To fix this you could try to:
1. loosen the range of package versions you've specified

ERROR: ResolutionImpossible: for help visit https://pip.invalid/
"""


@pytest.mark.parametrize(
    ("causes", "said"),
    [
        (["The user requested six<1", "attrs 24.1 depends on six<2 and >=1.1"],
         "r.txt:3: these do not go together: `six<1`; `attrs==24.1`, which wants six<2,>=1.1"),
        (["The user requested six==1.1", "The user requested (constraint) six==1.2"],
         "r.txt:3: these do not go together: `six==1.1`; `six==1.2` of the constraints"),
        (["a 1 depends on c<1", "b 2 depends on c>1"],
         "these do not go together: `a==1`, which wants c<1; `b==2`, which wants c>1"),
        (["The user requested me 1.0 (from /tmp/me)", "me[x] 1.0 depends on c; extra == 'x'"],
         "these do not go together: `me 1.0 (from /tmp/me)`; `me[x]==1.0`, which wants c; extra == 'x'"),
        ([f"b {number} depends on c>{number}" for number in range(6)],
         ("these do not go together: `b==0`, which wants c>0; `b==1`, which wants c>1; `b==2`, which wants c>2; `b==3`,"
         " which wants c>3; and 2 more")),
        (["words that a later pip may find"], "these do not go together: words that a later pip may find"),
    ],
)  # fmt: skip
def test_what_does_not_go_together(causes, said):
    text = CONFLICT % "\n".join(f"    {line}" for line in causes)
    message, hint = explain_pip_error(text, PLACES, INFO)
    assert message == said
    assert "loosen" in hint


def test_of_two_attempts_the_last_one_counts():
    first, last = (CONFLICT % f"    b {number} depends on c>{number}" for number in (1, 2))
    assert "`b==2`" in explain_pip_error(first + last, PLACES, INFO)[0]
