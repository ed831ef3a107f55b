"""pom.xml files -> modules, repositories and the question, without a container."""

from __future__ import annotations

import time

import pytest
from envtool_java.kinds import JavaLanguage, Maven
from envtool_java.language import detect
from envtool_java.poms import (
    DeclaredRepository,
    WrongPomError,
    build_question,
    declared_repositories,
    find_poms,
    parse_xml,
    source_directories,
)

from envtool import api, testing

POM = """\
<?xml version="1.0" encoding="UTF-8"?>
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>org.example</groupId>
  <artifactId>top</artifactId>
  <version>1.0</version>
  <packaging>jar</packaging>
  <name>Top</name>
  <description>It adds.</description>
  <url>https://example.org</url>
  <inceptionYear>2020</inceptionYear>
  <licenses><license><name>MIT</name></license></licenses>
  <developers><developer><name>A</name></developer></developers>
  <scm><url>https://example.org/git</url><tag>HEAD</tag></scm>
  <properties><junit.version>4.13.2</junit.version></properties>
  <!-- a comment -->
  <dependencies>
    <dependency><groupId>junit</groupId><artifactId>junit</artifactId><version>${junit.version}</version></dependency>
  </dependencies>
</project>
"""
PARENT = """\
<project><groupId>org.example</groupId><artifactId>all</artifactId><version>1.0</version><packaging>pom</packaging>
<modules><module>core</module><module>app</module></modules>
<profiles><profile><id>extra</id><modules><module>extra/pom.xml</module></modules></profile></profiles></project>
"""
CORE = """\
<project><parent><groupId>org.example</groupId><artifactId>all</artifactId><version>1.0</version></parent>
<artifactId>core</artifactId></project>
"""
APP = """\
<project><parent><groupId>org.example</groupId><artifactId>all</artifactId><version>1.0</version></parent>
<artifactId>app</artifactId><dependencies><dependency><groupId>org.example</groupId><artifactId>core</artifactId>
<version>1.0</version></dependency></dependencies></project>
"""
MODULES = {"pom.xml": PARENT, "core/pom.xml": CORE, "app/pom.xml": APP, "extra/pom.xml": CORE.replace("core", "extra")}


def draft(base="debian", **options):
    where = api.Where(file="envtool.yaml", line=3, column=9)
    return api.EnvDraft(name="unit", base_kind=base, options=options, layer_names=(), where=where)


def test_a_project_of_one_module():
    jdk, maven = testing.check_language(JavaLanguage(), {"pom.xml": POM}, record=["package"])
    assert (jdk.kind, jdk.options, jdk.after) == ("apt", ["default-jdk-headless", "maven"], False)
    assert (maven.kind, maven.options, maven.needs) == ("maven", {"record": ["package"]}, ("jdk", "mine"))


def test_modules_of_profiles_and_parents_count():
    (maven,) = JavaLanguage().layers(draft("host"), testing.MemoryProject(MODULES))
    assert maven.options == {"poms": ["app/pom.xml", "core/pom.xml", "extra/pom.xml", "pom.xml"]}
    assert find_poms(MODULES.get, "core") == ("app/pom.xml", "core/pom.xml", "extra/pom.xml", "pom.xml")


def test_sources_in_a_layer():
    (_, maven) = testing.check_language(JavaLanguage(), {}, source="/src")
    assert maven.options == {"source": "/src"}
    assert Maven().inputs({"source": "/src"}) == ()


def test_modules_that_lead_elsewhere_are_left_out():
    text = "<project><modules><module>../../etc</module><module>/etc</module><module/><module>.</module></modules></project>"
    assert find_poms({"pom.xml": text, "../../etc/pom.xml": "no", "/etc/pom.xml": "no"}.get) == ("pom.xml",)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "there is no pom.xml"),
        ({"build.gradle": ""}, "build.gradle is of Gradle, which is not supported"),
        ({"build.gradle.kts": ""}, "build.gradle.kts is of Gradle"),
        ({"pom.xml": "<project>"}, "pom.xml is not XML"),
        ({"pom.xml": ""}, "pom.xml is not XML"),
        ({"pom.xml": '<!DOCTYPE p [<!ENTITY a "b">]><project>&a;</project>'}, "declares a document type"),
        ({"pom.xml": '<!DOCTYPE p SYSTEM "file:///etc/passwd"><project/>'}, "declares a document type"),
        ({"pom.xml": "<a>" * 200 + "</a>" * 200}, "elements in each other"),
        ({"pom.xml": f"<project>{' ' * (5 << 20)}</project>"}, "larger than 4 MB"),
        ({"pom.xml": '<?xml version="1.0" encoding="no-such"?><project/>'}, "pom.xml is not XML"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(files, message):
    with pytest.raises(api.SpecError) as caught:
        JavaLanguage().layers(draft(), testing.MemoryProject(files))
    (problem,) = caught.value.problems
    assert message in problem.message
    assert problem.where.file in ("envtool.yaml", "pom.xml")


def test_hostile_files_take_little_time():
    began = time.process_time()
    modules = "".join(f"<module>m{number}</module>" for number in range(50_000))
    assert find_poms({"pom.xml": f"<project><modules>{modules}</modules></project>"}.get) == ("pom.xml",)
    loop = {
        "pom.xml": "<project><modules><module>a</module></modules></project>",
        "a/pom.xml": "<project><modules><module>..</module></modules></project>",
    }
    assert find_poms(loop.get) == ("a/pom.xml", "pom.xml")
    with pytest.raises(WrongPomError):
        parse_xml("<a>" * 100_000, "pom.xml")
    assert time.process_time() - began < 5


def test_repositories_of_the_project():
    text = """<project><repositories><repository><id>a</id><url>https://a.example/m2/</url></repository>
    <repository><id>file</id><url>file:///etc</url></repository><repository><url>${x}</url></repository></repositories>
    <pluginRepositories><pluginRepository><id>b</id><url>http://b.example</url></pluginRepository></pluginRepositories>
    <distributionManagement><repository><id>c</id><url>https://c.example</url></repository></distributionManagement>
    </project>"""
    assert declared_repositories({"pom.xml": text}) == (
        DeclaredRepository(id="a", url="https://a.example/m2"),
        DeclaredRepository(id="b", url="http://b.example"),
    )


# ---- what decides a build --------------------------------------------------------------------------------------------

EDITS = [
    ("pom.xml", "<version>1.0</version>", "<version>2.0</version>"),
    ("pom.xml", "<version>1.0</version>", "<version>2.0-SNAPSHOT</version>"),
    ("pom.xml", "<name>Top</name>", "<name>Other</name>"),
    ("pom.xml", "<name>Top</name>", ""),
    ("pom.xml", "It adds.", "It adds better."),
    ("pom.xml", "<url>https://example.org</url>", "<url>https://example.com</url>"),
    ("pom.xml", "2020", "2021"),
    ("pom.xml", "MIT", "Apache-2.0"),
    ("pom.xml", "<name>A</name>", "<name>B</name>"),
    ("pom.xml", "<tag>HEAD</tag>", "<tag>v1</tag>"),
    ("pom.xml", "a comment", "another comment"),
    ("pom.xml", "  <properties>", "\n\n    <properties>"),
    ("README.md", "x", "y"),
    ("src/main/java/x/X.java", "x", "y"),
    ("src/test/java/x/XTest.java", "x", "y"),
    ("src/main/resources/x.properties", "x", "y"),
    ("checkstyle.xml", "x", "y"),
    (".editorconfig", "x", "y"),
    (".github/workflows/ci.yml", "x", "y"),
    ("LICENSE", "x", "y"),
]
FILES = {"pom.xml": POM, **{path: "x" for path, *_ in EDITS if path != "pom.xml"}}


def question(files, options=None):
    """The question of the kind, as the core asks it."""
    kind = Maven()
    inputs = kind.inputs(options)
    texts = {item.pattern: files[item.pattern] for item in inputs if item.use == "text" and item.pattern in files}
    sources = {path: str(hash(text)) for path, text in files.items()}
    request = testing.request(options, sources)
    return kind.question(api.Request(**{name: getattr(request, name) for name in request.__slots__} | {"texts": texts}))


@pytest.mark.parametrize(("path", "old", "new"), EDITS)
def test_an_edit_that_a_build_does_not_ask_about_changes_no_question(path, old, new):
    assert old in FILES[path]
    assert question(FILES | {path: FILES[path].replace(old, new, 1)}) == question(FILES)


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("pom.xml", POM.replace("4.13.2", "4.13.1")),
        ("pom.xml", POM.replace("<packaging>jar", "<packaging>war")),
        ("pom.xml", POM.replace("</dependencies>", "</dependencies><build/>")),
        ("src/it/java/x/XIT.java", "x"),
        (".mvn/maven.config", "-Pci"),
        (".mvn/extensions.xml", "<extensions/>"),
    ],
)
def test_an_edit_that_it_asks_about_changes_it(path, text):
    assert question(FILES | {path: text}) != question(FILES)


def test_a_bump_of_all_modules_changes_no_question():
    bumped = {path: text.replace("1.0", "1.1") for path, text in MODULES.items()}
    assert build_question(bumped) == build_question(MODULES)
    other = {**MODULES, "app/pom.xml": APP.replace("core", "other")}
    assert build_question(other) != build_question(MODULES)


def test_what_is_not_xml_counts_as_it_is():
    assert build_question({"pom.xml": "<a>"}) != build_question({"pom.xml": "<b>"})


def test_directories_of_sources():
    paths = ["src/main/java/a/A.java", "core/src/test/java/T.java", "core/src/test/resources/x", "README", "src/x"]
    assert source_directories(paths) == ["core/src/test/java", "core/src/test/resources", "src/main/java"]


# ---- init ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("files", "tasks"),
    [
        (
            {"pom.xml": POM, "src/test/java/x/T.java": ""},
            {
                "test": "mvn -o -B -ntp test {{ args }}",
                "build": {"run": "mvn -o -B -ntp -DskipTests package", "outputs": ["target/*.jar"]},
            },
        ),
        ({**MODULES, "core/src/test/java/T.java": ""}, {"test": "mvn -o -B -ntp test {{ args }}"}),
    ],
)
def test_detection(files, tasks, monkeypatch):
    monkeypatch.setattr("shutil.which", lambda name, path: f"/usr/bin/{name}")
    (found,) = detect(testing.MemoryProject(files))
    assert found.env == {"language": "java", "tasks": tasks}
    monkeypatch.setattr("shutil.which", lambda name, path: None)
    (found,) = detect(testing.MemoryProject(files))
    assert found.env["base"] == {"debian": "bookworm"}


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        ({"pom.xml": POM}, "no tests"),
        ({"pom.xml": "<"}, "pom.xml:1: "),
        ({"build.gradle": ""}, "of Gradle, which is not supported"),
    ],
)
def test_what_could_not_pass_is_not_detected(files, reason):
    (found,) = detect(testing.MemoryProject(files))
    assert not found.tested
    assert reason in found.reason


def test_nothing_is_detected_elsewhere():
    assert detect(testing.MemoryProject({"Makefile": ""})) == []


@pytest.mark.parametrize(
    ("directory", "path", "tested"),
    [
        ("${project.basedir}/test", "core/test/x/T.java", True),
        ("${basedir}/test", "core/test/T.java", True),
        ("test/", "core/test/T.java", True),
        ("test", "core/src/test/java/T.java", True),  # of a module that names none
        ("test", "core/tests/T.java", False),
        ("${tests}", "core/tests/T.java", False),
        ("../test", "test/T.java", False),
    ],
)
def test_tests_are_where_a_pom_says(directory, path, tested):
    element = f"<build><testSourceDirectory>{directory}</testSourceDirectory></build>"
    poms = {**MODULES, "pom.xml": MODULES["pom.xml"].replace("</project>", f"{element}</project>")}
    (found,) = detect(testing.MemoryProject({**poms, path: ""}))
    assert found.tested == tested


@pytest.mark.parametrize(
    ("element", "is_skipped"),
    [
        ("<parent><groupId>org.apache.commons</groupId><artifactId>commons-parent</artifactId></parent>", True),
        ("<parent><artifactId>apache</artifactId><groupId> org.apache </groupId></parent>", True),
        ("<build><plugins><plugin><artifactId>apache-rat-plugin</artifactId></plugin></plugins></build>", True),
        ("<parent><groupId>org.sonatype.oss</groupId><artifactId>oss-parent</artifactId></parent>", False),
        ("<parent><groupId>a</groupId></parent><groupId>org.apache.maven</groupId>", False),
    ],
)
def test_an_audit_of_licences_would_refuse_the_spec_and_is_left_out(element, is_skipped):
    pom = POM.replace("</project>", f"{element}</project>")
    (found,) = detect(testing.MemoryProject({"pom.xml": pom, "src/test/java/T.java": ""}))
    assert found.env["tasks"]["test"] == f"mvn -o -B -ntp{' -Drat.skip' if is_skipped else ''} test {{{{ args }}}}"
    assert ("without the audit of licences" in found.reason) == is_skipped


NEWER = " -Dmaven.compiler.source=8 -Dmaven.compiler.target=8 -Dmaven.compiler.release=8"


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("<maven.compiler.source>1.6</maven.compiler.source>", NEWER),
        ("<maven.compiler.release> 5 </maven.compiler.release>", NEWER),
        ("<maven.compiler.target>1.7</maven.compiler.target>", ""),
        ("<maven.compiler.source>${jdk}</maven.compiler.source>", ""),
        ("<maven.compiler.release>21</maven.compiler.release>", ""),
        ("<source>1.5</source>", None),
        ("<maven.compiler.source>1.6</maven.compiler.source><source>1.6</source>", None),
    ],
)
def test_a_java_that_the_jdk_no_longer_compiles_for(setting, words, monkeypatch):
    monkeypatch.setattr("shutil.which", lambda name, path: None)
    files = {"pom.xml": f"<project><properties>{setting}</properties></project>", "src/test/java/ATest.java": ""}
    (found,) = detect(testing.MemoryProject(files))
    assert found.tested == (words is not None)
    if words is None:
        assert "JDK 17 has 7 and newer" in found.reason
    else:
        assert found.env["tasks"]["test"] == f"mvn -o -B -ntp{words} test {{{{ args }}}}"
        assert found.env.get("arguments", []) == words.split()


@pytest.mark.parametrize(
    ("level", "javac", "base", "tested"),
    [
        (17, "java-17-openjdk-amd64", None, True),
        (21, "java-17-openjdk-amd64", "trixie", True),
        (21, "java-21-openjdk-amd64", None, True),
        (21, "temurin-21.0.2", None, True),
        (25, "java-17-openjdk-amd64", "trixie", False),
        (21, None, "trixie", True),
    ],
)
def test_a_java_that_is_newer_than_the_machines(level, javac, base, tested, monkeypatch):
    monkeypatch.setattr("shutil.which", lambda name, path: javac and f"/usr/lib/jvm/{javac}/bin/{name}")
    pom = f"<project><properties><maven.compiler.release>{level}</maven.compiler.release></properties></project>"
    (found,) = detect(testing.MemoryProject({"pom.xml": pom, "src/test/java/ATest.java": ""}))
    assert found.tested == tested
    assert found.env.get("base") == (base and {"debian": base})
    assert tested or "compiled for Java 25: Debian trixie's JDK is 21" in found.reason
