import subprocess


def test_shows_the_most_frequent_words():
    done = subprocess.run(["wordcount", "--top", "2"], input="b a b c a b", capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["3", "b", "2", "a"]


def test_a_missing_file_is_an_error():
    done = subprocess.run(["wordcount", "missing.txt"], capture_output=True, text=True)
    assert done.returncode == 2
    assert "missing.txt" in done.stderr
