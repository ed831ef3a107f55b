"""`.devcontainer/devcontainer.json` for an env's image: what VS Code, GitHub Codespaces and DevPod open the project in.

By the Development Container specification (containers.dev: devcontainer.json reference, and its base schema). With a
name in a registry that image is used; without one, a local image that `initializeCommand` makes on the machine of
whoever opens the project. Pure.
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


def render_devcontainer(env: Env, *, spec: str, image: str, user: str, shown: Sequence[tuple[str, str]]) -> str:
    """The file. `spec` is the name of the env's; `image` is what is opened, made on the spot where it is one of
    `localhost`; `user` is what the image calls the user of tasks. `shown` are directories that layers show inside the
    project: (in the container, in the project), absolute."""
    made: dict[str, Json] = {
        "name": env.name,
        "image": image,
        # the project is where tasks have it, and belongs to the user that they run as
        "workspaceMount": f"source=${{localWorkspaceFolder}},target={PROJECT},type=bind",
        "workspaceFolder": posixpath.normpath(posixpath.join(PROJECT, env.workdir)),
        "remoteUser": user,
        "updateRemoteUserUID": True,
        # a login shell would put another PATH before that of the layers
        "userEnvProbe": "none",
        "overrideCommand": True,
    }
    if image.startswith("localhost/"):
        words = ["envtool", *([] if spec == SPEC else ["-f", spec]), "export", env.name, "--tag", image]
        made["initializeCommand"] = f"{shlex.join(words)} | docker load"
    passed = [name for name in env.passed if not globs.is_glob(name)]
    if passed:
        made["containerEnv"] = {name: f"${{localEnv:{name}}}" for name in passed}
    # those at the top are found beside the project (images/project_links.py), and the checkout is left alone
    deeper = [(source, place) for source, place in shown if posixpath.dirname(place) != PROJECT]
    if deeper:
        made["onCreateCommand"] = " && ".join(_link_command(source, place) for source, place in deeper)
    return HEAD.format(env=env.name) + json.dumps(made, indent=2, ensure_ascii=False) + "\n"


def _link_command(source: str, place: str) -> str:
    """Where the checkout has nothing of that name, a link to what the layer made."""
    target = shlex.quote(place)
    return f"{{ [ -e {target} ] || ln -s {shlex.quote(source)} {target}; }}"
