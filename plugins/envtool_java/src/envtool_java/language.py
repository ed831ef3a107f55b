"""`language: java`: a project's pom.xml as layers. Pure, except `detect`.

The JDK and Maven are those of the base: Debian's, or this machine's. With `toolchain: {java: …}` the JDK is the pinned
one, which JAVA_HOME names.
"""

from __future__ import annotations

import os
import posixpath
import re
from collections.abc import Iterable

from envtool import api

HOST_PATH = "/usr/local/bin:/usr/bin:/bin"
GRADLE = ("build.gradle.kts", "build.gradle", "settings.gradle.kts", "settings.gradle")
OLDEST, NEWER = (
    7,
    8,
)  # that the JDK of bookworm compiles for (javac --help, `--release`): 8 without a warning of its end
_BOOKWORM, _TRIXIE = 17, 21  # the versions of Java that are the default of these suites
_LEVEL = re.compile(r"<(maven\.compiler\.)?(?:source|target|release)>\s*(?:1\.)?(\d{1,2})\s*</")
DEFAULT_TESTS = (
    "src/test/java"  # https://maven.apache.org/guides/introduction/introduction-to-the-standard-directory-layout.html
)
# The parents of Apache's projects have the plugin; they are in a repository, which `init` does not ask.
_AUDITS_LICENCES = re.compile(
    r"<artifactId>\s*apache-rat-plugin\s*<|<parent>(?:(?!</parent>).){0,500}?<groupId>\s*org\.apache[.\w]*\s*<",
    re.DOTALL,
)
_TESTS = re.compile(  # a directory of the module
    r"<testSourceDirectory>\s*(?:\$\{(?:project\.)?basedir\})?([^<\s]{1,200})\s*</testSourceDirectory>"
)
NO_GRADLE = (
    "of Gradle, which is not supported: Debian's Gradle (4.4) is older than most builds and than"
    " gradle/verification-metadata.xml; supported is Maven"
)


def language_layers(env: api.EnvDraft, project: api.Project, keys: tuple[str, ...]) -> tuple[api.LayerDraft, ...]:
    """See kinds.JavaLanguage. `keys` are the keys of the env that become options of the layer `maven`."""
    from envtool_java.poms import WrongPomError, find_poms

    directory = posixpath.normpath(str(env.options.get("directory", ".")))
    options: dict[str, api.Json] = {key: env.options[key] for key in keys if key in env.options}
    if not env.options.get("source"):
        try:
            poms = find_poms(project.read, directory)
        except WrongPomError as error:
            where = api.Where(file=error.file, line=error.line, column=1)
            raise api.SpecError((api.Problem(where=where, message=str(error), code="maven-pom"),)) from None
        if not poms:
            raise _missing(env, project, directory)
        if poms != ("pom.xml",):
            options["poms"] = [*poms]
    used_names = {*env.layer_names, *env.above}
    drafts: list[api.LayerDraft] = []
    if env.base_kind == "debian":
        name = _choose_name("jdk", used_names)
        packages: api.Json = ["maven"] if "java" in env.toolchains else ["default-jdk-headless", "maven"]
        drafts.append(api.LayerDraft(name=name, kind="apt", options=packages, after=False))
    needs = (*(draft.name for draft in drafts), *env.layer_names)
    name = _choose_name("maven-repository", used_names)
    drafts.append(api.LayerDraft(name=name, kind="maven", options=options, needs=needs))
    return tuple(drafts)


def _missing(env: api.EnvDraft, project: api.Project, directory: str) -> api.SpecError:
    for name in GRADLE:
        path = posixpath.normpath(posixpath.join(directory, name))
        if project.read(path) is not None:
            return _spec_error(env, f"{path} is {NO_GRADLE}", hint="layers of your own can build it")
    path = posixpath.normpath(posixpath.join(directory, "pom.xml"))
    hint = "`directory:` says where it is, `source: /src` where a layer has it"
    return _spec_error(env, f"there is no {path}", hint=hint)


def _choose_name(name: str, used_names: set[str]) -> str:
    while name in used_names:
        name = f"java-{name}"
    used_names.add(name)
    return name


def _spec_error(env: api.EnvDraft, message: str, *, hint: str) -> api.SpecError:
    return api.SpecError((api.Problem(where=env.where, message=message, code="maven", hint=hint),))


def detect(project: api.Project) -> list[api.Detection]:
    """Returns what the project's files suggest, at most one detection. Runs no code of the project."""
    from shutil import which

    from envtool_java.poms import WrongPomError, find_poms

    if project.read("pom.xml") is None:
        gradle = next((name for name in GRADLE if project.read(name) is not None), "")
        return [api.Detection(language="java", reason=f"{gradle}, {NO_GRADLE}")] if gradle else []
    on_host = all(which(name, path=HOST_PATH) for name in ("java", "javac", "mvn"))
    env: dict[str, api.Json] = {**({} if on_host else {"base": {"debian": "bookworm"}}), "language": "java"}
    try:
        poms = find_poms(project.read)
    except WrongPomError as error:
        return [api.Detection(language="java", reason=f"{error.file}:{error.line}: {error}")]
    words = ""
    levels = _levels(project, poms)
    if levels and max(levels) > _BOOKWORM and not (on_host and _host_java() >= max(levels)):
        env["base"] = {"debian": "trixie"}
        if min(levels) > _TRIXIE:
            reason = f"pom.xml, which is compiled for Java {min(levels)}: Debian trixie's JDK is {_TRIXIE}"
            return [api.Detection(language="java", reason=reason, env=env)]
    if too_old := sorted(level for level in levels if level < OLDEST):
        if not all(levels[level] for level in too_old):
            reason = (
                f"pom.xml, which is compiled for Java {too_old[0]}: Debian bookworm's JDK 17 has {OLDEST} and newer"
            )
            return [api.Detection(language="java", reason=reason, env=env)]
        arguments = [f"-Dmaven.compiler.{key}={NEWER}" for key in ("source", "target", "release")]
        env["arguments"] = [*arguments]
        words = "".join(f" {word}" for word in arguments)
    if not any(project.glob(f"{directory}/**/*.java") for directory in _test_directories(project, poms)):
        return [api.Detection(language="java", reason="pom.xml, and no tests", env=env)]
    reason = "pom.xml with tests"
    if any(_AUDITS_LICENCES.search(project.read(path) or "") for path in poms):
        words += " -Drat.skip"
        reason += ", without the audit of licences (apache-rat), which refuses files such as envtool.yaml"
    tasks: dict[str, api.Json] = {"test": f"mvn -o -B -ntp{words} test {{{{ args }}}}"}
    if _packages_a_jar(project):
        tasks["build"] = {"run": f"mvn -o -B -ntp{words} -DskipTests package", "outputs": ["target/*.jar"]}
    return [api.Detection(language="java", reason=reason, env={**env, "tasks": tasks})]


def _test_directories(project: api.Project, poms: Iterable[str]) -> list[str]:
    """Returns where modules can have tests: Maven's own place, and the places that a `testSourceDirectory` names. A
    module inherits its parent's, so each name counts for each module."""
    named = {DEFAULT_TESTS}
    for path in poms:
        named |= {text.strip().strip("/") for text in _TESTS.findall(project.read(path) or "")}
    plain = sorted(name for name in named if "$" not in name and ".." not in name.split("/"))
    tops = sorted({posixpath.dirname(path) for path in poms})
    return [posixpath.normpath(posixpath.join(top, name)) for top in tops for name in plain]


def _host_java() -> int:
    """Returns the version of this machine's JDK, by the name of its directory (/usr/lib/jvm/java-17-openjdk-amd64);
    0 if that has none. Nothing of it is started."""
    from shutil import which

    path = os.path.realpath(which("javac", path=HOST_PATH) or "")
    version = re.search(r"/(?:java|jdk|openjdk|temurin|zulu)-?(?:1\.)?(\d{1,2})(?=[.\-_/])", path)
    return int(version[1]) if version else 0


def _levels(project: api.Project, poms: Iterable[str]) -> dict[int, bool]:
    """Returns the versions of Java that pom.xml files compile for, each with whether only properties of Maven's
    compiler plugin name it: these the command line replaces."""
    levels: dict[int, bool] = {}
    for path in poms:
        for prefix, text in _LEVEL.findall(project.read(path) or ""):
            level = int(text)
            levels[level] = levels.get(level, True) and bool(prefix)
    return levels


def _packages_a_jar(project: api.Project) -> bool:
    text = project.read("pom.xml") or ""
    packaging = re.search(r"<packaging>\s*([\w-]+)\s*</packaging>", text)
    return packaging is None or packaging[1] == "jar"
