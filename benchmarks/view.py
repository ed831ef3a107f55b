"""What telling "unchanged" costs: view digests of 1,000 to 100,000 files, and `envtool test` of an unchanged project.

    python benchmarks/view.py --envtool .venv/bin/envtool [--rounds 15] [--most 100000] [--json]

`envtool` is the installed command (with its .pyc). Digests are timed as whole processes, with Python's start: nothing
changed, one file changed, and the first time. `envtool test` stands beside `python3 -c 'import yaml, jinja2'` of the
same environment and bare Python, interleaved, so that whatever else the machine does meets all of them alike.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import tempfile
import time

SIZES = (1_000, 10_000, 100_000)
BUDGET = {1_000: 30, 10_000: 100, 100_000: 400}  # ms, unchanged
SPEC = "version: 1\nenvs: {unit: {base: host, tasks: {test: 'true'}}}\n"
LOOK = "import os, sys; from envtool.view import look; look.look(*sys.argv[1:]); os._exit(0)"
REMOVE = "import sys; from envtool.container import ids; ids.remove(sys.argv[1])"


def project(directory: str, count: int) -> None:
    """A repository of `count` files, all of them committed."""
    for number in range(count):
        parent = f"{directory}/pkg{number // 1000}/part{number // 50 % 20}"
        if number % 50 == 0:
            os.makedirs(parent, exist_ok=True)
        with open(f"{parent}/file{number}.py", "w", encoding="ascii") as file:
            file.write(f"value = {number}\n" * 40)
    identity = ["-c", "user.name=bench", "-c", "user.email=bench@example.org"]
    for words in (["init", "-q"], ["config", "gc.auto", "0"], ["add", "-A"], [*identity, "commit", "-q", "-m", "all"]):
        subprocess.run(["git", "-C", directory, *words], check=True)


def once(argv: list[str], cwd: str = "/") -> float:
    """Milliseconds from start to end of one process. Raises when it fails."""
    began = time.perf_counter()
    ended = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, check=False, cwd=cwd)
    spent = time.perf_counter() - began
    if ended.returncode != 0:
        raise SystemExit(f"{' '.join(argv)}: {ended.returncode}: {ended.stderr.decode(errors='replace')[-600:]}")
    return 1000 * spent


def digests(python: str, work: str, most: int, rounds: int) -> dict[int, dict[str, float]]:
    """For each size, medians in ms: unchanged, one file edited, and the first time."""
    found = {}
    for size in (size for size in SIZES if size <= most):
        directory, record = f"{work}/p{size}", f"{work}/record{size}"
        os.mkdir(directory)
        project(directory, size)
        argv = [python, "-I", "-c", LOOK, directory, record]
        first, edited, unchanged = [], [], []
        for _ in range(3):
            for name in (record, f"{record}.hashes"):
                if os.path.exists(name):
                    os.unlink(name)
            first.append(once(argv))
        once(argv)
        for number in range(rounds):
            with open(f"{directory}/pkg0/part0/file1.py", "w", encoding="ascii") as file:
                file.write(f"value = {number}\n")
            time.sleep(0.05)
            edited.append(once(argv))
            unchanged.append(once(argv))
        found[size] = {
            "unchanged": statistics.median(unchanged),
            "one edited": statistics.median(edited),
            "first": statistics.median(first),
        }
    return found


def told(envtool: str, work: str, rounds: int) -> dict[str, float]:
    """Medians in ms of `envtool test` of 1,000 unchanged files, and of what it is measured by."""
    python = os.path.join(os.path.dirname(envtool), "python")
    directory = f"{work}/told"
    os.mkdir(directory)
    project(directory, 1_000)
    with open(f"{directory}/envtool.yaml", "w", encoding="ascii") as file:
        file.write(SPEC)
    time.sleep(1.2)  # the short way trusts no file that is younger than the run that read it
    test = [envtool, "test"]
    for _ in range(3):
        once(test, directory)
    contenders = {
        "python3 -I -S -c pass": [os.path.realpath(python), "-I", "-S", "-c", "pass"],
        "python3 -c pass": [python, "-c", "pass"],
        "python3 -c 'import yaml, jinja2'": [python, "-c", "import yaml, jinja2"],
        "envtool test, unchanged": test,
        "envtool test --color never (the long way)": [*test, "--color", "never"],
    }
    spent: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, argv in contenders.items():
            spent[name].append(once(argv, directory))
    return {name: statistics.median(times) for name, times in spent.items()}


def table(found: dict[str, dict[str, float]], files: dict[int, dict[str, float]]) -> str:
    """Markdown of both."""
    lines = ["| files | unchanged, ms (budget) | one edited | first time |", "|---|---|---|---|"]
    for size, row in files.items():
        lines.append(
            f"| {size:,} | {row['unchanged']:.1f} ({BUDGET[size]}) | {row['one edited']:.1f} | {row['first']:.0f} |"
        )
    own = found["told"]
    yaml = own["python3 -c 'import yaml, jinja2'"]
    lines += ["", "| 1,000 files | ms | x `import yaml, jinja2` |", "|---|---|---|"]
    lines += [f"| {name} | {spent:.1f} | {spent / yaml:.2f} |" for name, spent in own.items()]
    return "\n".join(lines)


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description="what telling that nothing changed costs")
    parser.add_argument("--envtool", required=True, help="the installed command")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--most", type=int, default=100_000, help="files of the largest project")
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    for name in [name for name in os.environ if name.startswith("PYTHON")]:
        del os.environ[name]  # another place's modules would be measured
    envtool = os.path.abspath(asked.envtool)
    python = os.path.join(os.path.dirname(envtool), "python")
    with tempfile.TemporaryDirectory(prefix="envtool-bench-") as work:
        os.environ["ENVTOOL_STORE"] = f"{work}/store"
        found = {"told": told(envtool, work, asked.rounds)}
        subprocess.run([python, "-c", REMOVE, f"{work}/store/layers"], check=True)
        files = digests(python, work, asked.most, asked.rounds)
    print(json.dumps({**found, "files": files}) if asked.json else table(found, files))


if __name__ == "__main__":
    main()
