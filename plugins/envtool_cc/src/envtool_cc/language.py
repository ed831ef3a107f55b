"""`language: cc`: a project's build files as layers. Pure."""

from __future__ import annotations

import posixpath

from envtool import api

REPLACED = {"cmake": "cmake", "meson": "meson", "ninja": "ninja-build"}  # by toolchains
FILES = "CMakeLists.txt, meson.build, configure.ac, configure or Makefile"


def language_layers(env: api.EnvDraft, project: api.Project, keys: tuple[str, ...]) -> tuple[api.LayerDraft, ...]:
    """See kinds.CcLanguage. `keys` are the keys of the env that become options of the layer `cc`."""
    used_names = {*env.layer_names, *env.above}
    packages = apt_packages(env, project)
    drafts: list[api.LayerDraft] = []
    if packages:
        name = _choose_name("c-tools", used_names)
        drafts.append(api.LayerDraft(name=name, kind="apt", options=[*packages], after=False))
    options = {key: env.options[key] for key in keys if key in env.options}
    if options:
        name = _choose_name("c-compiler", used_names)
        drafts.append(api.LayerDraft(name=name, kind="cc", options=options, after=False))
    return tuple(drafts)


def apt_packages(env: api.EnvDraft, project: api.Project) -> tuple[str, ...]:
    """Returns the packages that an env installs, sorted; () on a base that has its own. Raises SpecError."""
    from envtool_cc.build_files import BOOTSTRAP, TOOLS, find_system, needed_packages, read_texts

    directory = posixpath.normpath(str(env.options.get("directory", ".")))
    wanted = env.options.get("packages")
    packages = {str(name) for name in wanted} if isinstance(wanted, list) else set()
    found = find_system(project.read, directory)[0]
    system = str(env.options.get("system") or found)
    if not system:
        hint = "`directory:` says where they are, `system: cmake` which tools a build needs"
        raise _spec_error(
            env, f"there is no {FILES if directory == '.' else posixpath.join(directory, FILES)}", hint=hint
        )
    if env.base_kind == "host":
        if packages:
            names = " ".join(sorted(packages))
            hint = f"`apt install {names}` puts them on this machine; `base: {{debian: bookworm}}` installs them"
            raise _spec_error(env, "`packages`: the base `host` has the packages of this machine", hint=hint)
        return ()
    if env.base_kind != "debian":
        return tuple(sorted(packages))
    clang = ("clang", "libclang-rt-dev") if env.options.get("compiler") == "clang" else ()
    packages |= {"gcc", "g++", "libc6-dev", *_build_tools(env, TOOLS[system]), *clang}
    if env.options.get("ccache"):
        packages.add("ccache")
    if system == found:
        packages |= {*needed_packages(system, read_texts(project, system, directory))}
        has_configure = project.read(posixpath.normpath(posixpath.join(directory, "configure"))) is not None
    else:
        has_configure = False
    if system == "autotools" and not has_configure:
        packages |= {*BOOTSTRAP}
    return tuple(sorted(packages))


def _build_tools(env: api.EnvDraft, packages: tuple[str, ...]) -> set[str]:
    """Returns the packages without those that the env's toolchains replace, and the Python that runs a pinned Meson."""
    replaced = {REPLACED[name] for name in env.toolchains if name in REPLACED}
    return {*packages} - replaced | ({"python3"} if "meson" in env.toolchains else set())


def _choose_name(name: str, used_names: set[str]) -> str:
    while name in used_names:
        name = f"cc-{name}"
    used_names.add(name)
    return name


def _spec_error(env: api.EnvDraft, message: str, *, hint: str) -> api.SpecError:
    return api.SpecError((api.Problem(where=env.where, message=message, code="cc", hint=hint),))
