"""What a bill says is what is in the stack: also what only container root may read, and not what a layer took away."""

from __future__ import annotations

import json

import pytest

pytestmark = pytest.mark.e2e

SPEC = """
layers:
  first:
    run: |
      umask 077
      for name in kept gone; do
        mkdir -p /opt/lib/$name-1.0.dist-info
        printf 'Name: %s\\nVersion: 1.0\\nLicense-Expression: MIT\\n' $name > /opt/lib/$name-1.0.dist-info/METADATA
      done
      mkdir -p /opt/node_modules/pad /opt/var/lib
      printf '{"name": "pad", "version": "3.0.0"}' > /opt/node_modules/pad/package.json
      mkdir -p /var/lib/dpkg
      printf 'Package: hello\\nStatus: install ok installed\\nVersion: 2-1\\nArchitecture: amd64\\n' > /var/lib/dpkg/status
  second:
    run: |
      rm -r /opt/lib/gone-1.0.dist-info
      sed -i 's/3.0.0/3.0.1/' /opt/node_modules/pad/package.json
envs:
  unit:
    layers: [first, second]
"""


def test_a_bill_of_what_is_really_there(place):
    place.spec(SPEC)
    done = place.envtool("sbom", "unit")
    assert done.status == 0, done.said
    document = json.loads(done.out)
    assert {each["purl"] for each in document["components"] if "purl" in each} == {
        "pkg:pypi/kept@1.0",
        "pkg:npm/pad@3.0.1",
        "pkg:deb/debian/hello@2-1?arch=amd64",
    }
    again = place.envtool("sbom", "unit", "-o", "bill.json", "--json")
    assert (again.status, again.out) == (0, "")
    assert (place.project / "bill.json").read_text() == done.out
    spdx = json.loads(place.envtool("sbom", "unit", "--format", "spdx").out)
    assert {"kept", "pad", "hello"} <= {each["name"] for each in spdx["packages"]}
    assert place.envtool("sbom", "unot").status == 2
