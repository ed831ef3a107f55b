"""What a spec that is wrong is told: the spec and the whole answer of the real program, against committed files
(tests/golden/messages/wrong-*.txt, one a kind of mistake; ENVTOOL_UPDATE=1 writes them)."""

from __future__ import annotations

import re

import pytest

from envtool.cli.main import main

SHA = "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03"


def of(*envs: str) -> list[str]:
    """Specs with one env each."""
    return [f"version: 1\nenvs:\n  unit: {env}\n" for env in envs]


def layer(*layers: str) -> list[str]:
    """Specs with one layer each."""
    return [f"version: 1\nlayers:\n  one: {each}\n" for each in layers]


def base(*bases: str) -> list[str]:
    """Specs with one base each."""
    return [f"version: 1\nbases:\n  one: {each}\n" for each in bases]


WRONG = {
    "empty": ["", "# nothing yet\n", "version: 1\n", "version: 1\nenvs:\n", "envs: {unit: {tasks: {test: x}}}\n"],
    "shape": ["- version: 1\n", "just words\n", "version: 1\nenvs: [unit]\n", "version: 1\nenvs: {unit: pytest}\n"],
    "yaml": [
        "version: 1\nenvs:\n\tunit: {}\n",
        "version: 1\nenvs:\n  unit:\n    tasks:\n\t  test: x\n",
        "version: 1\nenvs:\n  unit:\n    tasks: {test: x}\n   base: host\n",
        "version: 1\nenvs:\n  unit: {tasks: {test: x}\n",
        "version: 1\nenvs:\n  unit: {layers: [a, b}\n",
        'version: 1\nenvs:\n  unit: {tasks: {test: "x}}\n',
        "version: 1\nenvs:\n  unit: {tasks: {test: echo: x}}\n",
        "version: 1\nenvs:\n  unit:\n    tasks:\n      test: echo: x\n",
        "version: 1\nenvs:\n  unit:\n    tasks:\n      test: {{ args }}\n",
        "version: 1\nenvs:\n  unit:\n    tasks:\n      test: @x\n",
        "version: 1\nenvs:\n  unit:\n    tasks:\n      test: *x\n",
        "version: 1\nenvs:\n  unit:\n    layers: -a\n    tasks {test: x}\n",
        "version: 1\nenvs:\n  unit: {tasks: {test: x}\n  lint: {tasks: {test: y}}\n",
        'version: 1\nenvs:\n  unit:\n    tasks:\n      test: "x\n      lint: "y"\n',
        'version: 1\nenvs:\n  unit:\n    tasks:\n      test: "x" && y\n',
        "version: 1\nenvs:\n  unit:\n    tasks:\n      test: 'it's'\n",
        "version: 1\nenvs:\n  unit:\n    tasks:\n      test: [x] y\n",
        "version: 1\nenvs:\n  unit:\n    base: host\n      tasks: {test: x}\n",
        "version: 1\nenvs:\n  unit:\n    base:host\n    tasks: {test: x}\n",
        "version: 1\nenvs:\n  unit\n    tasks: {test: x}\n",
        "version: 1\nenvs:\n  unit:\n    base: host\n    tasks\n    layers: []\n",
        "version: 1\nenvs:\n  unit:\n    tasks: - x\n",
        "version: 1\nenvs:\n  unit:\n    layers:\n    - x\n    tasks: {}\n   - y\n",
        "version: 1\nenvs:\n  unit:\n    layers:\n      - x\n      tasks: {}\n",
        "version: 1\nlayers: {one: {run: x, inputs: [*.c, **/*.h]}}\n",
        "version: 1\nenvs:\n  unit: &a {}\n  lint: &a {}\n",
        "version: 1\nenvs:\n  unit: &a {set: {A: x}}\n  lint: *b\n",
        "version: 1\nenvs:\n  unit: &a [*a]\n",
        "version: 1\nenvs:\n  unit:\n    tasks:\n      test: |x\n",
        'version: 1\nenvs:\n  unit:\n    tasks:\n      test: "grep \\d x"\n',
        "version: 1\nenvs:\n  unit:\n    tasks:\n      test: !x y\n",
        "version: 1\nenvs:\n  unit:\n    tasks:\n      test: `x`\n",
        "version: 1\nenvs:\n  unit:\n    layers: [a,, b]\n",
        "version: 1\nenvs: {}}\n",
        "version: 1\nenvs: {\n  unit: {}\n  lint: {}\n}\n",
        "version: 1\n...\nenvs: {}\n",
        "%version: 1\n",
        "version: 1\n---\nversion: 1\n",
        "version: 1\nenvs: !!python/object:os.system {}\n",
    ],
    "version": [
        'version: "1"\n',
        "version: 2\n",
        "version: 1.0\n",
        "version: true\n",
        "version: v1\n",
        "version: []\n",
    ],
    "unknown-key": [
        "version: 1\nenv: {unit: {}}\n",
        "version: 1\nsevices: {}\n",
        "version: 1\nfrobnicate: {}\n",
        "version: 1\nservices: {db: {}}\n",
        *of("{services: {db: {}}}"),
        "version: 1\ntasks: {test: x}\n",
        "version: 1\ndebian: bookworm\n",
        "version: 1\nenvironments: {}\n",
        *of("{taks: {test: x}}", "{command: x}", "{tasks: {test: {comand: x}}}", "{image: debian}"),
        *of("{apt: [gcc]}", "{test: pytest}", "{outputs: [x]}", "{environment: {A: b}}", "{frob: x}", "{bases: {}}"),
        *of("{tasks: {test: {run: x, network: true}}}", "{tasks: {test: {cmd: x}}}"),
        *layer("{debian: sid}", "{run: make, timeout: 5m}", "{run: make, frob: x}", "{copy: {source: a, dest: /b}}"),
        *base("{apt: [x]}", "{debian: sid, network: true}", "{debian: sid, image: x}"),
        *layer("{atp: [gcc]}", "{run: make, input: [src]}", "{run: make, cmd: x}", "{fetch: {ulr: x}}"),
        *of("{needs: [x]}", "{language: rust, source: /src}"),
        *base("{debain: bookworm}", "{debian: {siute: bookworm}}", "{ubuntu: noble}"),
    ],
    "missing": [
        *layer("{fetch: {to: /opt/x}}", '{fetch: {url: "https://example.org/x"}}', "{copy: {to: /x}}", "{needs: []}"),
        *base("{debian: {}}", "{tarball: {}}", "{}"),
        *of("{tasks: {test: {outputs: [x]}}}", "{tasks: {test: }}", '{tasks: {test: ""}}', "{base: }"),
    ],
    "type": [
        *of(
            '{network: "yes"}',
            "{network: yes}",
            "{layers: python}",
            "{tasks: pytest}",
            "{tasks: {test: {run: [pytest, 3]}}}",
            "{tasks: {test: 3}}",
            "{set: {A: 1}}",
            "{set: {A: yes}}",
            "{set: [A=1]}",
            "{pass: HOME}",
            "{set: {A: [x]}}",
            "{layers: 'tools, python'}",
        ),
        *layer(
            '{run: make, network: "on"}',
            "{apt: gcc}",
            "{apt: gcc make}",
            "{pip: 'attrs >= 24'}",
            "{apt: [3.11]}",
            "{apt: {gcc: 12}}",
            "{run: {make: all}}",
        ),
        *base("{debian: 12}", "{debian: 3.10}", "{debian: [bookworm]}"),
    ],
    "duplicate": [
        "version: 1\nenvs:\n  unit: {}\n  unit: {}\n",
        "version: 1\nenvs: {}\nenvs: {}\n",
        *of("{tasks: {test: x, test: y}}", "{set: {A: x, A: y}}"),
        "version: 1\nlayers: {a: {apt: [x]}}\nenvs: {unit: {layers: [a, a]}}\n",
    ],
    "unknown-name": [
        "version: 1\nenvs: {unit: {}, lint: {extends: untt}}\n",
        "version: 1\nlayers: {tools: {apt: [x], needs: [tool]}, tols: {apt: [y]}}\n",
        *of("{base: 'Debian:12'}", "{base: 'debian:trixy'}", "{base: registry.example.org/team/app}"),
        *of("{base: bookwrom}", "{layers: [pyton]}", "{extends: untt}", "{extends: nobody}", "{language: pyhton}"),
        *of("{language: cobol}", "{language: [python, node]}"),
        "version: 1\nbases: {bookworm: {debian: bookworm}}\nenvs: {unit: {base: bookwurm}}\n",
        "version: 1\nlayers: {python: {apt: [python3]}}\nenvs: {unit: {layers: [pyhton]}}\n",
        *layer("{apt: [x], needs: [other]}"),
    ],
    "names": [
        *of("{tasks: {-x: y}}", "{set: {A-B: x}}", "{pass: [A B]}"),
        "version: 1\nenvs: {a b: {}}\n",
        "version: 1\nenvs: {-a: {}}\n",
        "version: 1\nenvs: {'': {}}\n",
        "version: 1\nenvs: {1: {}}\n",
        "version: 1\nbases: {host: {debian: x}}\n",
    ],
    "cycle": [
        "version: 1\nlayers: {a: {apt: [x], needs: [a]}}\n",
        "version: 1\nlayers: {a: {apt: [x], needs: [b]}, b: {apt: [y], needs: [a]}}\n",
        "version: 1\nlayers: {a: {apt: [x], needs: [b]}, b: {apt: [y], needs: [c]}, c: {apt: [z], needs: [a]}}\n",
        "version: 1\nenvs: {a: {extends: b}, b: {extends: a}}\n",
        *of("{extends: unit}"),
        "version: 1\nlayers: {a: {apt: [x]}, b: {apt: [y], needs: [a]}}\nenvs: {unit: {layers: [b, a]}}\n",
    ],
    "matrix": of(
        "{matrix: {}}",
        "{matrix: {include: []}}",
        "{matrix: {exclude: []}}",
        "{matrix: [a, b]}",
        "{matrix: {py: 3.11}}",
        "{matrix: {py: [3.10]}}",
        "{matrix: {py: []}}",
        "{matrix: {py: [a, a]}}",
        "{matrix: {py: [a], exclude: [{py: a}]}}",
        "{matrix: {py: [a], exclude: [{pi: a}]}}",
        "{matrix: {py: [a], exclude: [{py: b}]}}",
        "{matrix: {py: [a b]}}",
        "{matrix: {a-b: [x]}}",
    ),
    "template": of(
        *(
            f'{{tasks: {{test: "{text}"}}, matrix: {{py: [a]}}}}'
            for text in (
                "{{ foo",
                "{{ foo }",
                "{{ }}",
                "{{ foo }}",
                "{{ arg }}",
                "{{ matrix.pi }}",
                "{{ matrix['py' }}",
                "{% if x %}",
                "{% for x in y",
                "{% frob %}",
                "{{ args | frob }}",
                "{{ 1 / 0 }}",
                "{{ args() }}",
                "{{ py }}",
                "{{ HOME }}",
                "{{ env.HOME }}",
                "{% if %}",
                "{% else %}",
                "{% for x in y %}",
                "{% raw %}",
                "{{ args | lowr }}",
                "{{ args is frob }}",
                "{{ args == }}",
                "{{ 'x }}",
                "{{ args + 1 }}",
                "{{ [1][3] }}",
                "{{ matrix }}",
            )
        ),
        '{set: {A: "{{ args }}"}}',
    ),
    "include": [
        "version: 1\ninclude: other.yaml\n",
        "version: 1\ninclude: [other.yaml]\n",
        "version: 1\ninclude: [../other.yaml]\n",
        "version: 1\ninclude: [/etc/passwd]\n",
        "version: 1\ninclude: [envtool.yaml]\n",
        "version: 1\ninclude: [services]\n",
        "version: 1\ninclude: [api]\n",
        "version: 1\ninclude: [belw.yaml]\n",
        "version: 1\ninclude: [web/below.yaml]\n",
        "version: 1\ninclude: [.]\n",
        "version: 1\ninclude: {api: services/envtool.yaml}\n",
        "version: 1\ninclude: {a/b: below.yaml}\n",
        "version: 1\ninclude: [3]\n",
        "version: 1\ninclude: [below.yaml]\nenvs: {unit: {}}\n",
        "version: 1\ninclude: [wrong.yaml]\n",
    ],
    "paths": [
        *of("{workdir: ../..}", "{tasks: {test: {run: x, outputs: [/x]}}}", "{tasks: {test: {run: x, outputs: [..]}}}"),
        *of("{tasks: {test: {run: x, outputs: ['dist/[a']}}}"),
        *of("{tasks: {test: {run: x, outputs: ['']}}}", "{tasks: {test: {run: x, outputs: dist}}}"),
        *layer(
            *(
                "{run: x, inputs: [../y]}",
                "{run: x, inputs: [/y]}",
                "{run: x, inputs: ['[a']}",
                "{run: x, inputs: ['']}",
            ),
            *("{run: x, inputs: ['src/[a/b]']}", "{run: x, inputs: ['[z-a]']}", "{run: x, inputs: ['[]']}"),
            *("{copy: {from: [a, 'b['], to: /x}}", "{run: x, inputs: ['[a-z]', 'pages/[id].js', '[[]a', '[]]']}"),
        ),
        *layer("{copy: {from: ../x, to: /opt/x}}", "{copy: {from: x, to: opt/x}}", "{copy: {from: x, to: /opt/../x}}"),
        *layer("{copy: {from: x, to: /opt/x, mode: 999}}", "{copy: {from: x, to: /opt/x, mode: rwx}}"),
    ],
    "fetch": [
        *layer(
            f"{{fetch: {{url: example.org/x, sha256: {SHA}, to: /opt/x}}}}",
            f'{{fetch: {{url: "ftp://example.org/x", sha256: {SHA}, to: /opt/x}}}}',
            f'{{fetch: {{url: "file:///etc/passwd", sha256: {SHA}, to: /opt/x}}}}',
            f'{{fetch: {{url: "https://", sha256: {SHA}, to: /opt/x}}}}',
            '{fetch: {url: "https://example.org/x", sha256: abc, to: /opt/x}}',
            f'{{fetch: {{url: "https://example.org/x", sha256: {SHA[:-1]}, to: /opt/x}}}}',
            f'{{fetch: {{url: "https://example.org/x", sha256: {SHA}, to: opt}}}}',
            '{fetch: "https://example.org/x"}',
        ),
        *layer(
            *(
                f'{{fetch: {{url: "{url}", sha256: {SHA}, to: /opt/x}}}}'
                for url in (
                    "https:///x",
                    "https://example.org:port/x",
                    "https://example.org:99999/x",
                    "https:// example.org/x",
                    "https://[::1/x",
                    "https:/example.org/x",
                    "file://",
                    "file://srv/x",
                    "http://[::1]:8080/x?y#z",
                )
            ),
            '{pip: {packages: [x], index: "https://"}}',
        ),
        *base(
            f'{{tarball: {{url: "https://", sha256: {SHA}}}}}',
            '{debian: {suite: sid, mirror: "http://"}}',
            '{image: "Debian:12"}',
            "{image: ''}",
            "{image: 'debian@sha256:12'}",
            "{image: 'debian:'}",
            "{image: 'debian:12 slim'}",
            "{image: {name: a//b}}",
            "{image: 'host:99999/x'}",
            '{image: "https://example.org/debian"}',
            "{image: 'oci:'}",
            "{dockerfile: {images: {x: 'Debian:12'}}}",
        ),
    ],
    "limits": of(
        "{timeout: 3 parsecs, tasks: {test: x}}",
        "{timeout: soon, tasks: {test: x}}",
        "{timeout: -5s, tasks: {test: x}}",
        "{timeout: 0, tasks: {test: x}}",
        "{timeout: []}",
        "{memory: much}",
        "{memory: 2 XB}",
        "{memory: -1}",
        "{tasks: {test: {run: x, timeout: 5 minuts}}}",
        "{scratch: ram}",
        "{user: nobody}",
        "{processes: many}",
    ),
    "nothing": [
        *of("{tasks: {test: []}}", "{tasks: {test: {run: []}}}", "{base: {}}", "{layers: [{}]}"),
        *layer("{apt: []}", "{apt: {packages: []}}", "{pip: []}", "{copy: {from: [], to: /x}}", "{run: []}", "{}"),
        *base("{image: {}}"),
        "version: 1\ncache: {}\n",
    ],
    "many": [
        (
            "version: 1\nlayrs: {}\nenvs:\n  unit: {base: bookworm, layers: pyton, tasks: {test: {runn: x}}}\n"
            '  lint: {extends: untt, timeout: soon, network: "no"}\n'
        ),
        "version: '1'\nenvs: {unit: {tasks: {test: ''}}}\n",
        "version: 1\nenvs:\n" + "".join(f"  e{number}: {{base: b{number}}}\n" for number in range(30)),
    ],
}


@pytest.fixture
def told(tmp_path, monkeypatch, capsys):
    """What `envtool list` says of a spec."""
    monkeypatch.setenv("ENVTOOL_STORE", str(tmp_path / "store"))
    for name in ("CI", "NO_COLOR", "FORCE_COLOR", "ENVTOOL_DEBUG"):
        monkeypatch.delenv(name, raising=False)
    project = tmp_path / "project"
    (project / "services").mkdir(parents=True)
    (project / "below.yaml").write_text("version: 1\nenvs: {unit: {}}\n")
    (project / "services" / "web").mkdir()
    (project / "services" / "web" / "envtool.yaml").write_text("version: 1\n")
    (project / "api").mkdir()
    (project / "api" / "notes").write_text("")
    (project / "wrong.yaml").write_text("version: 1\nenvs: {lint: {taks: {}}}\n")

    def call(spec: str) -> str:
        (project / "envtool.yaml").write_text(spec)
        status = main(["-C", str(project), "list"])
        said = capsys.readouterr()
        assert "internal error" not in said.err, said.err
        shown = re.sub("^", "  ", spec, flags=re.MULTILINE).rstrip()
        return f"== spec\n{shown}\n== exit {status}\n{said.out}{said.err}".replace(str(project), "PROJECT")

    return call


# The words of libraries, which nobody has to know
FOREIGN = re.compile(
    r"while (?:parsing|scanning)|block (?:mapping|collection|end)|flow (?:mapping|sequence)|node content|simple key"
    r"|expected key|in this context|not allowed here|<[a-z ]+>|print statement|statement block|operand|NoneType"
)


@pytest.mark.parametrize("kind", WRONG)
def test_what_a_wrong_spec_is_told(kind, told, golden):
    """Word for word. No library speaks for us, and each error has a hint, beside its carets or below them."""
    answers = [told(spec) for spec in WRONG[kind]]
    golden(f"wrong-{kind}", "\n".join(answers))
    for answer in answers:
        said = answer.partition("== exit ")[2]
        assert not FOREIGN.search(said), said
        for error in re.split(r"(?m)^(?=\S+:\d+:\d+: error: )", said)[1:]:
            head, *rest = error.rstrip().split("\n")
            hint = re.sub(r"^[ │^]*", "", rest[-1]) if len(rest) != 1 or "│" not in rest[0] else ""
            assert hint or re.search(r"expected .*, as (?:in )?", head), error
