"""`toolchain: {java: …}` by the kit: servers with Adoptium's interface, what is taken of their answers, what is refused."""

from __future__ import annotations

import copy
import hashlib
import json
from dataclasses import replace

import pytest
from envtool_java import jdk_releases
from envtool_java.jdk_releases import assets_query, read_assets, read_features
from envtool_java.kinds import TOOLCHAIN, JavaLanguage, JavaToolchain

from envtool import api, testing

SERVER = "https://jdk.invalid"
POM = "<project><modelVersion>4.0.0</modelVersion><groupId>g</groupId><artifactId>a</artifactId><version>1</version></project>"


def release(version, build=7, *, arch="x64", wrong=False, patch=None):
    major, minor, security = map(int, version.split("."))
    name = f"jdk-{version}+{build}"
    content = b"another" if wrong else f"{name} {arch}".encode()
    file = f"OpenJDK{major}U-jdk_{arch}_linux_hotspot_{version}_{build}.tar.gz"

    def binary(os="linux", image="jdk", libc=file):
        package = {
            "name": libc,
            "link": f"https://elsewhere.invalid/{file}",
            "checksum": hashlib.sha256(content).hexdigest(),
        }
        return {
            "os": os, "architecture": arch, "image_type": image, "jvm_impl": "hotspot", "heap_size": "normal",
            "project": "jdk", "package": {**package, "size": 9},
        }  # fmt: skip

    data = {"major": major, "minor": minor, "security": security, "patch": patch, "build": build}
    return {
        "release_name": name,
        "vendor": "eclipse",
        "version_data": data,
        "binaries": [binary("windows"), binary("alpine-linux"), binary(image="jre"), binary()],
    }


RELEASES = {
    17: [release("17.0.12"), release("17.0.9", 9)],
    21: [release("21.0.4", 7), release("21.0.4", 6), release("21.0.3", 9), release("21.0.4", 7, arch="aarch64")],
}


def served(releases=None, server=SERVER, page=jdk_releases._PAGE):
    """URL -> content of a server; it has pages of `page` releases, and none behind the last."""
    releases = RELEASES if releases is None else releases
    urls = {f"{server}/v3/info/available_releases": json.dumps({"available_releases": [*releases], "more": 1}).encode()}
    for feature, rows in releases.items():
        for arch in ("x64", "aarch64"):
            for number, start in enumerate(range(0, len(rows), page)):
                query = assets_query(arch, number)
                content = json.dumps(rows[start : start + page]).encode()
                urls[f"{server}/v3/assets/feature_releases/{feature}/ga?{query}"] = content
        for row in rows:
            name = row["release_name"]
            for arch in ("x64", "aarch64"):
                path = f"binary/version/{name.replace('+', '%2B')}/linux/{arch}/jdk/hotspot/normal/eclipse"
                urls[f"{server}/v3/{path}"] = f"{name} {arch}".encode()
    return urls


def site(releases=None, arch="x86_64", **named):
    return testing.MemorySite(urls=served(releases, **named), arch=arch)


@pytest.fixture(autouse=True)
def host(monkeypatch):
    monkeypatch.setenv("ENVTOOL_ADOPTIUM_MIRROR", SERVER + "/v3/")
    return monkeypatch


def resolve(wanted, at=None, keep=None, **options):
    request = replace(testing.request({"version": wanted, **options}), keep=keep)
    return JavaToolchain().resolve(request, at or site())


@pytest.mark.parametrize(
    ("wanted", "version", "build"),
    [("21", "21.0.4", 7), ("21.0", "21.0.4", 7), ("21.0.3", "21.0.3", 9), ("17", "17.0.12", 7)],
)
def test_the_newest_build_of_the_newest_version_is_pinned(wanted, version, build):
    pins = testing.check_kind(JavaToolchain(), {"version": wanted}, site=site(), wrong=[{}, {"version": 21}])
    (row,) = pins["archives"]
    assert (row["name"], row["version"]) == ("jdk", version)
    assert row["path"] == f"binary/version/jdk-{version}%2B{build}/linux/x64/jdk/hotspot/normal/eclipse"
    assert "invalid" not in json.dumps(pins)
    request = testing.request({"version": wanted, "origin": ".java-version"})
    assert JavaToolchain().summary(request, pins) == f"{version} from Adoptium server (.java-version)"
    assert JavaToolchain().package(row["file"]) == ("jdk", f"{version}_{build}")
    assert JavaToolchain().variables(request, pins)["JAVA_HOME"] == "/opt/toolchains/java"


def test_names_of_archives():
    assert JavaToolchain().package("OpenJDK8U-jdk_x64_linux_hotspot_8u422b05.tar.gz") == ("jdk", "8u422b05")
    assert JavaToolchain().package("other.zip") == ("other.zip", "")


def test_all_pages_are_read():
    rows = [release(f"21.0.{number}") for number in range(45)]
    at = site({21: rows})
    assert resolve("21.0.44", at)["archives"][0]["version"] == "21.0.44"
    at = site({21: rows[:40]})  # the server has no third page, and says so by an error
    assert resolve("21", at)["archives"][0]["version"] == "21.0.39"


def test_a_server_without_end(monkeypatch):
    monkeypatch.setattr(jdk_releases, "_MAX_PAGES", 3)
    page = json.dumps([release("21.0.1")] * 20).encode()
    urls = {f"{SERVER}/v3/assets/feature_releases/21/ga?{assets_query('x64', number)}": page for number in range(9)}
    at = testing.MemorySite(urls=served({21: [release("21.0.1")]}) | urls)
    resolve("21.0.1", at)
    assert sum("feature_releases" in url for url in at.fetched) == 3


def test_each_architecture_has_its_archive():
    pins = resolve("21", site(arch="aarch64"))
    assert pins["archives"][0]["path"].endswith("/linux/aarch64/jdk/hotspot/normal/eclipse")
    with pytest.raises(api.ResolveError, match="Adoptium server has none for this machine"):
        resolve("17", site(arch="aarch64"))
    with pytest.raises(api.ResolveError, match=r"not for armv7l\)"):
        resolve("21", site(arch="armv7l"))


def test_the_server_of_the_spec_is_asked_first_and_is_in_no_pin_and_no_key():
    mirror = "https://mirror.invalid/jdk"
    at = site()
    at.urls |= served({21: [release("21.0.3", 9)]}, mirror)
    pins = resolve("21", at, mirror=mirror)
    assert pins["archives"][0]["version"] == "21.0.3"
    assert "mirror" not in json.dumps(pins)
    kind, request = JavaToolchain(), testing.request({"version": "21", "mirror": mirror})
    assert kind.question(request) == {"version": "21"}
    (fetch,) = kind.locate(request, pins, kind.fetches(request, pins), at)
    assert fetch.url.startswith(f"{mirror}/v3/binary/version/jdk-21.0.3%2B9/")
    assert fetch.mirrors[0].startswith(SERVER)
    assert resolve("17", at, mirror=mirror)["archives"][0]["version"] == "17.0.12", "which only this machine's has"


def test_links_of_the_assets_are_not_followed():
    at = site()
    resolve("21", at)
    assert not [url for url in at.fetched if "elsewhere" in url]


def test_an_earlier_pin_that_fits_stays():
    earlier = resolve("21.0.3")
    assert resolve("21", keep=earlier)["archives"][0]["version"] == "21.0.3"
    assert resolve("17", keep=earlier)["archives"][0]["version"] == "17.0.12"


def test_a_version_that_is_not_there_is_answered_with_those_that_are():
    with pytest.raises(api.ResolveError) as refused:
        resolve("21.0.99")
    assert refused.value.message == "no Java 21.0.99 can be had for x86_64; Adoptium server has 21.0.4, 21.0.3"
    with pytest.raises(api.ResolveError, match=r"no Java 23 can be had for x86_64; Adoptium server has 21, 17$"):
        resolve("23")
    assert "`language: java` takes Debian's JDK" in refused.value.hint


def test_a_feature_release_that_is_listed_and_does_not_come():
    at = site()
    at.urls = {url: content for url, content in at.urls.items() if "feature_releases" not in url}
    with pytest.raises(
        api.ResolveError, match=r"no versions from Adoptium server \(https://jdk\.invalid/v3/assets/feature"
    ):
        resolve("21", at)


def test_no_server(host):
    host.delenv("ENVTOOL_ADOPTIUM_MIRROR")
    with pytest.raises(api.ResolveError) as refused:
        resolve("21")
    assert "no versions from Adoptium server (this machine names no server of JDKs)" in refused.value.message
    assert refused.value.hint.startswith("set ENVTOOL_ADOPTIUM_MIRROR, or write")


def test_an_archive_with_another_hash():
    with pytest.raises(api.FetchError, match="sha256"):
        resolve("21", site({21: [release("21.0.4", wrong=True)]}))


def spoiled(*path, value):
    row = copy.deepcopy(release("21.0.4"))
    place = row
    for step in path[:-1]:
        place = place[step]
    if value is None:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    return [row]


PACKAGE = ("binaries", 3, "package")
HOSTILE = {
    "a mapping": {"error": 1},
    "nothing": None,
    "a text": "x",
    "many": [{}] * 1001,
    "a number for a release": [7],
    "no version": spoiled("version_data", value=None),
    "a text for a number": spoiled("version_data", "major", value="21"),
    "a huge number": spoiled("version_data", "security", value=10**30),
    "a negative number": spoiled("version_data", "minor", value=-1),
    "a truth": spoiled("version_data", "minor", value=True),
    "infinity": spoiled("version_data", "security", value=float("inf")),
    "no binaries": spoiled("binaries", value=None),
    "a number for a name": spoiled("release_name", value=7),
    "a name with ..": spoiled("release_name", value="jdk-21/../../x"),
    "a name that is a query": spoiled("release_name", value="jdk-21?x"),
    "a long name": spoiled("release_name", value="jdk-2" + "1" * 5000),
    "a name with a line": spoiled("release_name", value="jdk-21\n"),
    "a file with a slash": spoiled(*PACKAGE, "name", value="../x.tar.gz"),
    "a file of another form": spoiled(*PACKAGE, "name", value="x.exe"),
    "a short hash": spoiled(*PACKAGE, "checksum", value="abc"),
    "no hash": spoiled(*PACKAGE, "checksum", value=None),
}


@pytest.mark.parametrize("case", [*HOSTILE])
def test_hostile_assets(case):
    with pytest.raises(api.ResolveError, match=r"no list of assets|another form than Adoptium's"):
        read_assets(HOSTILE[case], "x64")


@pytest.mark.parametrize("content", [b"{", b"[" * 100_000, b"9" * 5000, b"\xff", b"[" + b" " * (8 << 20) + b"]"])
def test_answers_that_are_no_json_or_too_large(content):
    url = f"{SERVER}/v3/assets/feature_releases/21/ga?{assets_query('x64', 0)}"
    with pytest.raises(api.ResolveError, match="what the server says is no list of assets"):
        resolve("21", testing.MemorySite(urls={url: content}))


def test_hostile_lists_of_feature_releases():
    assert read_features({"available_releases": [21, "17", -1, 10**40, True, None, [8]]}) == {21}
    assert read_features([]) == read_features({"available_releases": 7}) == read_features(None) == set()


def test_the_language_adds_no_jdk_beside_a_toolchain():
    assert (TOOLCHAIN.kind, bool(TOOLCHAIN.mirror)) == ("java-toolchain", True)
    where = api.Where(file="envtool.yaml", line=3, column=9)
    env = api.EnvDraft(name="t", base_kind="debian", options={}, layer_names=("toolchain-java",), where=where)
    project = testing.MemoryProject({"pom.xml": POM})
    assert JavaLanguage().layers(env, project)[0].options == ["default-jdk-headless", "maven"]
    apt, maven = JavaLanguage().layers(replace(env, toolchains=("java",)), project)
    assert apt.options == ["maven"]
    assert "toolchain-java" in maven.needs


@pytest.mark.parametrize(
    ("text", "wanted", "line"),
    [
        ("21\n", "21", 1),
        ("# why\n21.0.4 # comment\n", "21.0.4", 2),
        ("temurin-21.0.4+7.0.LTS\n", "21.0.4", 1),
        ("openjdk64-17.0.2", "17.0.2", 1),
        ("1.8\n", "8", 1),
        ("1.8.0", "8.0", 1),
    ],
)
def test_the_file_that_names_the_version(text, wanted, line):
    (found,) = TOOLCHAIN.wants(testing.MemoryProject({".java-version": text}))
    assert (found.wanted, found.file, found.line) == (wanted, ".java-version", line)
    assert [*TOOLCHAIN.wants(testing.MemoryProject({}))] == []


@pytest.mark.parametrize("text", ["", "latest", "system", "21.x", "9" * 5000, "a-" * 5000 + "21", "1.7.\n"])
def test_files_that_name_no_version(text):
    with pytest.raises(api.SpecError) as refused:
        [*TOOLCHAIN.wants(testing.MemoryProject({".java-version": text}))]
    message = refused.value.problems[0].message
    assert message.startswith(".java-version names the Java `")
    assert message.endswith("`, which is no version")
    assert len(message) < 120
