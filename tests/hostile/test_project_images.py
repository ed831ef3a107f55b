"""`export --project` and `push --project` read the project by descriptor: what was listed may be anything by then."""

import io
import os
import shutil
import tarfile

import pytest

from envtool.errors import EnvtoolError
from envtool.images import runtime_layer
from envtool.project import host_access

CANARY = b"CANARY"


def swapped(path, outside):
    path.unlink()
    path.symlink_to(outside / "key")


def swapped_above(path, outside):
    shutil.rmtree(path.parent)
    path.parent.symlink_to(outside)


def fifo(path, _):
    path.unlink()
    os.mkfifo(path)


def sparse(path, _):
    with path.open("wb") as file:
        file.truncate(1 << 40)


CHANGES = {
    "a link out": swapped,
    "a directory that is a link out": swapped_above,
    "a fifo": fifo,
    "a terabyte of nothing": sparse,
    "a directory": lambda path, _: (path.unlink(), path.mkdir()),
    "a link to a device": lambda path, _: (path.unlink(), path.symlink_to("/dev/zero")),
    "gone": lambda path, _: path.unlink(),
}


@pytest.fixture
def outside(tmp_path):
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/key").write_bytes(CANARY)
    return tmp_path / "outside"


@pytest.fixture
def victim(tmp_path):
    (tmp_path / "project/d").mkdir(parents=True)
    (tmp_path / "project/d/key").write_bytes(b"harmless")
    return tmp_path / "project/d/key"


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("late", [False, True])
def test_nothing_but_files_of_the_project_comes_into_an_image(change, late, victim, outside, tmp_path):
    """Before its kind is looked at, and between that and reading it."""
    written, said = [], ""
    try:
        with host_access.EntryOpener(str(tmp_path / "project")) as entries:
            if not late:
                CHANGES[change](victim, outside)
            items = runtime_layer.project_items(["d/key"], entries, {}, "/project")
            if late:
                entries.close()
                CHANGES[change](victim, outside)
            written += runtime_layer.stream_tar(items, 0, entries)
    except (OSError, EnvtoolError) as error:
        said = str(error)
    assert CANARY.decode() not in said
    assert CANARY not in b"".join(written)
    if said:
        return
    with tarfile.open(
        fileobj=io.BytesIO(b"".join(written))
    ) as archive:  # what is no file now is left out, a link is one
        assert not any(member.isreg() for member in archive)


def test_files_are_bounded_together(tmp_path):
    for name in "ab":
        (tmp_path / name).write_bytes(b"x" * 600)
    with (
        host_access.EntryOpener(str(tmp_path)) as entries,
        pytest.raises(EnvtoolError, match=r"too large for an image"),
    ):
        items = runtime_layer.project_items(["a", "b"], entries, {}, "/project")
        list(runtime_layer.stream_tar(items, 0, entries, limit=1000))


def test_a_file_that_grows_is_an_error(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"x" * 600)
    with host_access.EntryOpener(str(tmp_path)) as entries:
        pieces = runtime_layer.stream_tar(runtime_layer.project_items(["a"], entries, {}, "/project"), 0, entries)
        with pytest.raises(EnvtoolError, match=r"changed while it was read"):
            for _ in pieces:
                with path.open("ab") as file:
                    file.write(b"y")
