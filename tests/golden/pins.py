"""Made-up pins in the shape that each kind's `resolve` gives: the keys of examples are computed without any network."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from types import SimpleNamespace
from typing import TYPE_CHECKING

from envtool import keys
from envtool.build import resolution
from envtool.build.context import Cancel, Context
from envtool.build.stack import StoredLayer
from envtool.plan.graph import build_graph
from envtool.project.source_files import ProjectFiles
from envtool.spec import load

if TYPE_CHECKING:
    from envtool.plugins import PluginRegistry

ARCHIVE = "https://archive.invalid/debian"
INDEX = "https://index.invalid/files"


def sha(text):
    return hashlib.sha256(text.encode()).hexdigest()


def debian(request):
    suite = request.options if isinstance(request.options, str) else request.options["suite"]
    return {
        "suite": suite,
        "arch": "amd64",
        "epoch": 1_735_689_600,
        "debs": debs("base-files", "dash"),
        "lists": lists(suite),
    }


def apt(request):
    names = request.options if isinstance(request.options, list) else request.options["packages"]
    suite = request.base_pins["suite"]
    return {"suite": suite, "arch": "amd64", "debs": debs(*names), "lists": lists(suite)}


def deb_src(request):
    name, suite = request.options["name"], request.base_pins["suite"]
    files = [
        {"file": f"{name}_1.{part}.tar.xz", "sha256": sha(f"{name} {part}"), "size": 1} for part in ("orig", "debian")
    ]
    return {"name": name, "version": "1-1", "suite": suite, "directory": f"pool/main/{name}", "files": files}


def maven(request):
    path = "junit/junit/4.13.2/junit-4.13.2.jar"
    files = [{"path": path, "sha256": sha(path), "size": 1}]
    return {"maven": "3.8.7", "java": "17.0.15", "files": files, "metadata": []}


def pip(request):
    files = [wheel("pip", "26.0", "build"), wheel("pytest", "9.0", "install")]
    return {"files": files, "pip": files[0]["file"], "python": python(extends=False)}


def python_project(request):
    files = [wheel("pip", "26.0", "build"), wheel("hatchling", "1.27", "project")]
    install = request.options.get("install", "editable")
    return {
        "files": files,
        "install": install,
        "pip": files[0]["file"],
        "python": python(extends=True),
        "variables": {},
    }


def sdist(request):
    name, version = request.options["name"], request.options["version"]
    return {"file": f"{name}-{version}.tar.gz"}


def npm(request):
    files = [tarball("change-case", "5.4.4"), tarball("esbuild", "0.21.5")]
    node = {"cpu": "x64", "headers": "/usr", "libc": "glibc", "npm": "9.2.0", "os": "linux", "version": "18.20.4"}
    links = [path.rpartition("/")[0] for path in request.options.get("inputs", [])]
    lock = {"lock": None, "lockfile": "package-lock.json"}
    return lock | {"files": files, "links": links, "node": node, "trees": [""]}


def tarball(name, version):
    path = f"{name}/-/{name}-{version}.tgz"
    file = {"file": f"{name}-{version}.tgz", "integrity": "", "name": name, "path": path}
    return file | {"sha256": sha(path), "size": 1, "version": version}


def go(request):
    row = {"name": "gopkg.in/check.v1", "version": "v0.0.0-20161208181325-20d25e280405", "sum": f"h1:{'A' * 43}="}
    rows = [row | {"sha256": sha("check.v1"), "size": 1}] if "go.sum" in request.texts else []
    return {"modules": rows, "manifests": []}


def go_module(request):
    return {"sha256": sha(request.options["module"]), "size": 1}


def host(request):
    return {"system": "Golden 1", "identity": sha("host")}


PINS = {
    "debian": debian,
    "apt": apt,
    "deb-src": deb_src,
    "maven": maven,
    "npm": npm,
    "pip": pip,
    "python-project": python_project,
    "sdist": sdist,
    "go": go,
    "go-module": go_module,
    "host": host,
}


def debs(*names):
    return [
        {
            "arch": "amd64",
            "name": name,
            "path": f"pool/{name}_1_amd64.deb",
            "sha256": sha(name),
            "size": 1,
            "version": "1",
        }
        for name in sorted(names)
    ]


def lists(suite):
    path = f"dists/{suite}/main/binary-amd64/Packages.xz"
    file = {
        "component": "main",
        "form": "xz",
        "inrelease": sha(f"{suite} InRelease"),
        "path": path,
        "sha256": sha(suite),
    }
    return [file | {"size": 1, "suite": suite, "url": ARCHIVE}]


def wheel(name, version, use):
    file = f"{name}-{version}-py3-none-any.whl"
    return {"file": file, "name": name, "sha256": sha(f"{INDEX}/{file}"), "size": 0, "use": use, "version": version}


def python(*, extends):
    facts = {
        "abi": "cpython-311-x86_64-linux-gnu",
        "implementation": "cpython",
        "libc": "glibc 2.36",
        "version": "3.11.2",
    }
    return facts | {"extends": extends, "platform": "linux-x86_64"}


@dataclass(frozen=True)
class Layer:
    diff_id: str


def documents(root, registry: PluginRegistry):
    """Key and key document of every layer of every env of a spec, in the order of stacks; diff IDs are made of keys."""
    files = ProjectFiles(str(root))
    spec = load(files, "envtool.yaml", root=str(root), registry=registry, args=())
    nodes = build_graph(spec, registry)
    setting = Context(
        store=SimpleNamespace(path=lambda name: f"/nonexistent/{name}"),  # only asked where blobs are
        root=str(root),
        arch="x86_64",
        emit=lambda event: None,
        cancel=Cancel.make(),
        files=(*spec.files, "envtool.lock"),
    )
    made = {}
    for node in nodes.nodes.values():
        request = resolution.request_for(node, [made[each] for each in node.below], setting)
        pins = PINS[node.kind.name](request) if node.kind.name in PINS else node.kind.resolve(request, None)
        resolved = resolution.apply_pins(node, request, pins)
        diff_id = keys.digest(["golden", resolved.key])
        made[node.id] = StoredLayer(resolved=resolved, layer=Layer(diff_id=diff_id), diff_id=diff_id)
    return {
        env: [
            [made[each].resolved.node.spec.name, made[each].resolved.key, made[each].resolved.document]
            for each in stack
        ]
        for env, stack in nodes.stacks.items()
    }
