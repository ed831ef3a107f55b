"""The worker: counts the words of each text in the queue."""

import socket

from words import storage


def main():
    connection, jobs = storage.database(), storage.queue()
    print("waiting for texts", flush=True)
    while True:
        number = storage.count_next(connection, jobs, socket.gethostname())
        if number is not None:
            print(f"counted text {number}", flush=True)


if __name__ == "__main__":
    main()
