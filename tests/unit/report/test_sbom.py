"""The bill of materials: what it says, that it says it twice the same, and that it fits the formats' own schemas."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace

import pytest

from envtool.api import Package
from envtool.errors import UsageError
from envtool.report.sbom import document, rendering
from envtool.report.sbom.document import Sbom, SbomLayer

HELLO = Package(
    type="deb",
    namespace="debian",
    name="hello",
    version="2.10-3+b1",
    qualifiers={"arch": "amd64", "distro": "debian-12", "upstream": "hello@2.10-3"},
    path="/var/lib/dpkg/status",
    licenses=("GPL-3.0-or-later", "GFDL-NIV-1.3+"),
    summary="example package",
    homepage="https://www.gnu.org/software/hello/",
    archives=("hello_2.10-3+b1_amd64.deb",),
)
ATTRS = Package(
    type="pypi",
    name="attrs",
    version="25.3.0",
    path="/opt/venv/lib/attrs-25.3.0.dist-info/METADATA",
    licenses=("MIT",),
    archives=("attrs-25.3.0-*.whl",),
)
CORE = Package(
    type="npm",
    namespace="@babel",
    name="core",
    full_name="@babel/core",
    version="7.0.0",
    path="/opt/node_modules/@babel/core/package.json",
    licenses=("MIT OR Apache-2.0",),
    homepage="not a page",
    summary="two\nlines \x1b[31mred",
)
EVIL = Package(
    type="npm", name="x?#&\"'/é", version="1 2", path="/a\nb", licenses=("(", "See LICENSE"), homepage="https://a b"
)
FILES = [("hello_2.10-3+b1_amd64.deb", "a" * 64), ("attrs-25.3.0-py3-none-any.whl", "b" * 64), ("other", "c" * 64)]


def made(*packages, **more):
    steps = (
        SbomLayer(
            name="bookworm", kind="debian", key="1", diff_id="sha256:" + "1" * 64, summary="88 packages", pinned=True
        ),
        SbomLayer(name="deps", kind="pip", key="2", diff_id="sha256:" + "2" * 64, summary="12 wheels", pinned=True),
    )
    values = {"env": "unit[a]", "digest": "d" * 64, "epoch": 1_700_000_000, "system": "debian", "release": "12"} | more
    return Sbom(steps=steps, items=document.merge_packages(packages, FILES), **values)


def cyclonedx_problems(text):
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    return JsonStrictValidator(SchemaVersion.V1_6).validate_str(text)


def spdx_problems(bill):
    from spdx_tools.spdx.validation.document_validator import validate_full_spdx_document

    from envtool.report.sbom import spdx

    return validate_full_spdx_document(spdx.build_document(bill))


CASES = {"empty": (), "all": (HELLO, ATTRS, CORE), "evil": (EVIL, replace(EVIL, name="..", licenses=("A AND (", "")))}


@pytest.mark.parametrize("case", CASES)
def test_both_formats_keep_their_own_schemas(case):
    bill = made(*CASES[case], env="e\n\x07") if case == "evil" else made(*CASES[case])
    assert cyclonedx_problems(rendering.render_sbom(bill, "cyclonedx")) is None
    assert spdx_problems(bill) == []
    # what was written is what was validated
    from spdx_tools.spdx.parser.jsonlikedict.json_like_dict_parser import JsonLikeDictParser
    from spdx_tools.spdx.validation.document_validator import validate_full_spdx_document

    read = JsonLikeDictParser().parse(json.loads(rendering.render_sbom(bill, "spdx")))
    assert validate_full_spdx_document(read) == []
    assert len(read.packages) == len(bill.items) + 2


@pytest.mark.parametrize("form", rendering.FORMATS)
def test_the_same_stack_gives_the_same_bytes(form):
    one = rendering.render_sbom(made(HELLO, ATTRS, CORE), form)
    assert rendering.render_sbom(made(CORE, ATTRS, HELLO), form) == one
    code = (
        "import sys, runpy; sys.path.insert(0, sys.argv[1])\n"
        "from importlib.util import spec_from_file_location as s, module_from_spec as m\n"
        "x = s('t', sys.argv[2]); t = m(x); x.loader.exec_module(t)\n"
        "sys.stdout.write(t.rendering.render_sbom(t.made(t.ATTRS, t.HELLO, t.CORE), sys.argv[3]))"
    )
    for seed in "12":
        ran = subprocess.run(
            [sys.executable, "-c", code, ".", __file__, form],
            env={"PYTHONHASHSEED": seed, "TZ": f"X{seed}", "PYTHONUTF8": "1"},
            capture_output=True,
            check=True,
        )
        assert ran.stdout.decode() == one
    assert rendering.render_sbom(made(HELLO, ATTRS, CORE, digest="e" * 64), form) != one
    assert "1970" not in one
    assert "2023-11-14T22:13:20" in one


def test_cyclonedx_says_it_all():
    document = json.loads(rendering.render_sbom(made(HELLO, ATTRS, CORE), "cyclonedx"))
    base, hello, core, attrs = _by_name(document)
    assert hello["purl"] == "pkg:deb/debian/hello@2.10-3%2Bb1?arch=amd64&distro=debian-12&upstream=hello%402.10-3"
    assert hello["hashes"] == [{"alg": "SHA-256", "content": "a" * 64}]
    assert attrs["hashes"][0]["content"] == "b" * 64
    assert attrs["licenses"] == [{"license": {"id": "MIT"}}]
    assert core["licenses"] == [{"expression": "MIT OR Apache-2.0"}]
    assert (core["group"], core["description"]) == ("@babel", "two lines [31mred")
    assert "externalReferences" not in core
    assert (base["type"], base["name"], base["version"]) == ("operating-system", "debian", "12")
    assert {"name": "envtool:path", "value": ATTRS.path} in attrs["properties"]
    (top,) = [each for each in document["dependencies"] if each["ref"] == "env"]
    assert len(top["dependsOn"]) == 4
    layers = [each["value"] for each in document["metadata"]["component"]["properties"] if ":layer:" in each["name"]]
    assert layers == ["bookworm (debian) sha256:" + "1" * 64, "deps (pip) sha256:" + "2" * 64]


def _by_name(document):
    found = {component["name"]: component for component in document["components"]}
    return found["debian"], found["hello"], found["core"], found["attrs"]


def test_spdx_says_it_all():
    document = json.loads(rendering.render_sbom(made(HELLO, ATTRS, CORE), "spdx"))
    found = {package["name"]: package for package in document["packages"]}
    assert found["@babel/core"]["licenseDeclared"] == "MIT OR Apache-2.0"
    assert found["attrs"]["checksums"] == [{"algorithm": "SHA256", "checksumValue": "b" * 64}]
    assert found["hello"]["licenseDeclared"] == "NOASSERTION"  # GFDL-NIV-1.3+ is no name of SPDX
    assert found["hello"]["licenseComments"] == "GPL-3.0-or-later, GFDL-NIV-1.3+"
    assert found["hello"]["externalRefs"][0]["referenceLocator"].startswith("pkg:deb/debian/hello@")
    assert document["documentNamespace"].startswith("urn:uuid:")
    contained = {each["relatedSpdxElement"] for each in document["relationships"]} - {"SPDXRef-env"}
    assert contained == {package["SPDXID"] for package in document["packages"]} - {"SPDXRef-env"}


def test_one_package_in_two_places_is_one_item_and_two_files_of_a_name_prove_nothing():
    twice = (CORE, replace(CORE, path="/other/node_modules/@babel/core/package.json"))
    (item,) = document.merge_packages(twice, [])
    assert item.paths == (CORE.path, twice[1].path)
    wheel = "attrs-25.3.0-py3-none-any.whl"
    assert document.merge_packages([ATTRS], [(wheel, "a" * 64), (wheel, "a" * 64)])[0].sha256 == "a" * 64
    assert document.merge_packages([ATTRS], [(wheel, "a" * 64), (wheel, "b" * 64)])[0].sha256 == ""


def test_a_missing_library_is_named_with_the_way_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "envtool.report.sbom.cyclonedx", None)
    monkeypatch.delitem(sys.modules, "envtool.report.sbom.cyclonedx")
    monkeypatch.delattr(sys.modules["envtool.report.sbom"], "cyclonedx", raising=False)
    for name in [name for name in sys.modules if name.partition(".")[0] == "cyclonedx"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "cyclonedx", None)
    with pytest.raises(UsageError) as caught:
        rendering.render_sbom(made(), "cyclonedx")
    assert caught.value.code == "sbom-library"
    assert "`cyclonedx`" in caught.value.message
    assert "cyclonedx-python-lib>=" in caught.value.hint
    assert "envtool-core" not in caught.value.hint, "a name that is on no index"
