"""Trees that `run` layers build in the project's place: what tasks see of them, and what of the project stays its own."""

from __future__ import annotations

import os
import shutil

import pytest

pytestmark = pytest.mark.e2e

MAKEFILE = """\
app: main.o lib.o
	$(CC) -o $@ $^
%.o: %.c
	$(CC) -MMD -c -o $@ $<
-include *.d
"""


def c_project(place, ignored: str = "*.o\n*.d\napp\nbuild/\n") -> None:
    if not shutil.which("make") or not shutil.which("cc"):
        pytest.skip("no compiler here")
    place.write(
        "main.c", '#include <stdio.h>\n#include "lib.h"\nint main(void) { printf("%d\\n", seven()); return 0; }\n'
    )
    place.write("lib.c", '#include "lib.h"\nint seven(void) { return 7; }\n')
    place.write("lib.h", "int seven(void);\n")
    place.write("Makefile", MAKEFILE)
    place.write(".gitignore", ignored)


def git(place) -> None:
    place.shell(
        "git init -q . && git add -A && git -c user.name=a -c user.email=a@b commit -qm one"
        if shutil.which("git")
        else "true"
    )


def strangers(place, *names: str) -> None:
    """Root may hold a checkout whose files belong to several users: they are copied for the container's."""
    if place.caller.uid == 0:
        for name in names:
            os.chown(place.project / name, 1234, 1234)


def test_make_has_nothing_to_do_and_what_was_built_is_the_tasks_to_change(place):
    c_project(place)
    place.spec("""\
layers:
  built: {run: make, inputs: ["*.c", "*.h", Makefile], in_place: true}
envs:
  unit:
    layers: [built]
    tasks:
      test: |
        make -q
        ./app
        make -n | grep 'up to date'
        test lib.c -ot lib.o
        echo more >> lib.o
        rm app lib.o main.o
        make
        ./app
        printf 'int seven(void) { return 8; }' > lib.c
        make
        test "$(./app)" = 8
        mkdir build
        mv main.o build/
        : > build/x
      build: {run: "true", outputs: [app]}
""")
    git(place)
    strangers(place, "lib.c", "Makefile")
    done = place.envtool("test", "-v")
    assert done.status == 0, done.said
    assert "7\n" in done.out + done.err
    assert not (place.project / "app").exists()
    assert not (place.project / "build").exists()
    assert place.shell("git status --porcelain") == ""
    assert place.envtool("build").status == 0
    assert place.shell("./app") == "7\n"
    exec_ = place.envtool("exec", "unit", "--", "make", "-q")
    assert exec_.status == 0, exec_.said
    again = place.envtool("exec", "unit", "--", "sh", "-c", "make -q && ./app")  # by the warm way
    assert (again.status, again.out) == (0, "7\n"), again.said
    # whenever its files were written: a clone of today is not newer than what was built yesterday
    place.shell("touch *.c *.h Makefile")
    touched = place.envtool("test", "--json", "--again")
    assert touched.status == 0, touched.said
    assert not touched.finished("layer")


@pytest.mark.one_caller
def test_files_of_the_project_stay_its_own(place):
    """The layer's inputs are what they are in the checkout whatever its commands did to them; all that is no input is
    live, even where the layer made something of the same name."""
    if not shutil.which("git"):
        pytest.skip("git is not installed: what it ignores is no part of the project")
    for name, text in {
        "src/in.c": "input", "src/gone.c": "input", "src/other.c": "live", "docs/a.txt": "live", "docs/b/c.txt": "live",
        "made.txt": "live", "tree/deep/x": "live", ".gitignore": "out/\n*.o\n", "out/mine": "ignored", "a.o": "ignored",
        "kind": "a file",
    }.items():  # fmt: skip
        place.write(name, text)
    place.spec("""\
layers:
  built:
    run: |
      cat src/other.c docs/a.txt 2>/dev/null && exit 1
      echo changed > src/in.c; rm src/gone.c
      mkdir -p docs out tree kind .git .envtool && echo built | tee docs/a.txt made.txt out/x a.o src/in.o kind/file tree/deep .git/config .envtool/x
    inputs: [src/in.c, src/gone.c]
    in_place: true
envs:
  unit:
    layers: [built]
    tasks:
      test: |
        test "$(cat src/in.c src/gone.c)" = inputinput
        test "$(cat src/other.c docs/a.txt docs/b/c.txt made.txt tree/deep/x)" = livelivelivelivelive
        test "$(cat kind)" = 'a file'
        test "$(cat out/x a.o src/in.o)" = "$(printf 'built\\nbuilt\\nbuilt')"
        test ! -e out/mine
        test ! -e .envtool
        if grep built .git/config; then exit 1; fi
        echo new | tee docs/a.txt src/in.c src/new.c
        rm -r tree out docs
        mkdir docs
""")
    git(place)
    strangers(place, "src/in.c", "src/other.c", "docs/b/c.txt", "made.txt", "docs")
    done = place.envtool("test", "-v")
    assert done.status == 0, done.said
    assert "the commands changed the input src/in.c" in done.said
    place.write("docs/a.txt", "edited")
    place.write("made.txt", "edited")
    seen = place.envtool("exec", "unit", "--", "sh", "-c", "cat docs/a.txt made.txt src/in.o")
    assert seen.out == "editededitedbuilt\n", seen.said
    built = place.envtool("test", "--json")
    assert not built.finished("layer"), "what is no input built the layer again"
    place.write("src/in.c", "edited")
    assert [each["outcome"] for each in place.envtool("test", "--json").finished("layer")] == ["built"]
    assert place.envtool("exec", "unit", "--", "cat", "src/in.c").out == "edited"


@pytest.mark.one_caller
def test_one_tree_stands_on_another(place):
    for name in ("lib/a", "lib/b", "app/c", "keep/d", "gone/e", "made/old/live", "app/later/live"):
        place.write(name, name)
    place.spec("""\
layers:
  lib: {run: "cat lib/a lib/b > lib/made; mkdir -p made/old; : > made/old/1; : > made/2; : > made/3", inputs: [lib, gone], in_place: true}
  app:
    run: "cat lib/made app/c > app/made; rm -r gone made/old made/3; mkdir made/old app/later; : > made/old/new; : > app/later/new; ls -R /project > /seen; rm lib/a lib/b; id -u > app/who"
    inputs: [lib/b, app/c]
    in_place: true
  looks: {run: "cat /project/app/made > /looked; cat keep/d >> /looked; ls lib made > /listed", inputs: [keep]}
envs:
  unit:
    layers: [lib, app, looks]
    tasks:
      test: |
        test "$(cat app/made)" = lib/alib/bapp/c
        test "$(cat /looked)" = lib/alib/bapp/ckeep/d
        test "$(echo lib/* made/* made/old/*)" = "lib/a lib/b lib/made made/2 made/old made/old/live made/old/new"
        test "$(echo app/later/*)" = "app/later/live app/later/new"
        test "$(cat gone/e keep/d lib/a lib/b)" = gone/ekeep/dlib/alib/b
        if grep keep /seen; then exit 1; fi
        echo x | tee lib/made app/made gone/f app/later/live
        rm made/2
""")
    done = place.envtool("test", "-v")
    assert done.status == 0, done.said
    assert "1 command, in place" in done.said
    listed = place.envtool("exec", "unit", "--", "cat", "/listed").out.split()
    assert listed == ["lib:", "b", "made", "made:", "2", "old"]
    place.write("keep/d", "2")
    again = place.envtool("test", "--json")
    assert [each["name"] for each in again.finished("layer")] == ["looks"], "only what stands on it"


@pytest.mark.one_caller
def test_ninja_has_nothing_to_do(place):
    c_project(place)
    if not shutil.which("cmake") or not shutil.which("ninja"):
        pytest.skip("no cmake or ninja here")
    place.write(
        "CMakeLists.txt", "cmake_minimum_required(VERSION 3.10)\nproject(a C)\nadd_executable(app main.c lib.c)\n"
    )
    place.spec("""\
layers:
  built: {run: "cmake -B build -G Ninja . && cmake --build build", inputs: [.], in_place: true}
envs:
  unit:
    layers: [built]
    tasks:
      test: "cmake --build build | tee /tmp/said; grep 'no work to do' /tmp/said; build/app"
""")
    done = place.envtool("test", "-v")
    assert done.status == 0, done.said


@pytest.mark.one_caller
def test_no_input_is_needed_and_what_others_put_there_is_seen_too(place):
    place.write("mine", "live")
    place.spec("""\
envs:
  unit:
    layers:
      - {run: "mkdir -p /project/copied; echo there > /project/copied/lies; echo not > /project/mine"}
      - {run: ["mkdir -p gen", "pwd > gen/where; cat copied/lies > gen/copy; echo built > mine"], in_place: true}
    tasks: {test: "cat gen/where gen/copy copied/lies mine; echo more > gen/where"}
""")
    done = place.envtool("test", "--json")
    assert done.status == 0, done.said
    assert "/project\nthere\nthere\nlive" in done.log()


@pytest.mark.parametrize("where", ["unit", "other"])
@pytest.mark.parametrize("patterns", ["[app]", "['*']", "[out/, app]"])
def test_what_a_build_gave_out_once_does_not_hide_what_is_built_anew(place, where, patterns):
    """It is no input, and git does not ignore it: it would be tested for ever."""
    c_project(place, ignored="")
    build = f"build: {{run: 'mkdir -p out; cp app out/copy', outputs: {patterns}}}"
    place.spec(f"""\
layers:
  built: {{run: make, inputs: ["*.c", "*.h", Makefile], in_place: true}}
envs:
  unit: {{layers: [built], tasks: {{test: 'make -q && test "$(./app)" = 7 && cat note'{f", {build}" if where == "unit" else ""}}}}}
  other: {{layers: [built], tasks: {{test: 'true', {build if where == "other" else "again: 'true'"}}}}}
""")
    place.write("note", "the project's own\n")
    git(place)
    assert place.envtool("build").status == 0
    assert (place.project / "app").exists()
    strangers(place, "app", "note")
    assert place.envtool("test", "-e", "unit").status == 0
    place.write("lib.c", '#include "lib.h"\nint seven(void) { return 8; }\n')
    done = place.envtool("test", "-e", "unit")
    assert done.status == 1, done.said
    place.write("lib.c", '#include "lib.h"\nint seven(void) { return 3 + 4; }\n')
    place.write("note", "another\n")
    done = place.envtool("test", "-e", "unit", "-v")
    assert done.status == 0, done.said
    assert "another" in done.said


@pytest.mark.any_caller
def test_a_thousand_nested_directories_are_built_in_place(fresh):
    fresh.write("input", "x")
    fresh.write(".gitignore", "tree/\n")
    fresh.spec("""\
layers:
  built:
    run: |
      mkdir tree && cd tree
      i=0; while [ $i -lt 1000 ]; do mkdir d; cd d; i=$((i + 1)); done
      echo leaf > file
    inputs: [input]
    in_place: true
envs:
  unit:
    base: host
    layers: [built]
    tasks: {test: 'cd tree; i=0; while [ $i -lt 1000 ]; do cd d; i=$((i + 1)); done; grep leaf file; echo more >> file'}
""")
    git(fresh)
    done = fresh.envtool("test", "-v")
    assert done.status == 0, done.said
    assert not (fresh.project / "tree").exists()
