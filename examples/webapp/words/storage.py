"""Texts in PostgreSQL, and the queue of those that are not counted yet in Redis. Both are found by the variables that envtool sets."""

import os

import psycopg
import redis

QUEUE = "texts"


def database():
    return psycopg.connect(os.environ["DATABASE_URL"], autocommit=True)


def queue():
    return redis.Redis.from_url(os.environ["REDIS_URL"])


def add_text(connection, jobs, text):
    """Store a text and queue it; returns its number."""
    (number,) = connection.execute("INSERT INTO texts (text) VALUES (%s) RETURNING id", (text,)).fetchone()
    jobs.lpush(QUEUE, number)
    return number


def read_text(connection, number):
    """What is known of a text: None if there is none."""
    row = connection.execute("SELECT text, words, counted_by FROM texts WHERE id = %s", (number,)).fetchone()
    return row and dict(zip(("text", "words", "counted_by"), row))


def count_next(connection, jobs, worker, wait=1):
    """Count the words of the next text in the queue; returns its number, or None if none came within `wait` seconds."""
    taken = jobs.brpop(QUEUE, timeout=wait)
    if taken is None:
        return None
    number = int(taken[1])
    (text,) = connection.execute("SELECT text FROM texts WHERE id = %s", (number,)).fetchone()
    connection.execute("UPDATE texts SET words = %s, counted_by = %s WHERE id = %s", (len(text.split()), worker, number))
    return number
