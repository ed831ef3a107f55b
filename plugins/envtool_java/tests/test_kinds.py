"""The kind, its recorder and its pins, against a site that answers as containers and repositories would."""

from __future__ import annotations

import hashlib
import http.client
import os
import socket
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from envtool_java import maven_versions, repository_layout, resolver, scripts
from envtool_java.build_recorder import PATH, BuildRecorder, file_name
from envtool_java.kinds import Maven, metadata_text, pinned_versions
from envtool_java.repositories import MavenRepository

from envtool import api, testing

CENTRAL = "https://central.example/maven2"
JAR = "junit/junit/4.13.2/junit-4.13.2.jar"
POM = "junit/junit/4.13.2/junit-4.13.2.pom"
LONG = "/".join(["org", *["very-long-name-of-a-part"] * 12, "1.0", "x-1.0.jar"])
BODIES = {JAR: b"jar", POM: b"pom", LONG: b"long"}
METADATA = "org/x/plugin/maven-metadata.xml"


@pytest.fixture(autouse=True)
def no_settings(monkeypatch, tmp_path):
    """No test reads this machine's settings."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr("envtool_java.resolver.read_settings", lambda environ: resolver.MavenSettings())


class Site(testing.MemorySite):
    """A site whose downloaded files are on the disk, and whose container asks the recorder for `asked`."""

    def __init__(self, top, asked=(), status=0, stderr=b"", urls=None):
        urls = {f"{CENTRAL}/{path}": body for path, body in BODIES.items()} if urls is None else urls
        super().__init__(urls=urls, answers={"/bin/sh": self.answer}, project=str(top))
        self.asked, self.status, self.stderr, self.top = asked, status, stderr, Path(top)
        self.answered, self.envs, self.networks = [], [], []

    def fetch(self, fetches):
        paths = []
        for item in fetches:
            body = next(body for body in self.urls.values() if hashlib.sha256(body).hexdigest() == item.sha256)
            if not (self.top / item.sha256).exists():  # a stored file never changes
                (self.top / item.sha256).write_bytes(body)
            paths.append(self.top / item.sha256)
        return paths

    def run(self, command, *, env=None, binds=(), network=False):
        self.networks.append(network)
        self.envs.append(dict(env or {}))
        self.binds = binds
        return super().run(command, env=env, binds=binds, network=network)

    def answer(self, command):
        if command.argv[2] == scripts.INSPECT:
            return testing.completed(f"3.8.7\n17.0.15\n{CENTRAL}\n".encode())
        path = os.path.join(self.binds[0].source, "recorder")
        self.answered = [ask(path, self.envs[-1]["ENVTOOL_TOKEN"], name) for name in self.asked]
        return testing.completed(status=self.status, stderr=self.stderr)


class Connection(http.client.HTTPConnection):
    def __init__(self, path, token):
        super().__init__("container")
        self.path, self.token = path, token

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(self.path)
        self.sock.sendall(f"{self.token}\n".encode())


def ask(path, token, name, method="GET"):
    connection = Connection(path, token)
    try:
        connection.request(method, f"/{name}")
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def test_it_keeps_the_contract(tmp_path):
    options = {"record": ["test"], "arguments": ["-Pci"]}
    wrong = ["x", [], {"record": []}, {"source": "src"}, {"run_tests": "no"}, {"more": 1}]
    site = Site(tmp_path, [JAR, POM])
    pins = testing.check_kind(Maven(), options, site=site, wrong=wrong)
    assert pins["files"] == [
        {"path": JAR, "sha256": hashlib.sha256(b"jar").hexdigest(), "size": 3},
        {"path": POM, "sha256": hashlib.sha256(b"pom").hexdigest(), "size": 3},
    ]
    assert (pins["maven"], pins["java"]) == ("3.8.7", "17.0.15")
    assert not any(site.networks), "no container of this kind has a network"
    assert CENTRAL not in str(pins)
    assert Maven().summary(testing.request(None), pins) == "2 files"


def test_what_the_build_gets_and_what_is_pinned(tmp_path):
    site = Site(tmp_path, [JAR, f"{JAR}.sha1", "org/x/absent/1/absent-1.jar", f"{JAR}.asc", METADATA, LONG])
    site.urls[f"{CENTRAL}/{METADATA}"] = b"<metadata/>"
    pins = Maven().resolve(testing.request(None), site)
    statuses = [status for status, _ in site.answered]
    assert statuses == [200, 200, 404, 404, 200, 200]
    assert site.answered[0][1] == b"jar"
    assert site.answered[1][1] == hashlib.sha1(b"jar", usedforsecurity=False).hexdigest().encode()
    assert [item["path"] for item in pins["files"]] == [JAR, LONG]
    assert pins["metadata"] == ["org/x/plugin"]
    words = site.ran[-1].argv
    assert words[-1] == "install"
    assert {*resolver.NO_TEST} <= {*words}
    assert site.places[pins["files"][0]["sha256"]] == f"{CENTRAL}/{JAR}"


def test_tests_run_if_they_are_to_be_recorded(tmp_path):
    site = Site(tmp_path)
    Maven().resolve(testing.request({"run_tests": True, "source": "/src"}), site)
    assert not {*resolver.NO_TEST} & {*site.ran[-1].argv}
    assert site.ran[-1].argv[4:6] == ("/src", ".")


def test_one_changed_dependency_is_one_download(tmp_path):
    newer = JAR.replace("4.13.2", "4.13.3")
    site = Site(tmp_path, [JAR, POM])
    before = Maven().resolve(testing.request(None), site)
    site = Site(tmp_path, [newer, POM])
    site.urls[f"{CENTRAL}/{newer}"] = b"newer"
    after = Maven().resolve(replace(testing.request(None), keep=before), site)
    assert [item["path"] for item in after["files"]] == [POM, newer]
    assert site.fetched == [f"{CENTRAL}/{newer}"]


@pytest.mark.parametrize(
    "path",
    [
        "../../etc/passwd",
        "a/../../b/c",
        "/etc/passwd",
        "a/b",
        "a/b/c?x=1",
        "a/b/c%2e",
        "http://h/a/b/c",
        "a/./b/c/d",
        "a//b/c",
    ],
)
def test_a_path_that_is_none_of_a_repository_asks_nobody(tmp_path, path):
    assert not PATH.match(path.lstrip("/")) or path == "/etc/passwd"
    site = Site(tmp_path, [path])
    Maven().resolve(testing.request(None), site)
    assert site.answered[0][0] in (404, 400)
    assert site.fetched == []


def test_a_stranger_without_the_token_gets_nothing(tmp_path):
    recorder = BuildRecorder(Site(tmp_path), (MavenRepository(url=CENTRAL),), {})
    with recorder.serve() as directory:
        path = os.path.join(directory, "recorder")
        with pytest.raises((http.client.BadStatusLine, ConnectionError)):
            ask(path, "wrong", JAR)
        assert ask(path, recorder.token, JAR, "HEAD") == (200, b"")
        assert ask(path, recorder.token, JAR, "POST")[0] == 501
    assert not os.path.exists(directory), "nothing is left behind"
    assert recorder.files == {JAR: (hashlib.sha256(b"jar").hexdigest(), 3)}


def test_what_maven_reads_beside_poms_is_text_that_decides(tmp_path):
    """Options of the JVM and of Maven are no XML; extensions.xml declares no repository of the project."""
    texts = {
        "pom.xml": "<project/>",
        ".mvn/jvm.config": "--add-opens jdk.compiler/a.b=ALL-UNNAMED\n",
        ".mvn/maven.config": "-T1\n-ntp\n",
        ".mvn/extensions.xml": "<extensions/>",
        "lib/.mvn/jvm.config": "-Xmx1g",
    }
    asked = replace(testing.request(None), texts=texts)
    assert Maven().resolve(asked, Site(tmp_path, [JAR]))
    for path, text in texts.items():
        changed = replace(asked, texts={**texts, path: f"{text}<!-- -->"})
        assert (Maven().question(changed) == Maven().question(asked)) == (path == "pom.xml")


def test_many_at_once_ask_for_one_download(tmp_path):
    site = Site(tmp_path)
    recorder = BuildRecorder(site, (MavenRepository(url=CENTRAL),), {})
    with recorder.serve() as directory:
        answers = []
        path = os.path.join(directory, "recorder")
        threads = [threading.Thread(target=lambda: answers.append(ask(path, recorder.token, JAR))) for _ in range(8)]
        [thread.start() for thread in threads]
        [thread.join() for thread in threads]
    assert answers == [(200, b"jar")] * 8
    assert site.fetched == [f"{CENTRAL}/{JAR}"]


def test_repositories_are_asked_in_order_and_a_failure_is_no_absence(tmp_path):
    first = MavenRepository(url="https://first.example")
    site = Site(tmp_path)
    recorder = BuildRecorder(site, (first, MavenRepository(url=CENTRAL)), {})
    assert recorder.find(JAR) is not None, "the first does not have it"

    def refuse(sealed):
        raise api.FetchError("https://first.example: HTTP 503 Service Unavailable", code="fetch-status")

    site.learn = refuse
    with pytest.raises(api.FetchError):
        recorder.find(POM)
    assert recorder.errors
    assert recorder.missing == set()


@pytest.mark.parametrize(
    ("site", "said"),
    [
        ({"status": scripts.NO_MAVEN}, ["there is no mvn in this env", "apt: [maven, default-jdk-headless]"]),
        ({"status": scripts.NO_JAVA}, ["there is no java in this env"]),
        (
            {
                "status": 1,
                "stderr": b"[ERROR] Failed to execute goal: Could not find artifact a:b:jar:1\n[ERROR] [Help 1]\n",
            },
            ["Could not find artifact a:b:jar:1", "looked for in https://central.example"],
        ),
        ({"status": 1, "stderr": b"[ERROR] COMPILATION ERROR :\n"}, ["could not build the project", "has to compile"]),
        (
            {"status": 1, "stderr": b"[ERROR] Detected Maven Version: 3.8.7 is not in the allowed range [3.9,).\n"},
            ["wants Maven [3.9,), this env has 3.8.7", "trixie 3.9"],
        ),
        (
            {
                "status": 1,
                "stderr": b"[ERROR] Detected JDK /j/17 is version 17.0.1 which is not in the allowed range 21.\n",
            },
            ["wants Java 21, this env has 17.0.1", "trixie 21"],
        ),
        (
            {"status": 1, "stderr": b"[ERROR] Detected JDK Version: 17.0.1 is not in the allowed range [21,)\n"},
            ["wants Java [21,), this env has 17.0.1"],
        ),
        (
            {"status": 1, "stderr": b"[ERROR] COMPILATION ERROR :\n[ERROR] error: release version 21 not supported\n"},
            ["compiles for Java 21", "trixie 21"],
        ),
        (
            {"status": 1, "asked": ["org/x/y/1-SNAPSHOT/y-1-SNAPSHOT.jar"]},
            ["asks for a snapshot", "org/x/y/1-SNAPSHOT/y-1-SNAPSHOT.jar", "name a release"],
        ),
    ],
)
def test_a_build_that_fails_says_why(tmp_path, site, said):
    testing.check_refused(Maven(), None, *said, site=Site(tmp_path, **site))


MAVEN_3_9 = "org/apache/maven/apache-maven/3.9.11/apache-maven-3.9.11-bin.tar.gz"
VERSIONS = "".join(
    f"<version>{each}</version>" for each in ("3.8.8", "3.9.9", "3.9.11", "3.9.10", "4.0.0", "4.1.0-rc-1")
)
TOO_OLD = b"Detected Maven Version: 3.8.7 is not in the allowed range [3.9,).\n"


class RefusingSite(Site):
    """A site whose build refuses the Maven of the stack, and takes that beside the recorder's socket."""

    def answer(self, command):
        completed = super().answer(command)
        if command.argv[2] == scripts.INSPECT:
            return completed
        maven = Path(self.binds[0].source, "maven.tar.gz")
        self.mavens = [*getattr(self, "mavens", []), maven.read_bytes() if maven.exists() else b""]
        return completed if self.mavens[-1] else testing.completed(status=1, stderr=TOO_OLD)


def refusing_site(tmp_path, *asked):
    urls = {f"{CENTRAL}/{path}": body for path, body in BODIES.items()}
    urls |= {f"{CENTRAL}/{maven_versions.METADATA}": VERSIONS.encode(), f"{CENTRAL}/{MAVEN_3_9}": b"maven"}
    return RefusingSite(tmp_path, asked, urls=urls)


def test_a_project_that_wants_a_newer_maven_gets_that_of_the_repository(tmp_path):
    site = refusing_site(tmp_path, JAR)
    pins = testing.check_kind(Maven(), {}, site=site)
    assert site.mavens[:2] == [b"", b"maven"]
    assert (pins["maven"], pins["distribution"]) == ("3.8.7", "3.9.11")
    assert [item["path"] for item in pins["files"]] == [JAR, MAVEN_3_9]
    assert not pins["metadata"], "which versions of Maven there are is no question of the build"
    request = testing.request(None)
    assert Maven().summary(request, pins) == "2 files, Maven 3.9.11"
    assert Maven().variables(request, pins)["PATH"] == "/opt/maven/distribution/bin"
    unpack, call = Maven().build(request, pins).steps
    assert (unpack.name, unpack.target, unpack.strip) == (file_name(MAVEN_3_9), "/opt/maven/distribution", 1)
    assert call.arguments[1] == [[file_name(JAR), JAR]], "it is no artifact of the build"
    assert any("wants Maven [3.9,), and this env has 3.8.7" in note for note in site.notes)


def test_a_pinned_maven_stays(tmp_path):
    earlier = {"files": [], "metadata": [], "distribution": "3.9.9"}
    site = refusing_site(tmp_path)
    site.urls[f"{CENTRAL}/{MAVEN_3_9.replace('3.9.11', '3.9.9')}"] = b"older"
    pins = Maven().resolve(replace(testing.request(None), keep=earlier), site)
    assert pins["distribution"] == "3.9.9"


def test_a_maven_that_cannot_be_had_is_said(tmp_path):
    site = refusing_site(tmp_path)
    del site.urls[f"{CENTRAL}/{MAVEN_3_9}"]
    testing.check_refused(Maven(), None, "lists Maven 3.9.11 and does not have it", site=site)
    site.urls[f"{CENTRAL}/{maven_versions.METADATA}"] = b"<version>3.6.3</version>"
    testing.check_refused(Maven(), None, "Detected Maven Version: 3.8.7", site=site)


def test_a_lock_whose_maven_is_not_among_its_files_is_refused():
    pins = {"maven": "3.8.7", "java": "17", "files": [], "metadata": [], "distribution": "3.9.11"}
    with pytest.raises(api.ResolveError, match=r"Maven 3\.9\.11 is not among the files"):
        Maven().build(testing.request(None), pins)


@pytest.mark.parametrize("version", ["../3.9", "3", "3.9-rc-1", "3.9.11/x", 3])
def test_a_maven_of_a_lock_that_leads_elsewhere_does_not_fit(version):
    pins = {"maven": "3.8.7", "java": "17", "files": [], "metadata": [], "distribution": version}
    assert api.shapes.fault(pins, Maven.pins)


@pytest.mark.parametrize(
    ("output", "wanted"),
    [
        ("x\nDetected Maven Version: 3.8.7 is not in the allowed range [3.9,).\n", "[3.9,)"),
        ("Detected Maven Version: 3.8.7 which is not in the allowed range (,3.5],[3.9,4).", "(,3.5],[3.9,4)"),
        ("The plugin org.x:y-maven-plugin:4.0 requires Maven version 3.9.6", "[3.9.6,)"),
        ("Unable to build project '/project/pom.xml; it requires Maven version 3.9", "[3.9,)"),
        ("Detected JDK Version: 17.0.15 is not in the allowed range [21,).", ""),
        ("Detected Maven Version: 3.8.7 is not in the allowed range [" + "(" * 100_000, ""),
        ("Unable to build project " * 10_000, ""),
    ],
)
def test_which_maven_a_build_wants(output, wanted):
    assert maven_versions.wanted_range(output) == wanted


@pytest.mark.parametrize(
    ("wanted", "fitting"),
    [
        ("[3.9,)", {"3.9", "3.9.0", "3.9.11", "4.0.0"}),
        ("(3.9,4)", {"3.9.11"}),
        ("[3.9]", {"3.9", "3.9.0"}),
        ("(,3.6],[3.9.11,4.0]", {"3.5", "3.9.11", "4.0.0"}),
        ("(,)", {"3.5", "3.9", "3.9.0", "3.9.11", "4.0.0"}),
        ("[]", set()),
        ("3.9", set()),
    ],
)
def test_ranges_of_maven(wanted, fitting):
    versions = ("3.5", "3.9", "3.9.0", "3.9.11", "4.0.0")
    assert {version for version in versions if maven_versions.in_range(version, wanted)} == fitting


@pytest.mark.parametrize(
    ("wanted", "here", "earlier", "version"),
    [
        ("[3.9,)", "3.8.7", "", "3.9.11"),
        ("[3.9,)", "3.8.7", "3.9.9", "3.9.9"),
        ("[3.9.11,)", "3.8.7", "3.9.9", "3.9.11"),
        ("[4,)", "3.8.7", "", "4.0.0"),
        ("[5,)", "3.8.7", "", ""),
    ],
)
def test_which_maven_a_build_gets(wanted, here, earlier, version):
    assert maven_versions.choose_version(VERSIONS, wanted, here, earlier) == version


class LateSite(Site):
    """A site whose `mvn install` fails after the tests, or before."""

    def __init__(self, top, output, asked):
        super().__init__(top, asked)
        self.output = output

    def answer(self, command):
        completed = super().answer(command)
        if command.argv[-1] == "install":
            return testing.completed(status=1, stderr=self.output)
        return completed


@pytest.mark.parametrize("surefire", ["maven-surefire-plugin:3.0.0-M7:test", "surefire:3.5.4:test"])
def test_a_build_that_fails_after_the_tests_is_recorded_up_to_them(tmp_path, surefire):
    output = f"[INFO] --- {surefire} (default-test) @ x ---\n[ERROR] no key to sign with\n".encode()
    site = LateSite(tmp_path, output, [JAR])
    pins = Maven().resolve(testing.request(None), site)
    assert [item["path"] for item in pins["files"]] == [JAR]
    assert [command.argv[-1] for command in site.ran[1:]] == ["install", "test"]
    assert any("`mvn install` fails after the tests (no key to sign with)" in note for note in site.notes)
    asked_for = LateSite(tmp_path, output, [JAR])
    testing.check_refused(Maven(), {"record": ["install"]}, "no key to sign with", site=asked_for)


def test_where_the_tests_cannot_be_recorded_either_the_first_failure_is_the_reason(tmp_path):
    class NoTestSite(LateSite):
        """`mvn test` fails as well, for there is no jar of another module yet."""

        def answer(self, command):
            completed = super().answer(command)
            if command.argv[-1] == "test":
                return testing.completed(status=1, stderr=b"[ERROR] module not found: org.example.lib\n")
            return completed

    output = b"[INFO] --- surefire:3.5.4:test (default-test) @ x ---\n[ERROR] no key to sign with\n"
    site = NoTestSite(tmp_path, output, [JAR])
    testing.check_refused(Maven(), None, "no key to sign with", site=site)
    assert [command.argv[-1] for command in site.ran[1:]] == ["install", "test"]


def test_a_build_that_fails_before_the_tests_fails(tmp_path):
    site = LateSite(tmp_path, b"[ERROR] COMPILATION ERROR\n", [JAR])
    testing.check_refused(Maven(), None, "COMPILATION ERROR", site=site)
    assert [command.argv[-1] for command in site.ran[1:]] == ["install"]


def test_a_repository_that_does_not_answer_is_the_reason(tmp_path):
    site = Site(tmp_path, [JAR], status=1)

    def refuse(sealed):
        raise api.FetchError("https://central.example: connection refused", code="fetch-connect")

    site.learn = refuse
    testing.check_refused(Maven(), None, "connection refused", site=site)


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ("3.8.7\n11.0.2\nhttps://x\n", "Java 11.0.2"),
        ("3.8.7\n1.8.0_1\nhttps://x\n", "too old"),
        ("3.8.7\n", "cannot be asked"),
    ],
)
def test_a_stack_that_cannot_record_is_refused(tmp_path, lines, said):
    site = Site(tmp_path)
    site.answers = {"/bin/sh": testing.completed(lines.encode())}
    testing.check_refused(Maven(), None, said, site=site)


def test_another_machine_finds_the_files_where_its_maven_looks(tmp_path, monkeypatch):
    pins = Maven().resolve(testing.request(None), Site(tmp_path, [JAR]))
    settings = resolver.MavenSettings(
        mirrors=(("corp", "*", "https://nexus.example/all"),), credentials={"corp": "Basic x"}
    )
    monkeypatch.setattr("envtool_java.resolver.read_settings", lambda environ: settings)
    request = testing.request(None)
    (found,) = Maven().locate(request, pins, Maven().fetches(request, pins), Site(tmp_path))
    assert (found.url, found.authorization, found.mirrors) == (f"https://nexus.example/all/{JAR}", "Basic x", ())
    hinted = replace(Maven().fetches(request, pins)[0], url=f"{CENTRAL}/{JAR}")
    (found,) = Maven().locate(request, pins, [hinted], Site(tmp_path))
    assert found.url == f"https://nexus.example/all/{JAR}", (
        "a URL that no setting names has no credentials, and is not asked"
    )


@pytest.mark.parametrize("path", ["../x/y/z", "/a/b/c", "a/b", "a/b/../c/d", "a/b/c\n", "a b/c/d"])
def test_pins_of_a_lock_that_lead_elsewhere_do_not_fit(path):
    pins = {"maven": "3", "java": "17", "files": [{"path": path, "sha256": "0" * 64, "size": 1}], "metadata": []}
    assert api.shapes.fault(pins, Maven.pins)


def test_names_of_files():
    assert Maven().package(file_name(JAR)) == ("junit:junit", "4.13.2")
    assert len(file_name(LONG)) <= 255
    assert "/" not in file_name(LONG)
    assert Maven().package("x.jar") == ("x.jar", "")


def test_versions_that_maven_may_look_up():
    paths = ["org/x/plugin/1.0/plugin-1.0.pom", "org/x/plugin/1.1/plugin-1.1.pom", "org/x/plugin-b/2/b-2.pom"]
    assert pinned_versions("org/x/plugin", paths) == ("1.0", "1.1")
    text = metadata_text("org/x/plugin", ["1.0", "1.1"])
    assert "<groupId>org.x</groupId><artifactId>plugin</artifactId>" in text
    assert "<release>1.1</release>" in text


def test_the_repository_is_laid_out(tmp_path, monkeypatch):
    monkeypatch.setattr(repository_layout, "REPOSITORY", str(tmp_path / "repository"))
    (tmp_path / file_name(JAR)).write_bytes(b"jar")
    rows = [["org/x/plugin", metadata_text("org/x/plugin", ["1.0"])]]
    repository_layout.lay_out_repository(str(tmp_path), [[file_name(JAR), JAR]], rows)
    assert (tmp_path / "repository" / JAR).read_bytes() == b"jar"
    assert (tmp_path / "repository/org/x/plugin/maven-metadata-local.xml").exists()
    assert (tmp_path / "repository/junit").stat().st_mode & 0o7777 == 0o1777


def test_a_task_gets_the_repository():
    assert Maven().variables(testing.request(None), None) == {
        "MAVEN_OPTS": "-Dmaven.repo.local=/opt/maven/repository",
        "MAVEN_ARGS": "--offline",
    }


def for_arm64(tmp_path, paths):
    """The pins of this machine, and what `resolve` makes of them for aarch64, without a site."""
    own = Maven().resolve(testing.request(None), Site(tmp_path, [JAR, POM]))
    own["files"] = [{"path": path, "sha256": "0" * 64, "size": 1} for path in paths]
    asked = replace(testing.request(None), keep=own, arch="aarch64", stand_in=api.StandIn(arch="x86_64", layers=()))
    return own, lambda: Maven().resolve(asked, testing.MemorySite())


def test_jars_of_every_architecture_are_locked_for_another_one(tmp_path):
    own, resolve = for_arm64(tmp_path, [JAR, POM, "org/x64/amd64/1/x-1.jar", "org/x/box64/1/box64-1.jar"])
    assert resolve() == own


@pytest.mark.parametrize(
    "name",
    ["protoc-3.25.1-linux-x86_64.exe", "netty-tcnative-2.0-linux-x86_64.jar", "skiko-1-linux-x64.jar",
     "a-1-linux-amd64.jar", "a-1-natives-linux-arm64.jar", "a-1-linux-aarch_64.jar", "a-1-linux-aarch64.jar"],
)  # fmt: skip
def test_a_file_that_names_an_architecture_is_refused(tmp_path, name):
    _, resolve = for_arm64(tmp_path, [JAR, f"org/x/x/1/{name}"])
    with pytest.raises(api.ResolveError, match=f"the build on x86_64 asks for {name}, which names") as caught:
        resolve()
    assert caught.value.code == "other-platform"
