import os

from envtool import evidence


def test_each_run_has_its_directory_and_last_is_the_newest(tmp_path):
    first, _ = evidence.open_run(str(tmp_path))
    evidence.close_run(str(tmp_path), first)
    assert os.path.samefile(tmp_path / ".envtool/last", first)
    assert (tmp_path / ".envtool/.gitignore").read_text() == "*\n"


def test_old_runs_go(tmp_path):
    runs = tmp_path / ".envtool" / "runs"
    runs.mkdir(parents=True)
    for number in range(30):
        (runs / f"20200101T0000{number:02}-1").mkdir()
    newest, _ = evidence.open_run(str(tmp_path))
    evidence.close_run(str(tmp_path), newest)
    left = sorted(os.listdir(runs))
    assert len(left) == evidence.KEPT
    assert os.path.basename(newest) in left


def test_names_of_envs_are_file_names(tmp_path):
    assert os.path.basename(evidence.log_path("/r", "unit[3.11,a/b]", "test it")) == "unit[3.11,a_b].test_it.log"


def test_a_project_that_cannot_be_written_has_its_evidence_elsewhere(tmp_path):
    (tmp_path / ".envtool").write_text("in the way")
    run, _ = evidence.open_run(str(tmp_path))
    assert os.path.isdir(run)
    assert not run.startswith(str(tmp_path))
    evidence.close_run(str(tmp_path), run)
    os.rmdir(run)
