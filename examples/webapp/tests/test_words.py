"""The whole: requests to nginx, which passes them to three replicas, which use PostgreSQL and Redis, from which a worker takes."""

import json
import threading
import time
import urllib.error
import urllib.request

import pytest

from words import storage

WEB = "http://web"


def get(path, base=WEB):
    with urllib.request.urlopen(f"{base}{path}", timeout=10) as answer:
        return json.load(answer), answer.headers["X-Served-By"]


def post(text):
    request = urllib.request.Request(f"{WEB}/texts", data=text.encode(), method="POST")
    with urllib.request.urlopen(request, timeout=10) as answer:
        assert answer.status == 202
        return json.load(answer)["number"]


def counted(number, seconds=20):
    """What is said of a text once it is counted."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        text, _ = get(f"/texts/{number}")
        if text["words"] is not None:
            return text
        time.sleep(0.02)
    raise AssertionError(f"text {number} was not counted within {seconds} s")


def test_a_text_goes_through_all_parts():
    number = post("how much wood would a woodchuck chuck")
    text = counted(number)
    assert text["words"] == 7
    assert text["counted_by"].startswith("worker")
    with storage.database() as connection:
        assert storage.read_text(connection, number) == text


def test_what_prepare_left_is_there_and_nothing_else():
    assert get("/texts/1")[0] == {"text": "the one that is always there", "words": 6, "counted_by": "schema.sql"}
    with storage.database() as connection:
        connection.execute("DELETE FROM texts WHERE id > 1")
        assert connection.execute("SELECT count(*) FROM texts").fetchone() == (1,)


def test_nginx_uses_three_replicas():
    served = {get("/health")[1] for _ in range(100)}
    assert len(served) == 3
    assert all(name.startswith("api") for name in served)


def test_a_replica_has_a_name_of_its_own():
    assert {get("/health", f"http://api-{number}:8000")[1] for number in (1, 2, 3)} == {get("/health")[1] for _ in range(100)}


def test_many_at_once():
    numbers = []
    threads = [threading.Thread(target=lambda n=n: numbers.append(post("word " * n))) for n in range(1, 21)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(numbers)) == 20
    assert sorted(counted(number)["words"] for number in numbers) == list(range(1, 21))
    assert storage.queue().llen(storage.QUEUE) == 0


@pytest.mark.parametrize("path", ["/texts/999999", "/texts/x", "/other"])
def test_what_is_not_there(path):
    with pytest.raises(urllib.error.HTTPError) as raised:
        get(path)
    assert raised.value.code == 404


def test_an_empty_text_is_refused():
    with pytest.raises(urllib.error.HTTPError) as raised:
        post("")
    assert raised.value.code == 400
