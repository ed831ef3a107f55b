"""A project's build in a container -> pins: exactly the files that a real build and test run asked for.

Pins are JSON:

    {"maven", "java": versions of the stack below,
     "distribution": the version of the Maven that is among the files, where the project wants another; else left out,
     "files": [{"path" (in a repository), "sha256", "size"}],
     "metadata": [directories of artifacts whose versions Maven looked up]}

Pins name no repositories: another machine finds the same files where its own Maven looks.
"""

from __future__ import annotations

import os
import posixpath
import re
from collections.abc import Sequence
from typing import Any

from envtool import api
from envtool_java import scripts
from envtool_java.build_recorder import BuildRecorder
from envtool_java.poms import WrongPomError, declared_repositories, select_poms
from envtool_java.repositories import MavenRepository, MavenSettings, choose_repositories, read_settings

HINT_TOOLS = (
    "add a layer that has it, such as `apt: [maven, default-jdk-headless]`, and name it in this layer's `needs`"
)
# A method that no class has: Surefire and Failsafe start their providers, which load the classes and run no test.
# module-info is a class file that cannot be loaded: Surefire fails on one in the tests if a pattern names it.
NO_TEST = ("-Dtest=*#envtoolRunsNoTest,!module-info", "-Dit.test=*#envtoolRunsNoTest,!module-info")
_OF_ARCHITECTURE = re.compile(r"(?<![a-z0-9])(?:x86[-_]?64|x64|amd64|aarch[-_]?64|aarch_64|arm64)(?![a-z0-9])")
FLAGS = (
    "-Dmaven.test.failure.ignore=true",
    "-DfailIfNoTests=false",
    "-Dsurefire.failIfNoSpecifiedTests=false",
    "-Dit.failIfNoSpecifiedTests=false",
    "-Dfailsafe.failIfNoSpecifiedTests=false",
    "-Dgpg.skip=true",  # who releases signs in `verify`; the plugin is recorded, and nobody's key is here
)


def resolve_pins(request: api.Request, site: api.Site, options: dict[str, Any], root: str) -> dict[str, api.Json]:
    """Returns the pins. `root` is the directory of pom.xml below the sources. Raises ResolveError, FetchError.

    If the build refuses the Maven of the stack for its version, the repository's newest that it accepts takes its
    place. If `mvn install` fails only after the tests (a plugin wants the network, or a key), what `mvn test` asks for
    is recorded: a task that goes further fails as this build did."""
    from envtool_java import maven_versions

    maven, java, central = inspect_stack(site)
    repositories = find_repositories(request, central, site)
    known = _known_files(request.keep)
    goals = [str(goal) for goal in options.get("record", ["install"])]
    flags = [*FLAGS, *(NO_TEST if not options.get("run_tests") else ()), *map(str, options.get("arguments", []))]
    words = (str(options.get("source", api.PROJECT)), root, *flags, *goals)
    site.note(f"Maven builds the project, to record what `mvn {' '.join(goals)}` asks for")
    recorder = BuildRecorder(site, repositories, known)
    completed = _record(site, recorder, words, "")
    distribution = ""
    if completed.status and (wanted := maven_versions.wanted_range(completed.stderr.decode(errors="replace"))):
        earlier = str(request.keep.get("distribution", "")) if isinstance(request.keep, dict) else ""
        distribution = _find_distribution(recorder, wanted, maven, earlier)
        if distribution:
            site.note(f"the project wants Maven {wanted}, and this env has {maven}: the repository's {distribution}")
            recorder = BuildRecorder(site, repositories, {**known, **recorder.files})
            completed = _record(site, recorder, words, distribution)
    files = dict(recorder.files)
    if completed.status and "record" not in options and _is_tested(completed) and not recorder.errors:
        reason = last_words(completed.stderr.decode(errors="replace"))
        site.note(f"`mvn install` fails after the tests ({reason}): what `mvn test` asks for is recorded")
        further = BuildRecorder(site, repositories, {**known, **files})
        tested = _record(site, further, (*words[: -len(goals)], "test"), distribution)
        files |= further.files
        if not tested.status or further.errors:  # else the first failure is the one to mend
            completed, recorder = tested, further
    if completed.status:
        raise _build_error(completed, recorder, repositories)
    rows: list[api.Json] = [
        {"path": path, "sha256": sha256, "size": size} for path, (sha256, size) in sorted(files.items())
    ]
    site.note(f"{len(rows)} files")
    directories = sorted(posixpath.dirname(path) for path in recorder.metadata)
    pins: dict[str, api.Json] = {"maven": maven, "java": java, "files": rows, "metadata": [*directories]}
    return pins | ({"distribution": distribution} if distribution else {})


def pins_of_both(keep: api.Json, stand_in: api.StandIn) -> api.Json:
    """Returns what the build asked for on this machine, as pins for another architecture. Raises ResolveError (code
    other-platform) for a file that is for this machine's architecture, by its name: there the build asks for others."""
    rows: Any = keep["files"] if isinstance(keep, dict) else ()
    names = (posixpath.basename(row["path"]) for row in rows)
    if name := next((name for name in names if _OF_ARCHITECTURE.search(name.lower())), ""):
        raise api.ResolveError(
            f"the build on {stand_in.arch} asks for {name}, which names an architecture: what it asks for there is"
            " known where it runs",
            code="other-platform",
        )
    return keep


def _is_tested(completed: api.Completed) -> bool:
    """Whether the build came to its tests, by what Maven prints before each goal (3.8, then 3.9)."""
    output = completed.stderr.decode(errors="replace")
    return re.search(r"--- (?:maven-surefire-plugin|surefire):[\w.-]{1,60}:test ", output) is not None


def _find_distribution(recorder: BuildRecorder, wanted: str, here: str, earlier: str) -> str:
    """Returns the version of a Maven of the repositories that the build accepts, or "". Raises FetchError."""
    from envtool_java import maven_versions

    found = recorder.find(maven_versions.METADATA)
    text = found[1] if found else b""
    assert isinstance(text, bytes)
    return maven_versions.choose_version(text.decode(errors="replace"), wanted, here, earlier)


def _record(site: api.Site, recorder: BuildRecorder, words: Sequence[str], distribution: str) -> api.Completed:
    """Runs the project's build through a recorder, by the Maven of the stack or by that version of the repositories.
    Raises ResolveError, FetchError."""
    from envtool_java.maven_versions import distribution_path

    archive = ""
    if distribution:
        found = recorder.find(distribution_path(distribution))
        if found is None:
            raise api.ResolveError(f"the repository lists Maven {distribution} and does not have it", code="maven")
        archive = str(found[1])
    with recorder.serve(archive) as directory:
        return _run(
            site,
            words,
            env={"ENVTOOL_TOKEN": recorder.token, "ENVTOOL_BRIDGE": scripts.BRIDGE},
            binds=[api.Bind(source=directory, target=scripts.SOCKET_DIRECTORY)],
        )


def inspect_stack(site: api.Site) -> tuple[str, str, str]:
    """Returns the versions of Maven and Java in the stack below, and the URL of Maven's own default repository. Runs
    nothing of the project. Raises ResolveError."""
    command = api.Command(argv=("/bin/sh", "-c", scripts.INSPECT, "maven", scripts.SUPER_POM))
    completed = site.run(command)
    _check_tools(completed)
    lines = completed.stdout.decode(errors="replace").split()
    if completed.status or len(lines) != 3 or not re.match("https?://", lines[2]):
        why = completed.stderr.decode(errors="replace").strip().splitlines()[-1:] or ["it has an unknown layout"]
        raise api.ResolveError(f"Maven of this env cannot be asked: {why[0][:300]}", code="maven")
    if int(re.match(r"(?:1\.)?(\d{1,4})|", lines[1])[1] or 0) < 16:  # type: ignore[index]
        raise api.ResolveError(
            f"Java {lines[1]} of this env is too old: recording what Maven asks for needs 16 or later",
            code="java-old",
            hint="take a newer suite, as in `base: {debian: bookworm}`",
        )
    return lines[0], lines[1], lines[2]


def find_repositories(request: api.Request, central: str, site: api.Site) -> tuple[MavenRepository, ...]:
    """Returns where this machine's Maven finds the project's artifacts. Raises ResolveError."""
    try:
        declared = declared_repositories(select_poms(request.texts))
    except WrongPomError as error:
        raise api.ResolveError(f"{error.file}:{error.line}: {error}", code="maven-pom") from None
    settings = read_settings(os.environ)
    _check_proxy(settings, site)
    return choose_repositories(settings, declared, central)


def _check_proxy(settings: MavenSettings, site: api.Site) -> None:
    names = ("https_proxy", "HTTPS_PROXY", "http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY")
    if settings.proxy and not any(os.environ.get(name) for name in names):
        site.note(f"the proxy {settings.proxy} of settings.xml is not used: set https_proxy")


def _known_files(keep: api.Json) -> dict[str, tuple[str, int]]:
    """Returns the files of earlier pins: a released file of a repository never changes."""
    if not isinstance(keep, dict) or not isinstance(keep.get("files"), list):
        return {}
    rows: Any = keep["files"]
    return {str(row["path"]): (str(row["sha256"]), int(row["size"])) for row in rows}


def _run(site: api.Site, words: Sequence[str], *, env: dict[str, str], binds: Sequence[api.Bind]) -> api.Completed:
    command = api.Command(argv=("/bin/sh", "-c", scripts.RECORD, "maven", *words))
    completed = site.run(command, env=env, binds=binds)
    _check_tools(completed)
    return completed


def _check_tools(completed: api.Completed) -> None:
    if completed.status in (scripts.NO_MAVEN, scripts.NO_JAVA):
        program = "mvn" if completed.status == scripts.NO_MAVEN else "java"
        raise api.ResolveError(f"there is no {program} in this env", code="no-maven", hint=HINT_TOOLS)


def _build_error(
    completed: api.Completed, recorder: BuildRecorder, repositories: Sequence[MavenRepository]
) -> api.ResolveError | api.FetchError:
    if recorder.errors:
        return recorder.errors[0]
    output = completed.stderr.decode(errors="replace")
    if recorder.snapshots:
        path = min(recorder.snapshots)
        return api.ResolveError(
            f"the build asks for a snapshot, which changes and cannot be pinned: {path}",
            code="maven-snapshot",
            hint="name a release of it, or make it a module of this project",
        )
    return api.ResolveError(f"Maven could not build the project: {last_words(output)}", code="resolve",
                            hint=hint_for(output, [repository.url for repository in repositories]))  # fmt: skip


def last_words(output: str) -> str:
    """Returns the reason that Maven gave, on one line."""
    lines = [line.removeprefix("[ERROR]").strip() for line in output.splitlines() if line.startswith("[ERROR]")]
    useful = [line for line in lines if line and not re.match(r"->|To see|Re-run|For more|\[Help|After correct", line)]
    sentences = useful[:2] or [line.strip() for line in output.splitlines() if line.strip()][-2:]
    text = "; ".join(dict.fromkeys(sentences)) or "it said nothing"
    return re.sub(r"(?<=://)[^/@\s]+@", "***@", text)[:600]


# of the enforcer plugin (https://maven.apache.org/enforcer/enforcer-rules/versionRanges.html)
_NOT_ALLOWED = r"(?:which )?is not in the allowed range (\S{1,40}?)\.?(?=\s|$)"
JDKS = "Debian bookworm has Java 17, trixie 21 (`base: {debian: trixie}`)"


def hint_for(output: str, urls: Sequence[str]) -> str:
    """Returns what to do about Maven's error; "" if nothing is known."""
    if re.search(r"Could not find artifact|Plugin \S+ or one of its dependencies could not be resolved", output):
        shown = ", ".join(re.sub(r"(?<=://)[^/@\s]+@", "***@", url) for url in urls)
        return f"it was looked for in {shown}: as settings.xml of this machine and the project's pom.xml have it"
    if version := re.search(rf"Detected Maven Version: (\S{{1,40}}) {_NOT_ALLOWED}", output):
        return f"the project wants Maven {version[2]}, this env has {version[1]}; Debian bookworm has 3.8, trixie 3.9"
    if version := re.search(rf"Detected JDK .{{0,200}}?[vV]ersion:? (\d\S{{0,40}}) .{{0,200}}?{_NOT_ALLOWED}", output):
        return f"the project wants Java {version[2]}, this env has {version[1]}; {JDKS}"
    if version := re.search(r"(?:release version|invalid target release:|invalid source release:) (\d{1,4})", output):
        return f"the project compiles for Java {version[1]}, which this env's JDK does not know; {JDKS}"
    if "COMPILATION ERROR" in output:
        return "the project has to compile before its dependencies are known: `envtool shell` opens its env"
    return ""
