"""The two kinds over a mirror in memory: what they pin, and what they say when it goes wrong."""

from __future__ import annotations

import hashlib
import json
import re
import struct

import jsonschema_rs
import pytest

from envtool.api import BLOBS, Call, Completed, FetchError, ResolveError, Run, SpecError
from envtool.kinds.debian import offline_repo
from envtool.kinds.debian.apt import Apt
from envtool.kinds.debian.base import Debian

from .conftest import CONTROL_TEXT, MIRROR, NOW, make_tar, stanza

ESSENTIAL = stanza("base-files", Essential="yes", Priority="required")
SYSTEM = [ESSENTIAL, stanza("apt", Depends="libc6"), stanza("libc6", "2.36-1")]


pytestmark = pytest.mark.usefixtures("mirror_alone")


@pytest.fixture
def pinned(mirror, site, request_for):
    mirror.suite("bookworm", SYSTEM)
    return Debian().resolve(request_for("bookworm"), site(mirror.files))


def test_a_base_pins_its_index_and_its_debs(pinned):
    assert pinned["epoch"] == NOW
    assert [(item["name"], item["version"]) for item in pinned["debs"]] == [
        ("apt", "1"), ("base-files", "1"), ("libc6", "2.36-1"),
    ]  # fmt: skip
    (index,) = pinned["lists"]
    assert index["path"] == f"dists/bookworm/main/binary-amd64/by-hash/SHA256/{index['sha256']}"
    assert json.loads(json.dumps(pinned)) == pinned


def test_the_security_pocket_beside_the_mirror_counts(mirror, site, request_for):
    mirror.suite("bookworm", SYSTEM)
    mirror.suite("bookworm-security", [stanza("libc6", "2.36-1+deb12u1")], url=f"{MIRROR}-security")
    at = site(mirror.files)
    pins = Debian().resolve(request_for("bookworm"), at)
    libc6 = next(item for item in pins["debs"] if item["name"] == "libc6")
    assert (libc6["version"], libc6["list"]) == ("2.36-1+deb12u1", 1)
    request = request_for("bookworm")
    fetch = next(item for item in Debian().fetches(request, pins) if "libc6" in item.name)
    (found,) = Debian().locate(request, pins, [fetch], at)
    assert f"{MIRROR}-security/pool/" in "".join((found.url, *found.mirrors))
    assert any("bookworm-updates" in note for note in at.notes)
    plain = Debian().resolve(request_for({"suite": "bookworm", "pockets": []}), site(mirror.files))
    assert len(plain["lists"]) == 1


def test_a_pocket_that_was_asked_for_must_be_there(mirror, site, request_for):
    mirror.suite("bookworm", SYSTEM)
    with pytest.raises(FetchError):
        Debian().resolve(request_for({"suite": "bookworm", "pockets": ["backports"]}), site(mirror.files))


def test_a_pocket_is_not_left_out_because_the_network_failed(mirror, site, request_for, monkeypatch):
    at = site(mirror.suite("bookworm", SYSTEM).files)
    get = at.get

    def flaky(url):
        if "security" in url:
            raise FetchError(f"{url}: connection refused", code="network")
        return get(url)

    monkeypatch.setattr(at, "get", flaky)
    with pytest.raises(FetchError, match="connection refused"):
        Debian().resolve(request_for("bookworm"), at)


def test_a_suite_that_is_nowhere(site, request_for):
    with pytest.raises(ResolveError) as caught:
        Debian().resolve(request_for("trixie"), site({}))
    assert caught.value.code == "no-suite"
    assert MIRROR in caught.value.message


def test_a_changed_package_list_is_not_read(mirror, site, request_for):
    mirror.suite("bookworm", SYSTEM)
    name = next(url for url in mirror.files if "by-hash" in url)
    mirror.files[name] = mirror.files[name][:-7]
    with pytest.raises(FetchError):
        Debian().resolve(request_for("bookworm"), site(mirror.files))


def test_an_archive_without_by_hash(mirror, site, request_for):
    mirror.suite("bookworm", SYSTEM, by_hash=False)
    pins = Debian().resolve(request_for("bookworm"), site(mirror.files))
    assert pins["lists"][0]["path"] == "dists/bookworm/main/binary-amd64/Packages.xz"


def test_a_component_or_machine_that_is_not_there(mirror, site, request_for):
    at = site(mirror.suite("bookworm", SYSTEM).files)
    with pytest.raises(ResolveError, match="no component `universe`"):
        Debian().resolve(request_for({"suite": "bookworm", "components": ["universe"]}), at)
    at.arch = "vax"
    with pytest.raises(ResolveError, match="no Debian for `vax`"):
        Debian().resolve(request_for("bookworm"), at)


def test_where_it_came_from_is_not_in_the_material(pinned, request_for):
    assert "mirror.invalid" not in json.dumps(pinned), "a mirror of this machine is nobody else's"
    request = request_for("bookworm")
    assert {fetch.url for fetch in Debian().fetches(request, pinned)} == {""}
    assert "mirror.invalid" not in json.dumps(Debian().material(request, pinned))


def test_a_mirror_that_the_spec_names_is_pinned(mirror, site, request_for):
    mirror.suite("bookworm", SYSTEM)
    at = site(mirror.files)
    request = request_for({"suite": "bookworm", "mirror": f"{MIRROR}/", "pockets": []})
    pins = Debian().resolve(request, at)
    assert [item["url"] for item in pins["lists"]] == [MIRROR]
    found = Debian().locate(request, pins, Debian().fetches(request, pins), at)
    assert all(fetch.url.startswith(f"{MIRROR}/pool/") for fetch in found)


def test_an_archive_that_keeps_everything_comes_last(pinned, site, request_for, monkeypatch):
    monkeypatch.setenv("ENVTOOL_DEBIAN_ARCHIVE", "https://old.invalid/{archive}/{date}")
    request = request_for("bookworm")
    (first, *_) = Debian().locate(request, pinned, Debian().fetches(request, pinned), site({}))
    assert re.fullmatch(r"https://old\.invalid/debian/\d{8}T\d{6}Z/pool/.*", first.mirrors[-1])


def test_the_base_recipe_is_offline_and_drops_what_differs(pinned, request_for):
    recipe = Debian().build(request_for("bookworm"), pinned)
    assert not recipe.network
    assert isinstance(recipe.steps[0], Call)
    names = recipe.steps[0].arguments[0]
    assert sorted(names) == sorted(it.name for it in Debian().fetches(request_for("bookworm"), pinned))
    assert "/var/cache/ldconfig/aux-cache" in recipe.drop


@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [
        (Debian, ["bookworm", {"suite": "sid", "pockets": []}], ["", {"mirror": "http://x"}, {"suite": "a", "b": 1}]),
        (Apt, [["gcc"], ["g++", "libc6:amd64=2.36-9+deb12u4"], {"packages": ["a"], "recommends": True}],
         [[], ["-y"], ["a;b"], ["../x"], [""], {"packages": []}, "gcc"]),
    ],
)  # fmt: skip
def test_schemas(kind, good, bad):
    validator = jsonschema_rs.validator_for(kind.schema)
    assert all(validator.is_valid(value) for value in good)
    assert not any(validator.is_valid(value) for value in bad)


# ---- apt -----------------------------------------------------------------------------------------------

PRINTED = (
    "'http://0.invalid/pool/main/h/hello/hello_1%3a2.10-3_amd64.deb' hello_1%3a2.10-3_amd64.deb 53080 SHA256:"
    + "a" * 64
    + "\n'http://1.invalid/pool/x/lib_2_all.deb' lib_2_all.deb 7 SHA256:"
    + "b" * 64
    + "\n"
)


def said(status, stdout="", stderr=""):
    return Completed(status=status, stdout=stdout.encode(), stderr=stderr.encode())


@pytest.fixture
def two(mirror, site, request_for):
    mirror.suite("bookworm", SYSTEM)
    mirror.suite("bookworm-updates", [stanza("lib", "2")])
    return Debian().resolve(request_for("bookworm"), site(mirror.files))


def apt_request(request_for, options, pins):
    return request_for(options, base_kind="debian", base_pins=pins)


def test_apt_pins_what_apt_prints(mirror, two, site, request_for):
    at = site(mirror.files, [said(0, PRINTED)])
    request = apt_request(request_for, ["hello"], two)
    pins = Apt().resolve(request, at)
    assert pins["debs"][0] | {"list": 0} == {
        "name": "hello", "version": "1:2.10-3", "arch": "amd64", "list": 0,
        "path": "pool/main/h/hello/hello_1:2.10-3_amd64.deb", "sha256": "a" * 64, "size": 53080,
    }  # fmt: skip
    assert pins["debs"][1]["list"] == 1
    command, _, binds, network = at.runs[0]
    assert not network
    assert "--print-uris" in command.argv
    assert [bind.target.rpartition("/")[2] for bind in binds] == [
        "0.invalid_dists_bookworm_main_binary-amd64_Packages.xz",
        "1.invalid_dists_bookworm-updates_main_binary-amd64_Packages.xz",
    ]
    assert [fetch.name for fetch in Apt().fetches(request, pins)] == ["hello_1%3a2.10-3_amd64.deb", "lib_2_all.deb"]


def test_an_apt_layer_is_decided_by_its_debs_not_by_the_index(mirror, two, site, request_for):
    pins = Apt().resolve(apt_request(request_for, ["hello"], two), site(mirror.files, [said(0, PRINTED)]))
    request = request_for(["hello"])
    recipe = Apt().build(request, pins)
    later = json.loads(json.dumps(pins).replace(pins["lists"][0]["sha256"], "f" * 64))
    assert Apt().build(request, later) == recipe
    assert not recipe.network
    assert any(isinstance(step, Run) and "apt-get" in step.command.argv for step in recipe.steps)


def test_nothing_to_add(mirror, two, site, request_for):
    pins = Apt().resolve(apt_request(request_for, ["apt"], two), site(mirror.files, [said(0)]))
    assert pins["debs"] == []
    assert Apt().summary(request_for(["apt"]), pins) == "nothing to add"


@pytest.mark.parametrize(
    ("wish", "stderr", "code", "message", "hint"),
    [
        ("lib6", "E: Unable to locate package lib6\n", "no-package", "no package `lib6` in bookworm", "`libc6`"),
        ("libc6=9", "E: Version '9' for 'libc6' was not found\n", "no-version", "no version 9", "2.36-1"),
        ("awk", "Package awk is a virtual package provided by:\n", "virtual-package", "virtual", "`mawk`"),
        ("apt", "apt : Depends: x but it is not going to be installed\n", "apt", "Depends: x but", ""),
    ],
)
def test_apts_refusal(mirror, site, request_for, wish, stderr, code, message, hint):
    mirror.suite("bookworm", [*SYSTEM, stanza("mawk", Provides="awk")])
    pins = Debian().resolve(request_for("bookworm"), site(mirror.files))
    at = site(mirror.files, [said(100), said(100, "", stderr)])
    with pytest.raises(ResolveError) as caught:
        Apt().resolve(apt_request(request_for, [wish], pins), at)
    assert caught.value.code == code
    assert message in caught.value.message
    assert hint in caught.value.hint


def test_the_hosts_system_is_not_installed_into(site, request_for):
    with pytest.raises(SpecError) as caught:
        Apt().resolve(request_for(["gcc"], base_kind="host"), site({}))
    (problem,) = caught.value.problems
    assert problem.where.line == 4
    assert "debian" in problem.hint


def test_an_index_that_is_gone_from_the_mirror(two, site, request_for):
    with pytest.raises(ResolveError) as caught:
        Apt().resolve(apt_request(request_for, ["hello"], two), site({}))
    assert caught.value.code == "index-gone"


def test_another_system_with_apt_is_asked_for_its_sources(mirror, site, request_for, keyring):
    mirror.suite("noble", [stanza("hello")], url="http://u.invalid/ubuntu")
    etc = make_tar({
        "etc/apt/": b"",
        "etc/apt/sources.list": b"deb [signed-by=/usr/share/keyrings/u.pgp] http://u.invalid/ubuntu noble main\n",
        "usr/share/keyrings/u.pgp": keyring.data,
    })  # fmt: skip
    printed = PRINTED.splitlines()[0] + "\n"
    at = site(mirror.files, [Completed(status=0, stdout=etc, stderr=b"amd64\n"), said(0, printed)])
    pins = Apt().resolve(request_for(["hello"], base_kind="image"), at)
    assert pins["lists"][0]["url"] == "http://u.invalid/ubuntu"
    assert pins["suite"] == "noble"


def test_a_system_without_apt(site, request_for):
    with pytest.raises(ResolveError) as caught:
        Apt().resolve(request_for(["hello"], base_kind="image"), site({}, [said(127, "", "sh: dpkg: not found")]))
    assert caught.value.code == "no-apt"


# ---- inside the container --------------------------------------------------------------------------


@pytest.fixture
def inside(tmp_path, monkeypatch):
    for name in ("OFFER_DIRECTORY", "CONFIG", "POLICY", "CLUSTER", "MACHINE_ID"):
        monkeypatch.setattr(offline_repo, name, f"{tmp_path}{getattr(offline_repo, name)}")
    for name in ("etc", "usr/sbin"):
        (tmp_path / name).mkdir(parents=True)
    return tmp_path


def test_debs_are_offered_as_an_archive(inside, debs):
    debs("a_1_amd64.deb", CONTROL_TEXT, {})
    offline_repo.prepare_apt_archive([("a_1_amd64.deb", 9, "c" * 64)], "amd64", str(inside), True)
    (listed,) = (inside / "run/envtool-apt/lists").glob("*_Packages")
    text = listed.read_text()
    assert listed.name == f"{str(inside).replace('/', '_')}_._Packages"
    assert text == f"{CONTROL_TEXT}Filename: ./a_1_amd64.deb\nSize: 9\nSHA256: {'c' * 64}\n"
    assert (inside / "usr/sbin/policy-rc.d").stat().st_mode & 0o777 == 0o755
    assert "create_main_cluster = false" in (inside / "etc/postgresql-common/createcluster.d/envtool.conf").read_text()
    assert (inside / "etc/machine-id").read_text().strip()


def test_a_policy_and_a_machine_id_that_are_there_stay(inside):
    (inside / "usr/sbin/policy-rc.d").write_text("mine")
    (inside / "etc/machine-id").write_text("1234")
    offline_repo.prepare_apt_archive([], "amd64", BLOBS, False)
    assert (inside / "usr/sbin/policy-rc.d").read_text() == "mine"
    assert (inside / "etc/machine-id").read_text() == "1234"
    assert not (inside / "etc/postgresql-common").exists()


def test_what_is_installed_is_read_from_dpkg():
    status = (
        "Package: a\nStatus: install ok installed\nArchitecture: amd64\nVersion: 1:2\n\n"
        "Package: b\nStatus: install ok half-configured\nArchitecture: all\nVersion: 1\n"
    )
    assert offline_repo._installed(status) == {"a_1%3a2_amd64"}


def keystore(entries):
    def text(value):
        return struct.pack(">H", len(value)) + value

    body = offline_repo._JKS + struct.pack(">I", len(entries))
    for alias, time, data in entries:
        body += struct.pack(">I", 2) + text(alias) + struct.pack(">Q", time) + text(b"X.509")
        body += struct.pack(">I", len(data)) + data
    return body + hashlib.sha1(offline_repo._PASSWORD + offline_repo._WHITENER + body).digest()


def test_keystores_of_the_same_certificates_come_out_the_same():
    one = keystore([(b"debian:b", 5, b"BB"), (b"debian:a", 6, b"AAA")])
    two = keystore([(b"debian:a", 7, b"AAA"), (b"debian:b", 8, b"BB")])
    assert offline_repo.canonical_keystore(one) == offline_repo.canonical_keystore(two)
    assert offline_repo.canonical_keystore(one) == keystore([(b"debian:a", 0, b"AAA"), (b"debian:b", 0, b"BB")])
    broken = one + b"more"
    assert offline_repo.canonical_keystore(broken) == broken


@pytest.mark.parametrize(
    ("file", "package"),
    [
        ("gcc_4%3a12.2.0-3_amd64.deb", ("gcc", "4:12.2.0-3")),
        ("tzdata_2024a-0+deb12u1_all.deb", ("tzdata", "2024a-0+deb12u1")),
        ("b_1.deb", ("b_1.deb", "")),
        ("a_b_c_d.deb", ("a_b_c_d.deb", "")),
        (".deb", (".deb", "")),
        ("gcc_4_amd64.udeb", ("gcc_4_amd64.udeb", "")),
        ("", ("", "")),
    ],
)
def test_the_package_in_a_deb(file, package):
    assert Debian().package(file) == Apt().package(file) == package
