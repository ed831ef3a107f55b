"""cargo, go, ccache and mypy of Debian with caches: the second run takes a third of the first at most, and an edit that
has an older time is compiled. Time of the processors, which others' work on this machine does not change much.

In CI the projects are small; with all depth (.ci/long) each takes at least 20 s the first time.
"""

from __future__ import annotations

import os

import pytest

from tests import depth as depths

pytestmark = [pytest.mark.e2e, pytest.mark.network, pytest.mark.slow]

OLD = 1_500_000_000  # seconds
LONG_SECONDS = 20.0
SCALE = (
    {"ccache": 5, "cargo": 6, "go": 5, "mypy": 14}
    if depths.LONG
    else dict.fromkeys(("ccache", "cargo", "go", "mypy"), 1)
)

CC = """\
#include "part.h"
#include <functional>
#include <map>
#include <regex>
#include <string>
int f{n}(const std::string &s) {{
  std::regex r("a{n}+(b|c)*");
  std::map<std::string, std::function<int(int)>> m;
  m[s] = [](int x) {{ return x + {n} + PART; }};
  return std::regex_match(s, r) ? m[s](1) : 0;
}}
"""
RUST = """
#[derive(Debug, Clone, PartialEq, PartialOrd, Default, Hash, Eq, Ord)]
pub struct S{n} {{ pub a: u32, pub b: String, pub c: Vec<Option<(u64, String)>>, pub d: BTreeMap<String, Vec<u8>> }}
pub fn f{n}(x: &S{n}) -> usize {{
    let mut m: HashMap<S{n}, Vec<String>> = HashMap::new();
    for i in 0..x.a {{ m.entry(x.clone()).or_default().push(format!("{{:?}}{{}}", x, i)); }}
    let mut v: Vec<_> = m.into_iter().collect();
    v.sort();
    v.iter().map(|(k, w)| k.b.len() + w.len()).sum()
}}
"""
MYPY = """
@dataclass
class C{m}_{n}(Generic[T]):
    a: Dict[str, List[T]]
    b: Optional["C{m}_{n}[T]"] = None

    def get(self, key: str, other: Union[T, None] = None) -> List[T]:
        found = [x for x in self.a.get(key, []) if x != other]
        return sorted(found, key=lambda x: repr(x)) + ([] if self.b is None else self.b.get(key))

    def all(self) -> Dict[str, Tuple[int, List[T]]]:
        return {{k: (len(v), self.get(k)) for k, v in self.a.items()}}
"""
GO_IMPORTS = ("crypto/tls", "net/http", "go/types", "html/template", "encoding/xml", "database/sql", "image/png")


def ccache_project(place, scale: int) -> tuple[str, str, str]:
    for number in range(2 * scale):
        place.write(f"src/f{number}.cc", CC.format(n=number))
    place.write(
        "src/main.cc", '#include <cstdio>\n#include "part.h"\nint main() { std::printf("part %d\\n", PART); }\n'
    )
    place.write(
        "Makefile",
        "OBJ := $(patsubst src/%.cc,/tmp/o/%.o,$(wildcard src/*.cc))\n/tmp/o/app: $(OBJ)\n\t@g++ -o $@ $^\n"
        "/tmp/o/%.o: src/%.cc\n\t@mkdir -p /tmp/o\n\t@ccache g++ -O2 -c -o $@ $<\n",
    )
    place.write("src/part.h", "#define PART 1\n")
    return (
        "src/part.h",
        "#define PART 2\n",
        ("layers: [{apt: [g++, ccache, make]}], caches: [~/.cache/ccache], tasks: {test: make -s && /tmp/o/app}"),
    )


def cargo_project(place, scale: int) -> tuple[str, str, str]:
    members = [f"c{number}" for number in range(scale)]
    place.write("Cargo.toml", f'[workspace]\nresolver = "2"\nmembers = {[*members, "app"]!r}\n'.replace("'", '"'))
    package = '[package]\nname = "{}"\nversion = "0.1.0"\nedition = "2021"\n'
    for member in members:
        place.write(f"{member}/Cargo.toml", package.format(member))
        body = "".join(RUST.format(n=number) for number in range(40))
        place.write(f"{member}/src/lib.rs", f"use std::collections::{{BTreeMap, HashMap}};\n{body}")
    uses = "".join(f'{member} = {{ path = "../{member}" }}\n' for member in members)
    place.write("app/Cargo.toml", f"{package.format('app')}[dependencies]\n{uses}")
    calls = " + ".join(f"{member}::f0(&Default::default())" for member in members)
    place.write("app/src/main.rs", f'mod part;\nfn main() {{ println!("part {{}}", part::PART + {calls}); }}\n')
    place.write("app/src/part.rs", "pub const PART: usize = 1;\n")
    place.write(".gitignore", "/target\n/Cargo.lock\n")
    return (
        "app/src/part.rs",
        "pub const PART: usize = 2;\n",
        (
            "layers: [{apt: [cargo, gcc, libc6-dev]}], caches: [target, ~/.cargo], "
            "tasks: {test: cargo build -q --offline && target/debug/app}"
        ),
    )


def go_project(place, scale: int) -> tuple[str, str, str]:
    imports = "".join(f'\t_ "{name}"\n' for name in GO_IMPORTS[: 1 + 2 * scale])
    for number in range(10 * scale):
        functions = "".join(
            f"func F{n}(x []int) int {{ m := map[int]string{{}}; for i, v := range x {{ m[i*{n}] = string(rune(v)) }}; "
            "return len(m) }\n"
            for n in range(100 * scale)
        )
        place.write(f"p{number}/p.go", f"package p{number}\n\n{functions}")
    place.write("go.mod", "module example.org/app\n\ngo 1.19\n")
    place.write(
        "main.go",
        f'package main\n\nimport (\n\t"fmt"\n{imports}\t"example.org/app/part"\n)\n\n'
        'func main() { fmt.Println("part", part.Part) }\n',
    )
    place.write("part/part.go", "package part\n\nconst Part = 1\n")
    return (
        "part/part.go",
        "package part\n\nconst Part = 2\n",
        (
            "layers: [{apt: [golang-go]}], caches: [~/.cache/go-build, ~/go/pkg], "
            "tasks: {test: 'export CGO_ENABLED=0; go build ./... && go build -o /tmp/app . && /tmp/app'}"
        ),
    )


def mypy_project(place, scale: int) -> tuple[str, str, str]:
    for module in range(12 * scale):
        imports = "".join(f"from pkg.m{other} import C{other}_0\n" for other in range(max(0, module - 4), module))
        body = "".join(MYPY.format(m=module, n=number) for number in range(40))
        head = "from dataclasses import dataclass\nfrom typing import Dict, Generic, List, Optional, Tuple, TypeVar, Union\n"
        place.write(f"pkg/m{module}.py", f'{head}{imports}T = TypeVar("T")\n{body}')
    place.write("pkg/__init__.py", "")
    place.write("pkg/part.py", "PART: int = 1\n")
    place.write("pkg/main.py", "from pkg.part import PART\n\nreveal_type(PART)\n")
    return (
        "pkg/part.py",
        "PART: str = ''\n",
        ("layers: [{apt: [mypy]}], caches: [.mypy_cache], tasks: {test: mypy pkg}"),
    )


PROJECTS = {"ccache": ccache_project, "cargo": cargo_project, "go": go_project, "mypy": mypy_project}
BEFORE_AND_AFTER = {"mypy": ("builtins.int", "builtins.str")}


def run(place) -> tuple[float, str]:
    done = place.envtool("test", "--again", "--json")
    assert done.status == 0, done.said[-3000:]
    return done.events[-1]["results"][0]["cpu_seconds"], done.log()


@pytest.mark.dear(cases=1)
@pytest.mark.parametrize("tool", PROJECTS)
def test_the_second_run_takes_a_third_at_most(common, tool):
    place = common
    place.shell("git init -q .")
    path, content, options = PROJECTS[tool](place, SCALE[tool])
    place.spec(f"envs: {{unit: {{base: {{debian: bookworm}}, {options}}}}}\n")
    before, after = BEFORE_AND_AFTER.get(tool, ("part 1", "part 2"))
    first, log = run(place)
    assert before in log
    if depths.LONG:
        assert first >= LONG_SECONDS
    second, log = run(place)
    assert before in log
    print(f"{tool}: {first:.1f} s of the processors, then {second:.1f} s")
    assert second * 3 <= first, (first, second)
    place.write(path, content)
    os.utime(place.project / path, (OLD, OLD))
    _, log = run(place)
    assert after in log, log


@pytest.mark.callers_in_turn
def test_a_layer_of_another_content_is_compiled(common):
    """Files of layers have the time of their epoch, whatever is in them. What did not change is not compiled again."""
    place = common
    place.shell("git init -q .")
    place.write("Makefile", "target/out: /opt/inc/part.h\n\t@echo compiling; cp /opt/inc/part.h target/out\n")
    place.write(".gitignore", "/target\n")
    logs = []
    for part, other in ((1, 1), (1, 1), (2, 1), (2, 1), (2, 2), (1, 2)):
        layer = f"mkdir -p /opt/inc && echo {part} > /opt/inc/part.h && echo {other} > /opt/inc/other.h"
        place.spec(
            f"envs: {{unit: {{base: {{debian: bookworm}}, layers: [{{apt: [make]}}, {{run: '{layer}'}}], "
            "caches: [target], tasks: {test: make -s && cat target/out}}}\n"
        )
        logs.append([line for line in run(place)[1].splitlines() if line in ("compiling", "1", "2")])
    assert logs == [["compiling", "1"], ["1"], ["compiling", "2"], ["2"], ["2"], ["compiling", "1"]]
