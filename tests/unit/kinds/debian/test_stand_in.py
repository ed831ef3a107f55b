"""What apt is told of a stack of another architecture, over a mirror in memory."""

from __future__ import annotations

import hashlib
import lzma

import pytest

from envtool.api import Completed, ResolveError, StandIn, StandInLayer
from envtool.kinds.debian.apt import Apt
from envtool.kinds.debian.base import Debian

from .conftest import MIRROR, stanza

SYSTEM = [
    stanza("base-files", Essential="yes", Priority="required"), stanza("apt", Depends="libc6"), stanza("libc6", "2.36-1")
]  # fmt: skip
TOOL = stanza("tool", "1", Depends="libc6")
INSTALLED = "installed apt 1 amd64\ninstalled base-files 1 amd64\ninstalled libc6 2.36-1 amd64\n"


pytestmark = pytest.mark.usefixtures("mirror_alone")


def of_arm64(text):
    return text.replace("amd64", "arm64")


class Stack:
    """A `debian` base in both architectures, and a site on this machine's stack."""

    def __init__(self, mirror, site, request_for, tmp_path):
        stanzas = [*SYSTEM, TOOL]
        other = lzma.compress("\n".join(map(of_arm64, stanzas)).encode())
        mirror.suite("bookworm", stanzas, more={"main/binary-arm64/Packages.xz": other})
        self.files, self.site, self.request_for, self.kept = mirror.files, site, request_for, tmp_path / "kept"
        self.own, self.other = (self._base(arch) for arch in ("x86_64", "aarch64"))

    def _base(self, arch):
        at = self.site(self.files)
        at.arch = arch
        return Debian().resolve(self.request_for("bookworm", arch=arch), at)

    def resolve(self, layers, *answers, **fields):
        """The pins of `apt: [hello]`, and what ran."""
        at = self.site(self.files, answers)
        at.arch = "aarch64"

        def keep(pieces, sha256=""):
            self.kept.write_bytes(b"".join(pieces))
            return self.kept

        at.keep = keep
        values = {"base_kind": "debian", "base_pins": self.other, "arch": "aarch64"} | fields
        request = self.request_for(["hello"], stand_in=StandIn(arch="x86_64", layers=layers), **values)
        return Apt().resolve(request, at), at.runs


@pytest.fixture
def stack(mirror, site, request_for, tmp_path):
    return Stack(mirror, site, request_for, tmp_path)


def said(output, status=0):
    return Completed(status=status, stdout=output.encode(), stderr=b"")


PRINTED = f"'http://0.invalid/pool/hello_2_arm64.deb' hello_2_arm64.deb 53 SHA256:{'a' * 64}\n"


def debian(stack):
    return StandInLayer(kind="debian", pins=stack.other, own_pins=stack.own)


def test_apt_chooses_from_the_index_and_the_packages_of_the_other_architecture(stack):
    pins, runs = stack.resolve((debian(stack),), said(INSTALLED), said(PRINTED))
    assert (pins["arch"], pins["debs"][0]["arch"]) == ("arm64", "arm64")
    assert pins["lists"][0]["sha256"] == hashlib.sha256(stack.files[f"{MIRROR}/{pins['lists'][0]['path']}"]).hexdigest()
    command, environment, binds, _ = runs[-1]
    settings = [word for word in command.argv if word.startswith(("APT::Arch", "Dir::State"))]
    assert settings == [
        "APT::Architecture=arm64", "APT::Architectures=arm64", "Dir::State::status=/run/envtool-status"
    ]  # fmt: skip
    assert environment["SOURCES"].startswith("deb [arch=arm64 ")
    assert [bind.target for bind in binds] == [
        "/run/envtool-lists/0.invalid_dists_bookworm_main_binary-arm64_Packages.xz", "/run/envtool-status",
    ]  # fmt: skip


def test_the_packages_of_the_base_and_of_apt_layers_below_are_installed_there(stack):
    tool = {"debs": [{"name": "tool", "version": "1", "arch": "arm64"}]}
    own_tool = {"debs": [{"name": "tool", "version": "1", "arch": "amd64"}]}
    layers = (debian(stack), StandInLayer(kind="copy", pins=None, own_pins=None),
              StandInLayer(kind="apt", pins=tool, own_pins=own_tool))  # fmt: skip
    stack.resolve(layers, said(f"{INSTALLED}installed tool 1 amd64\nconfig-files gone 1 amd64\n"), said(PRINTED))
    stanzas = stack.kept.read_text().split("\n\n")
    assert [text.splitlines()[0] for text in stanzas] == [
        "Package: apt", "Package: base-files", "Package: libc6", "Package: tool"
    ]  # fmt: skip
    assert stanzas[3].strip().splitlines() == [
        "Package: tool", "Status: install ok installed", "Version: 1", "Architecture: arm64", "Priority: optional",
        "Depends: libc6",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("present", "named"),
    [
        (f"{INSTALLED}installed extra 1 amd64\n", "extra"),
        (INSTALLED.replace("libc6 2.36-1", "libc6 9"), "libc6"),
        (INSTALLED.replace("installed apt", "config-files apt"), "apt"),
        ("", "apt, base-files, libc6"),
        ("".join(f"installed x{number} 1 amd64\n" for number in range(4)) + INSTALLED, "x0, x1, x2 and 1 more"),
    ],
)
def test_what_no_pins_name_is_refused(stack, present, named):
    """The other stack has what the pins say: on this machine's own stack that must be all."""
    with pytest.raises(ResolveError) as caught:
        stack.resolve((debian(stack),), said(present), said(PRINTED))
    assert caught.value.code == "other-platform"
    assert caught.value.message == f"a layer below changes packages that no pins name: {named}"


def test_a_stack_whose_dpkg_says_nothing_is_refused(stack):
    with pytest.raises(ResolveError, match="does not say what is installed"):
        stack.resolve((debian(stack),), said("", 127), said(PRINTED))


def test_an_image_is_refused_before_anything_runs(stack):
    with pytest.raises(ResolveError) as caught:
        stack.resolve((), base_kind="image", base_pins={})
    assert caught.value.message == "which packages a base of kind `image` has is known only inside of it"
    assert caught.value.code == "other-platform"
