"""What a cached result left is put back, and nothing that is in the way is removed."""

from __future__ import annotations

import os

import pytest

from envtool import keys
from envtool.run import restore
from envtool.store import record_results, results


@pytest.mark.parametrize("wrong", ["missing", "content", "mode", "link", "directory"])
def test_what_is_missing_or_different_is_put_back(tmp_path, store, wrong):
    root = tmp_path / "project"
    (root / "dist").mkdir(parents=True)
    app, link, log = root / "dist/app", root / "dist/link", tmp_path / "log"
    app.write_text("one")
    app.chmod(0o755)
    os.symlink("app", link)
    log.write_text("")
    document = {"a": 1}
    run = results.StoredRun(env="unit", task="build", started=1.0, seconds=1.0, host="")
    record_results.store_result(
        store, [document], run, owner="o", log=str(log), root=str(root), outputs=["dist/app", "dist/link"]
    )
    found = results.find(store, keys.digest(document))
    before = app.stat()
    assert restore.restore_outputs(found, str(root))
    assert app.stat().st_ino == before.st_ino
    if wrong == "mode":
        app.chmod(0o600)
    elif wrong == "content":
        app.write_text("two")
    elif wrong == "link":
        link.unlink()
        os.symlink("/etc/passwd", link)
    else:
        app.unlink()
        if wrong == "directory":
            (app / "x").mkdir(parents=True)
            assert not restore.restore_outputs(found, str(root)), "a directory in the way is nobody's to remove"
            return
    assert restore.restore_outputs(found, str(root))
    assert (app.read_text(), app.stat().st_mode, app.stat().st_mtime_ns) == ("one", before.st_mode, before.st_mtime_ns)
    assert os.readlink(link) == "app"
