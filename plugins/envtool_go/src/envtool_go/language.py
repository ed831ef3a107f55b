"""`language: go`: a project's go.mod or go.work as layers. Pure, except `detect`."""

from __future__ import annotations

import os
import posixpath
import re
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import TYPE_CHECKING

from envtool import api
from envtool_go.go_toolchain import RELEASES, free_name, suite_for, toolchain_layers
from envtool_go.kinds import FILES, GO, join, wants

if TYPE_CHECKING:
    from envtool_go.go_files import GoFile

TASK = "go test ./... {{ args }}"
_MAX_GO_FILES = 200  # of a project without go.mod
_PACKAGE = re.compile(r"^package[ \t]+(\w+)", re.MULTILINE)
_IMPORTS = re.compile(r"^import[ \t]*(?:\(([^)]{0,5000})\)|[\w. ]{0,60}(\"[^\"\n]{1,300}\"))", re.MULTILINE)
_IMPORT_PATH = re.compile(r"^[ \t]*[\w.]{0,60}[ \t]*\"([\w./~-]{1,300})\"", re.MULTILINE)
GOCACHE = "~/.cache/go-build"


def language_layers(env: api.EnvDraft, project: api.Project) -> tuple[api.LayerDraft, ...]:
    """Returns Go as an apt layer, if the base is Debian, and the go layer with the project's modules. Raises SpecError
    if the project's own files are wrong."""
    from envtool_go.go_files import GoFileError

    try:
        options = _go_layer(env, project)
    except GoFileError as error:
        where = api.Where(file=error.file, line=error.line, column=1)
        lines = (project.read(error.file) or "").splitlines()[error.line - 1 : error.line]
        problem = api.Problem(where=where, message=str(error), code="go-file", text=(lines or [""])[0])
        raise api.SpecError((problem,)) from None
    options |= {key: env.options[key] for key in ("go", "cgo") if key in env.options}
    used_names = {*env.layer_names, *env.above}
    toolchain = toolchain_layers(env, used_names)
    needs = tuple(draft.name for draft in toolchain) or env.layer_names
    modules = api.LayerDraft(name=free_name("modules", used_names), kind="go", options=options, needs=needs)
    return _note_version(env, project, (*toolchain, modules))


def _note_version(
    env: api.EnvDraft, project: api.Project, drafts: tuple[api.LayerDraft, ...]
) -> tuple[api.LayerDraft, ...]:
    """Returns the layers, with a note if the line `toolchain` of go.work or go.mod wants another Go."""
    is_own = env.options.get("go", GO) == GO and "go" not in env.toolchains
    texts = [project.read(file) or "" for file in FILES] if is_own and env.base_kind in ("debian", "host") else []
    if not any("toolchain" in text for text in texts):
        return drafts
    from envtool.api.version_choice import note_other_version

    return note_other_version(env, drafts, "go", wants(project), {suite: f"1.{minor}" for minor, suite in RELEASES})


def _go_layer(env: api.EnvDraft, project: api.Project) -> dict[str, api.Json]:
    """Returns the options of the go layer. Raises GoFileError, SpecError."""
    from envtool_go.go_files import missing_sums, parse_go_file, used_directory

    directory = join(str(env.options.get("directory", ".")))
    if found := _find_workspace(directory, project):
        top, workspace = found
        modules = [used_directory(top, use) for use in workspace.uses]
        for module in modules:
            if module.startswith(("/", "..")):
                raise _spec_error(
                    env, f"{join(top, 'go.work')} uses {module}, which is outside of the project", hint=""
                )
            if project.read(join(module, "go.mod")) is None:
                raise _spec_error(env, f"{join(top, 'go.work')} uses {module}, where there is no go.mod", hint="")
        options: dict[str, api.Json] = {"workspace": [*sorted(modules)]}
    else:
        top, path = directory, join(directory, "go.mod")
        text = project.read(path)
        if text is None:
            raise _spec_error(env, f"there is no {path}", hint="`directory:` says where it is")
        file = parse_go_file(text, path)
        is_locked = project.read(join(directory, "go.sum")) is not None or _is_vendored(project, directory)
        if not is_locked and missing_sums([file], {}):
            raise _spec_error(env, f"{path} requires modules, and there is no go.sum", hint="`go mod tidy` writes it")
        options = {}
    if _is_vendored(project, top):
        options = {"vendored": True}
    return options | ({"directory": top} if top != "." else {})


def _find_workspace(directory: str, project: api.Project) -> tuple[str, GoFile] | None:
    """Returns the directory and the content of the go.work that Go would use in a directory: its own, or the next one
    above."""
    from envtool_go.go_files import parse_go_file

    while True:
        path = join(directory, "go.work")
        if (text := project.read(path)) is not None:
            return directory, parse_go_file(text, path)
        if directory in (".", ""):
            return None
        directory = posixpath.dirname(directory) or "."


def _is_vendored(project: api.Project, directory: str) -> bool:
    return project.read(join(directory, "vendor/modules.txt")) is not None


def _spec_error(env: api.EnvDraft, message: str, *, hint: str) -> api.SpecError:
    return api.SpecError((api.Problem(where=env.where, message=message, code="go", hint=hint),))


# ---- `envtool init` -------------------------------------------------------------------------------------------------


def detect(project: api.Project) -> list[api.Detection]:
    """Returns what the project's files suggest, at most one detection. Runs no code of the project."""
    from envtool_go.go_files import GoFileError, parse_go_file

    name = "go.work" if project.read("go.work") is not None else "go.mod"
    text = project.read(name)
    if text is None:
        return _detect_before_modules(project)
    try:
        file = parse_go_file(text, name)
    except GoFileError as error:
        return [api.Detection(language="go", reason=f"{error.file}:{error.line}: {error}")]
    newest, release = RELEASES[-1]  # also for an older `go`: a requirement may want more than go.mod does
    env: dict[str, api.Json] = {"base": {"debian": release}, "language": "go", "caches": [GOCACHE]}
    if file.minor > newest:
        from envtool_go.go_releases import has_proxy

        if not has_proxy(os.environ):
            reason = (
                f"{name}, which wants Go 1.{file.minor}: Debian {release} has 1.{newest}, and this machine has no Go"
                f' proxy, which has others (`toolchain: {{go: "1.{file.minor}"}}`)'
            )
            return [api.Detection(language="go", reason=reason)]
        env["toolchain"] = {"go": f"1.{file.minor}"}
    draft = api.EnvDraft(
        name="", base_kind="debian", options={}, layer_names=(), where=api.Where(file=name, line=1, column=1)
    )
    try:
        language_layers(draft, project)
    except api.SpecError as error:
        message, hint = error.problems[0].message, error.problems[0].hint
        reason = message if message.startswith(f"{name} ") else f"{name}: {message}"
        return [api.Detection(language="go", reason=reason, env=env, hint=hint)]
    packages = " ".join(f"./{join(use)}/..." if join(use) != "." else "./..." for use in file.uses)
    task = f"go test {packages} {{{{ args }}}}" if file.uses else TASK
    return [api.Detection(language="go", reason=name, env={**env, "tasks": {"test": task}})]


def _detect_before_modules(project: api.Project) -> list[api.Detection]:
    """Returns the detection of packages from before modules, without go.mod, if they import the standard library and
    each other alone: then their tests need no other module, and run in a GOPATH, as their authors ran them."""
    paths = [path for path in project.glob("**/*.go") if not any(part[0] in "._" for part in path.split("/"))]
    if len(paths) > _MAX_GO_FILES or not any(path.endswith("_test.go") for path in paths):
        return []
    texts = {path: project.read(path) or "" for path in paths}
    packages: dict[str, set[str]] = {}  # by directory, "" the project's own
    for path, text in texts.items():
        if not path.endswith("_test.go") and (match := _PACKAGE.search(text)):
            packages.setdefault(posixpath.dirname(path), set()).add(match[1])
    tested = {directory: names for directory, names in packages.items() if "testdata" not in directory.split("/")}
    if not tested or any(len(names) != 1 for names in tested.values()):
        return []
    imports = {
        path
        for text in texts.values()
        for block in _IMPORTS.findall(text)
        for path in _IMPORT_PATH.findall("".join(block))
    }
    foreign = sorted(path for path in imports if "." in path.partition("/")[0])
    module = _module_path(foreign, packages)
    if not module:
        reason = f"Go without go.mod, which imports {', '.join(foreign[:3])}: `go mod init` and `go mod tidy` make one"
        return [api.Detection(language="go", reason=reason)]
    target = f"/tmp/go/src/{module}"
    env: dict[str, api.Json] = {
        "base": {"debian": suite_for(0)},
        "layers": [{"apt": ["gcc", "golang-go", "libc6-dev"]}],
        "set": {"GOPATH": "/tmp/go", "GO111MODULE": "off"},
        "tasks": {"test": f"mkdir -p {target} && cp -r . {target} && cd {target} && go test ./... {{{{ args }}}}"},
    }
    reason = "Go without go.mod, which imports the standard library and itself alone"
    return [api.Detection(language="go", reason=reason, env=env)]


def _module_path(foreign: Sequence[str], packages: Mapping[str, AbstractSet[str]]) -> str:
    """Returns the import path of the project's top under which each path of `foreign` is a package of the project;
    "" if there is none. `packages`: directory -> names of its packages."""
    if not foreign:
        (name, *_) = sorted(packages[min(packages)])
        return f"example.org/{name}"
    for directory in sorted(packages):
        if directory and foreign[0].endswith(f"/{directory}"):
            module = foreign[0].removesuffix(f"/{directory}")
        elif not directory and foreign[0].rpartition("/")[2] in packages[""]:
            module = foreign[0]
        else:
            continue
        own = {f"{module}/{each}" if each else module for each in packages}
        if own.issuperset(foreign):
            return module
    return ""
