from __future__ import annotations

import pytest
from envtool_python import installed

from envtool.testing import MemoryTree

METADATA = """\
Metadata-Version: 2.4
Name: Typing_Extensions
Version: 4.12.0
Summary: backported
License-Expression: PSF-2.0
Project-URL: Home, https://example.invalid/x
Classifier: License :: OSI Approved :: MIT License

A body with
Name: nonsense
"""


def test_distributions_wherever_they_are():
    tree = MemoryTree(
        {
            "/opt/venv/lib/python3.11/site-packages/typing_extensions-4.12.0.dist-info/METADATA": METADATA,
            "/usr/lib/python3/dist-packages/a-1.egg-info": "Name: a\nVersion: 1\nLicense: BSD\n",
            "/usr/lib/python3/dist-packages/b.egg-info/PKG-INFO": "Name: b\nVersion: 2\nLicense: UNKNOWN\n",
            "/usr/lib/python3/dist-packages/c.dist-info/RECORD": "Name: c\nVersion: 2\n",
        }
    )
    one, a, b = installed.installed_packages(tree)
    assert (one.name, one.version, one.licenses) == ("typing-extensions", "4.12.0", ("PSF-2.0",))
    assert (one.summary, one.homepage) == ("backported", "https://example.invalid/x")
    assert (a.licenses, b.licenses) == (("BSD",), ())
    assert tree.reads == 1


@pytest.mark.parametrize(
    "name",
    ["typing_extensions-4.12.0-py3-none-any.whl", "Typing_Extensions-4.12.0.tar.gz", "typing-extensions-4.12.0.zip"],
)
def test_what_a_distribution_may_have_come_in(name):
    from fnmatch import fnmatchcase

    found = installed.parse_metadata("/x", METADATA.encode())
    assert any(fnmatchcase(name, pattern) for pattern in found.archives)
    assert not any(fnmatchcase(f"my-{name}", pattern) for pattern in found.archives)


@pytest.mark.parametrize(
    ("lines", "licenses"),
    [
        ("Classifier: License :: OSI Approved :: MIT License\nLicense: a licence", ("MIT",)),
        ("Classifier: License :: OSI Approved\nLicense: BSD-3-Clause", ("BSD-3-Clause",)),
        ("License: " + "all rights " * 20, ()),
        ("Classifier: Programming Language :: Python", ()),
    ],
)
def test_licences(lines, licenses):
    assert installed.parse_metadata("/x", f"Name: a\nVersion: 1\n{lines}\n".encode()).licenses == licenses


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"Name: a\n", b"Version: 1\n", b"\n\nName: a\nVersion: 1\n"])
def test_what_names_no_distribution(content):
    assert installed.parse_metadata("/x", content) is None


def test_a_file_belongs_to_the_distribution_whose_record_has_it():
    site = "/opt/venv/lib/python3.11/site-packages"
    tree = MemoryTree(
        {
            f"{site}/a-1.dist-info/METADATA": "Name: a\nVersion: 1\n",
            f"{site}/a-1.dist-info/RECORD": 'a/__init__.py,sha256=x,3\n"a/with,comma.py",,\n../../../bin/a,sha256=y,9\n',
            f"{site}/b-1.dist-info/METADATA": "Name: b\nVersion: 1\n",
            f"{site}/b-1.dist-info/RECORD": "\0,\n",
        }
    )

    def names(path):
        return [package.name for package in installed.owners(tree, path)]

    assert names(f"{site}/a/__init__.py") == names(f"{site}/a/with,comma.py") == names("/opt/venv/bin/a") == ["a"]
    assert names(f"{site}/b/__init__.py") == []
