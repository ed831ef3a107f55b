"""What layers made beside the sources, in an image with the project."""

from __future__ import annotations

from envtool.images import export


def test_what_layers_made_beside_the_sources_is_found_by_its_place():
    class Tree:
        def find(self, pattern):
            assert pattern == "/**"
            return [
                "/opt/venv/share/envtool/me/fast.so",
                "/opt/venv/share/envtool/v.py",
                "/opt/venv/share/envtool2",
                "/x/v",
            ]

    wanted = [("/opt/venv/share/envtool", "/project"), ("/x/v", "/project/v.py"), ("/none", "/project/none")]
    assert export._generated_files(wanted, Tree()) == {
        "/project/me/fast.so": "/opt/venv/share/envtool/me/fast.so",
        "/project/v.py": "/opt/venv/share/envtool/v.py",
    }
