"""Kind 2: what we write into places that others may write. Neighbours of each place are put in our way (links, hard
links, fifos, directories, loops; in the place itself or in a directory on the way; before we come, or while we write),
for each caller and for root in somebody's checkout. Nothing outside of the project may change, and nothing may hang.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
from pathlib import Path

import pytest

from tests.places import Place

pytestmark = pytest.mark.e2e

OTHER, STRANGER = 4711, 4712  # uids that nobody has: whose checkout it is, and a third one's

# ---- what must stay ------------------------------------------------------------------------------------------------


def snapshot(top: Path) -> dict[str, tuple]:
    """Every path below `top` with type, mode, owner, and content or target."""
    found = {}
    for path in [top, *sorted(top.rglob("*"))]:
        info = path.lstat()
        said = os.readlink(path) if path.is_symlink() else ""
        if stat.S_ISREG(info.st_mode):
            said = hashlib.sha256(path.read_bytes()).hexdigest()
        found[str(path.relative_to(top))] = (oct(info.st_mode), info.st_uid, info.st_gid, said)
    return found


def outside(place: Place) -> Path:
    """A directory of somebody else that the caller may write to as well: files and directories with names like ours."""
    top = place.directory("outside")
    for name in ("20200101T000000-1", "20200101T000001-2", "runs", "sub", "blobs"):
        (top / name).mkdir()
        (top / name / "file").write_text("theirs\n")
    for number in range(20):
        (top / f"201912{number + 1:02}T000000-7").mkdir()
        (top / f"201912{number + 1:02}T000000-7" / "unit.test.log").write_text("theirs\n")
    for name in ("victim", "report.xml", "a", "SHA256SUMS", "index.json", "envtool.lock", "devcontainer.json"):
        (top / name).write_text("theirs\n")
        (top / name).chmod(0o640)
    for path in top.rglob("*"):
        if os.geteuid() == 0:
            os.chown(path, place.caller.uid, place.caller.gid)
    if os.geteuid() == 0:
        os.chown(top / "victim", STRANGER, STRANGER)
    return top


# ---- what is put in the way ----------------------------------------------------------------------------------------


def link_to_file(at: Path, theirs: Path) -> None:
    at.symlink_to(theirs / "victim")


def link_to_directory(at: Path, theirs: Path) -> None:
    at.symlink_to(theirs)


def relative_link(at: Path, theirs: Path) -> None:
    at.symlink_to(os.path.relpath(theirs, at.parent))


def dangling_link(at: Path, theirs: Path) -> None:
    at.symlink_to(theirs / "nothing")


def link_to_itself(at: Path, theirs: Path) -> None:
    at.symlink_to(at.name)


def hard_link(at: Path, theirs: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root may link another's file")
    os.link(theirs / "victim", at)


def fifo(at: Path, theirs: Path) -> None:
    os.mkfifo(at)


def directory(at: Path, theirs: Path) -> None:
    at.mkdir()
    (at / "file").write_text("in the way\n")


def file(at: Path, theirs: Path) -> None:
    at.write_text("in the way\n")


def anothers_directory(at: Path, theirs: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root may give a directory away")
    at.mkdir(0o777)
    at.chmod(0o777)
    (at / "link").symlink_to(theirs)
    os.chown(at, STRANGER, STRANGER)


TRAPS = (
    link_to_file, link_to_directory, relative_link, dangling_link, link_to_itself, hard_link, fifo, directory, file,
    anothers_directory,
)  # fmt: skip

RUN = ("build", "--again", "--junit", "reports/report.xml", "--provenance", "said.jsonl")
PLACES = {  # where a trap is put -> the words that write there
    ".envtool": RUN,
    ".envtool/runs": RUN,
    ".envtool/last": RUN,
    ".envtool/.gitignore": RUN,
    "reports": RUN,
    "reports/report.xml": RUN,
    "said.jsonl": RUN,
    "dist": RUN,
    "dist/sub": RUN,
    "dist/sub/a": RUN,
    "envtool.lock": ("lock",),
    "envtool.vendor": ("vendor",),
    "envtool.vendor/SHA256SUMS": ("vendor",),
    "envtool.vendor/README": ("vendor", "--prune"),
    "envtool.vendor/ab": ("vendor", "--prune"),
    "files.tar": ("vendor", "files.tar"),
    ".devcontainer": ("export", "unit", "--format", "devcontainer"),
    ".devcontainer/devcontainer.json": ("export", "unit", "--format", "devcontainer"),
    "new/first.yaml": ("-C", "new", "-f", "first.yaml", "init"),
}


@pytest.mark.sampled(12)
@pytest.mark.parametrize("trap", TRAPS, ids=lambda trap: trap.__name__)
@pytest.mark.parametrize("target", PLACES, ids=str)
def test_nothing_outside_changes(place, target, trap):
    # root works in its own checkout and in another's, each with half of the cases
    others = place.caller.uid == 0 and ([*PLACES].index(target) + TRAPS.index(trap)) % 2
    owner = OTHER if others else place.caller.uid
    theirs = outside(place)
    place.task("true")
    with (place.project / "envtool.yaml").open("a") as spec:
        spec.write("      build: {run: rm -rf dist && mkdir -p dist/sub && echo new > dist/sub/a, outputs: [dist]}\n")
    at = place.project / target
    at.parent.mkdir(parents=True, exist_ok=True)
    trap(at, theirs)
    for path in [place.project, *place.project.rglob("*")]:
        if trap not in (hard_link, anothers_directory) or path != at:
            os.chown(path, owner, owner, follow_symlinks=False)
    before, was = snapshot(theirs), at.lstat()
    done = place.envtool(*PLACES[target])
    assert snapshot(theirs) == before, done.said
    assert done.status in (0, 1, 2, 3), done.said
    if trap is anothers_directory:
        assert (at.stat().st_uid, at.stat().st_gid, at.stat().st_mode) == (STRANGER, STRANGER, was.st_mode), (
            "given away"
        )
    left = [path for path in place.project.rglob("*") if path.name.startswith(".envtool-")]
    assert not left, "what was begun is gone"
    for path in place.project.rglob("*"):
        if path != at and place.caller.uid == 0 and owner:
            assert path.lstat().st_uid == owner or at in path.parents, f"{path} is root's in somebody's checkout"
    if target.startswith(".envtool") and PLACES[target] == RUN:
        assert done.status == 0, done.said
        assert (place.project / "dist/sub/a").read_text() == "new\n"
        if trap is not directory and target in (".envtool", ".envtool/runs"):
            assert "note: the logs of this run are in " in done.err, done.said
    shutil.rmtree(place.project)


def test_the_short_way_says_where_its_logs_are(place):
    theirs = outside(place)
    place.task("true")
    (place.project / ".envtool").symlink_to(theirs)
    before = snapshot(theirs)
    for _ in range(3):
        done = place.envtool("test")
        assert done.status == 0, done.said
        assert "note: the logs of this run are in " in done.err
    assert "unchanged in" in done.err
    assert snapshot(theirs) == before


# ---- while we write --------------------------------------------------------------------------------------------------

SWAP = """
import os, sys
top, away = sys.argv[1:]
while True:
    for name in (".envtool", "dist", "reports"):
        path = f"{top}/{name}"
        try:
            os.rename(path, f"{path}.real")
        except OSError:
            pass
        try:
            os.symlink(away, path)
            os.unlink(path)
        except OSError:
            pass
        try:
            os.rename(f"{path}.real", path)
        except OSError:
            pass
"""


def test_somebody_swaps_directories_while_we_write(place, depth):
    """Another process of whom the checkout belongs to puts links in the place of our directories and takes them back."""
    theirs = outside(place)
    place.task("mkdir -p dist/sub; for i in 1 2 3 4 5; do echo new > dist/sub/$i; done", options="outputs: [dist]")
    for name in ("dist", "reports", ".envtool/runs"):
        (place.project / name).mkdir(parents=True)
        place.shell("true")
    for path in place.project.rglob("*"):
        place.give(path)
    before = snapshot(theirs)
    swapping = place.caller.spawn(
        place.caller.command[0], "-c", SWAP, str(place.project), str(theirs), stdout=-3, stderr=-3
    )
    try:
        for _ in depth.times(2, 60):
            done = place.envtool("test", "--again", "--junit", "reports/report.xml")
            assert snapshot(theirs) == before, done.said
    finally:
        swapping.kill()
        swapping.wait()
    shutil.rmtree(place.project)


# ---- what may be no output -------------------------------------------------------------------------------------------

NAMES = (
    ".git/config", ".git/hooks/pre-commit", ".GIT/config", "sub/.git/config", "sub/.git/info/exclude", "new/.git", "deep/.gIt/HEAD", "git~1",
    "new/.git ", "new/.git.", "new/.g\u200cit/config", ".envtool/runs/x", ".envtool/.gitignore", "sub/.envtool/last", "envtool.yaml", "sub/envtool.yaml",
    "Envtool.yaml", "envtool.lock", "envtool.vendor/ab/x", "ci/part.yaml",
)  # fmt: skip


def build(place: Place, patterns: list[str]) -> tuple[dict, dict[str, tuple], dict[str, tuple]]:
    """A task that writes all names, with these outputs: its result, and the project before and after."""
    lines = "".join(f"mkdir -p '{os.path.dirname(name) or '.'}'\necho evil > '{name}'\n" for name in NAMES)
    links = "ln -s .git/config first; ln -s ../.git new/second; ln -s sub/../.GIT/hooks third; ln -s .envtool fourth; ln -s good fine\n"
    quoted = ", ".join(f"'{pattern}'" for pattern in patterns)
    place.task(
        f"{lines}{links}echo good > good; mkdir -p dist; echo good > dist/.gitignore", options=f"outputs: [{quoted}]"
    )
    text = (place.project / "envtool.yaml").read_text()
    place.spec(text.replace("version: 1\n", "include: [ci/part.yaml]\n"))
    place.write("ci/part.yaml", "version: 1\nlayers:\n  x: {run: 'true'}\n")
    place.write("sub/envtool.yaml", "version: 1\n")
    place.shell("git init -q . && git init -q sub && mkdir -p way && ln -s .git link && ln -s ../outside out")
    place.directory("outside")
    before = snapshot(place.project)
    done = place.envtool("test", "--json")
    after = snapshot(place.project)
    return done.events[-1]["results"][0], before, after


def test_what_git_and_envtool_obey_is_no_output(place):
    result, before, after = build(place, ["**", "sub", "new", "first", "link/config", "out/x"])
    changed = {name for name in {*before, *after} if before.get(name) != after.get(name)}
    assert {name for name in changed if not name.startswith(".envtool")} - {"."} == {
        "good", "fine", "dist", "dist/.gitignore", "new",
    }  # fmt: skip
    assert not {name for name in changed if name.startswith(".envtool/runs/x")}
    assert result["outcome"] == "passed"
    for name in (
        ".git",
        ".GIT",
        "sub/.git",
        "new/.git",
        "deep/.gIt",
        ".envtool",
        "envtool.yaml",
        "sub/envtool.yaml",
        "envtool.lock",
        "ci/part.yaml",
    ):
        assert f"{name}: " in result["message"], (name, result["message"])
    assert "envtool.yaml: what envtool obeys is an output only where `outputs:` has its whole name" in result["message"]


def test_what_the_spec_names_itself_is_one_but_for_git(place):
    names = [name for name in NAMES if "envtool.yaml" not in name.lower() and "part" not in name]
    names = [name for name in names if ".git" not in name.casefold().split("/")]  # those the spec cannot even say
    result, before, after = build(place, names)
    for name in names:
        git = "envtool" not in name
        assert (after.get(name) == before.get(name)) == git, (name, result["message"])
    assert (place.project / "envtool.lock").read_text() == "evil\n"


def test_what_a_kill_left_is_swept(place):
    place.task("mkdir -p dist; echo new > dist/a", options="outputs: [dist]")
    for name in (".", "dist", "reports", ".envtool"):
        place.write(f"{name}/.envtool-0123456789abcdef.tmp", "half a file")
    done = place.envtool("test", "--junit", "reports/report.xml")
    assert done.status == 0, done.said
    assert place.envtool("lock").status == 0
    assert not [*place.project.rglob(".envtool-*")]
