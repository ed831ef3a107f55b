"""Renders `.devcontainer/devcontainer.json` for an env's image: the file by which VS Code, GitHub Codespaces and DevPod
open the project in it.

By the Development Container specification (containers.dev: devcontainer.json reference, and its base schema). If the
image has a name in a registry, that image is used; else `initializeCommand` makes a local image on the machine where
the project is opened. Pure.
"""

from __future__ import annotations

import json
import posixpath
import shlex
from collections.abc import Sequence

from envtool.api import PROJECT
from envtool.fs import globs
from envtool.model import Env, Json

SPEC = "envtool.yaml"
MARK = "// Written by `envtool export"
HEAD = MARK + " {env} --format devcontainer`: change envtool.yaml, and write it again.\n"


def render_devcontainer(env: Env, *, spec: str, image: str, user: str, mounts: Sequence[tuple[str, str]]) -> str:
    """Returns the text of the file. `spec` is the name of the env's spec file; `image` is the image to open, which is
    made on the spot if it is one of `localhost`; `user` is the name that the image has for the user of tasks. `shown`
    are the directories of layers that are visible inside the project: (path in the container, path in the project),
    both absolute."""
    document: dict[str, Json] = {
        "name": env.name,
        "image": image,
        # the project is mounted where tasks have it, and its owner is the user of tasks
        "workspaceMount": f"source=${{localWorkspaceFolder}},target={PROJECT},type=bind",
        "workspaceFolder": posixpath.normpath(posixpath.join(PROJECT, env.workdir)),
        "remoteUser": user,
        "updateRemoteUserUID": True,
        # a login shell would set another PATH than the layers'
        "userEnvProbe": "none",
        "overrideCommand": True,
    }
    if image.startswith("localhost/"):
        command = ["envtool", *([] if spec == SPEC else ["-f", spec]), "export", env.name, "--tag", image]
        document["initializeCommand"] = f"{shlex.join(command)} | docker load"
    passed = [name for name in env.passed if not globs.is_glob(name)]
    if passed:
        document["containerEnv"] = {name: f"${{localEnv:{name}}}" for name in passed}
    # the image has links beside the project for those at the top (images/project_links.py), so the checkout needs none
    deeper = [(source, target) for source, target in mounts if posixpath.dirname(target) != PROJECT]
    if deeper:
        document["onCreateCommand"] = " && ".join(_link_command(source, target) for source, target in deeper)
    return HEAD.format(env=env.name) + json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def _link_command(source: str, target: str) -> str:
    """Returns a shell command that links to a layer's directory if the checkout has nothing of that name."""
    quoted_target = shlex.quote(target)
    return f"{{ [ -e {quoted_target} ] || ln -s {shlex.quote(source)} {quoted_target}; }}"
