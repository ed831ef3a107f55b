from __future__ import annotations

import json

import pytest
from envtool_node import installed

from envtool.testing import MemoryTree


def manifest(**more):
    return json.dumps({"name": "left-pad", "version": "1.3.0", "license": "WTFPL", **more})


def test_packages_lie_where_node_looks_for_them():
    inner = "/usr/lib/node_modules/npm/node_modules/left-pad"
    tree = MemoryTree(
        {
            "/usr/lib/node_modules/npm/package.json": manifest(name="npm", version="10.0.0"),
            f"{inner}/package.json": manifest(),
            f"{inner}/test/package.json": manifest(name="no"),
            f"{inner}/lib/node_modules.json": manifest(name="no"),
            "/project/node_modules/@babel/core/package.json": manifest(name="@babel/core"),
            "/project/node_modules/@babel/core/lib/package.json": manifest(name="no"),
            "/project/node_modules/.cache/x/package.json": manifest(name="no"),
            "/project/package.json": manifest(name="no"),
        }
    )
    found = installed.installed_packages(tree)
    assert [(each.namespace, each.name) for each in found] == [("@babel", "core"), ("", "left-pad"), ("", "npm")]
    assert found[0].archives == ("core-1.3.0.tgz", "babel-core-1.3.0.tgz")
    assert tree.reads == 1


@pytest.mark.parametrize(
    ("said", "licenses"),
    [
        ({"license": "MIT OR ISC"}, ("MIT OR ISC",)),
        ({"license": {"type": "MIT", "url": "x"}}, ("MIT",)),
        ({"license": None, "licenses": [{"type": "MIT"}, {"type": "ISC"}, 3]}, ("MIT", "ISC")),
        ({"license": None}, ()),
        ({"license": 3}, ()),
    ],
)
def test_licences_old_and_new(said, licenses):
    assert installed.parse_package_json("/x", manifest(**said).encode()).licenses == licenses


@pytest.mark.parametrize(
    "content", [b"", b"[]", b"\xff", b"{}", b'{"name": "x"}', b'{"name": 1, "version": "1"}', b"3"]
)
def test_what_names_no_package(content):
    assert installed.parse_package_json("/x", content) is None


def test_a_file_belongs_to_the_nearest_package():
    tree = MemoryTree(
        {
            "/opt/node_modules/a/package.json": '{"name": "a", "version": "1"}',
            "/opt/node_modules/a/node_modules/@x/b/package.json": '{"name": "@x/b", "version": "2"}',
            "/opt/node_modules/broken/package.json": "{",
        }
    )

    def names(path):
        return [package.name for package in installed.owners(tree, path)]

    assert names("/opt/node_modules/a/lib/index.js") == ["a"]
    assert names("/opt/node_modules/a/node_modules/@x/b/index.js") == ["b"]
    assert names("/opt/node_modules/broken/index.js") == []
    assert names("/opt/index.js") == []
