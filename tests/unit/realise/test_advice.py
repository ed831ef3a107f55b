from envtool.realise import advice


def task(status, output, **changes):
    return advice.of_task(
        status, output, **{"commands": "", "network": False, "scratch": "memory", "base": "host", **changes}
    )


def test_who_tried_the_network_is_told_that_there_is_none():
    line = "curl: (6) Could not resolve host: example.invalid"
    assert "network: true" in task(1, f"some\n{line}\nmore")
    assert not task(1, line, network=True)


def test_the_rest_of_the_container():
    assert "scratch: disk" in task(1, "OSError: [Errno 28] No space left on device")
    assert not task(1, "No space left on device", scratch="disk")
    assert "read-only" in task(1, "touch: cannot touch '/usr/x': Read-only file system")
    assert not task(1, "Read-only file system", base="debian")
    assert "layer" in task(127, "/bin/sh: 1: tox: not found")
    assert "before this one" in advice.of_build(127, "", kind="run", commands="", base="debian")


def test_an_ordinary_failure_needs_no_advice():
    assert not task(1, "assert 1 == 2")
    assert not advice.of_build(2, "make: *** [all] Error 1", kind="run", commands="", base="debian")
