from __future__ import annotations

import pytest

from envtool.kinds.debian import installed
from envtool.testing import MemoryTree

STATUS = """\
Package: hello
Status: install ok installed
Architecture: amd64
Source: hello-src (2.10-3)
Version: 1:2.10-3+b1
Description: example package
 with a longer text

Package: gone
Status: deinstall ok config-files
Architecture: all
Version: 1

Package: kept
Status: hold ok installed
Architecture: all
Version: 2
Homepage: https://example.invalid/
"""
COPYRIGHT = """\
Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
Upstream-Name: hello

Files: *
Copyright: somebody
License: GPL-2+ and Expat
 This is free

Files: debian/*
License: BSD-3-clause

License: GPL-2+
 On Debian systems …
"""
OS = 'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nID=debian\nVERSION_ID="12"\n'


def test_what_dpkg_says():
    tree = MemoryTree(
        {
            "/var/lib/dpkg/status": STATUS,
            "/usr/share/doc/hello/copyright": COPYRIGHT,
            "/usr/share/doc/kept/copyright": "All rights…",
            "/usr/lib/os-release": OS,
        }
    )
    hello, kept = installed.installed_packages(tree)
    assert (hello.name, hello.version, hello.namespace) == ("hello", "1:2.10-3+b1", "debian")
    assert hello.qualifiers == {"arch": "amd64", "distro": "debian-12", "upstream": "hello-src@2.10-3"}
    assert hello.archives == ("hello_1%3a2.10-3+b1_amd64.deb",)
    assert hello.licenses == ("BSD-3-Clause", "GPL-2.0-or-later", "GPL-2.0-or-later AND MIT")
    assert hello.summary == "example package"
    assert (kept.name, kept.licenses, kept.homepage) == ("kept", (), "https://example.invalid/")
    assert tree.reads == 2


def test_distroless_images_have_a_file_for_each():
    tree = MemoryTree(
        {
            "/var/lib/dpkg/status.d/base": "Package: base-files\nVersion: 12\nArchitecture: amd64\n",
            "/var/lib/dpkg/status.d/base.md5sums": "abc  etc/passwd\n",
        }
    )
    (found,) = installed.installed_packages(tree)
    assert (found.name, found.path) == ("base-files", "/var/lib/dpkg/status.d/base")


@pytest.mark.parametrize(
    "status", [b"", b"\xff\xfe\0", b"Package: x\n", b"Version: 1\nStatus: a b installed\n", b": :\n\n\n"]
)
def test_what_is_no_database_names_no_package(status):
    assert installed.installed_packages(MemoryTree({"/var/lib/dpkg/status": status})) == []


@pytest.mark.parametrize(
    ("name", "spdx"),
    [
        ("GPL-2", "GPL-2.0-only"), ("GPL-3+", "GPL-3.0-or-later"), ("LGPL-2.1+", "LGPL-2.1-or-later"), ("Expat", "MIT"),
        ("GPL-2+ or Artistic", "GPL-2.0-or-later OR Artistic-1.0-Perl"), ("GPL-2 with OpenSSL exception", None),
        ("public-domain", "public-domain"), ("Apache-2.0", "Apache-2.0"),
    ],
)  # fmt: skip
def test_names_of_licences(name, spdx):
    text = f"Format: https://x/packaging-manuals/copyright-format/1.0/\n\nFiles: *\nLicense: {name}\n"
    assert installed.parse_licenses(text) == (spdx or name,)


def test_owners_are_those_whose_list_has_the_path():
    """dpkg's lists have the names that files had in their packages: /bin/x for what is at /usr/bin/x by now."""
    status = "Package: bash\nStatus: install ok installed\nVersion: 5\n\nPackage: libc6\nStatus: install ok installed\nVersion: 2\n"
    tree = MemoryTree(
        {
            "/var/lib/dpkg/status": status,
            "/var/lib/dpkg/info/bash.list": "/.\n/bin\n/bin/bash\n",
            "/var/lib/dpkg/info/libc6:amd64.list": "/.\n/usr/lib/libc.so.6\n",
            "/var/lib/dpkg/info/gone.list": "/bin/bash\n",
        }
    )

    def names(path):
        return [(package.name, package.version) for package in installed.owners(tree, path)]

    assert names("/usr/bin/bash") == names("/bin/bash") == [("bash", "5")]
    assert names("/usr/lib/libc.so.6") == [("libc6", "2")]
    assert names("/usr/lib/libc.so") == []
