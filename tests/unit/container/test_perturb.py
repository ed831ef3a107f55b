from __future__ import annotations

import os

import pytest

from envtool.container import perturb, seccomp, syscalls
from envtool.container.program import ContainerStep, ContainerVariation, Program, Root


def test_a_container_that_is_not_varied_costs_nothing():
    plain = Program(root=Root(), steps=(ContainerStep(argv=("true",)),)).to_dict()
    assert "vary" not in plain
    assert plain["seccomp"] == seccomp.build_filter(single=False, sync=True)
    varied = Program(root=Root(), steps=(), vary=ContainerVariation(order="forward", processors=1, pids=3)).to_dict()
    assert varied["vary"] == ("forward", 1, 3)
    assert varied["seccomp"] == seccomp.build_filter(single=False, sync=True, ask=("getdents64",))


@pytest.mark.parametrize("backward", [False, True])
def test_entries_are_sorted_and_given_out_in_pieces(tmp_path, backward):
    for name in ("b", "é", "a", "c" * 200):
        (tmp_path / name).touch()
    directory = os.open(tmp_path, os.O_RDONLY)
    records = perturb._read_entries(directory, backward=backward)
    os.close(directory)
    names = [record[19:].split(b"\0", 1)[0] for record in records]
    assert names == sorted([b".", b"..", b"a", b"b", b"c" * 200, "é".encode()], reverse=backward)
    given, position = [], 0
    while True:
        answer, taken = perturb._take_records(records[position:], position, 256)
        if not taken:
            break
        assert len(answer) <= 256
        given.append(answer)
        position += taken
        last = answer[-int.from_bytes(records[position - 1][16:18], "little") :]
        assert int.from_bytes(last[8:16], "little") == position  # where seekdir goes on
    assert b"".join(given).count(b"\0") >= len(records)
    assert len(given) > 1
    assert position == len(records)


def test_a_buffer_that_is_too_small_for_one_entry():
    with pytest.raises(perturb._KernelError):
        perturb._take_records([b"x" * 32], 0, 8)


def test_an_open_file_is_borrowed_whole(tmp_path):
    (tmp_path / "a").touch()
    directory = os.open(tmp_path, os.O_RDONLY)
    try:
        borrowed = perturb._duplicate_descriptor(os.getpid(), directory)
    except PermissionError:  # in one of our own containers
        pytest.skip("pidfd_getfd is refused here")
    os.lseek(borrowed, 2, os.SEEK_SET)
    assert os.lseek(directory, 0, os.SEEK_CUR) == 2
    os.close(borrowed)
    os.close(directory)
    assert syscalls.NUMBERS["pidfd_getfd"] == 438
