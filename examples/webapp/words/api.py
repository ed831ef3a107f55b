"""The web service: POST /texts stores a text and queues it, GET /texts/NUMBER says how many words it has."""

import json
import socket
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from words import storage

MAX_LENGTH = 100_000


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path == "/health":
            return self.answer(200, {"status": "up"})
        start, _, number = self.path.rpartition("/")
        if start != "/texts" or not number.isdigit():
            return self.answer(404, {"error": "no such page"})
        with storage.database() as connection:
            text = storage.read_text(connection, int(number))
        return self.answer(200, text) if text else self.answer(404, {"error": "no such text"})

    def do_POST(self):
        length = int(self.headers.get("Content-Length", 0))
        text = self.rfile.read(min(length, MAX_LENGTH)).decode()
        if self.path != "/texts" or not text or length > MAX_LENGTH:
            return self.answer(400, {"error": "a text of 1 to 100,000 bytes goes to /texts"})
        with storage.database() as connection:
            number = storage.add_text(connection, storage.queue(), text)
        return self.answer(202, {"number": number})

    def answer(self, status, document):
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("X-Served-By", socket.gethostname())
        self.end_headers()
        self.wfile.write(body)


if __name__ == "__main__":
    ThreadingHTTPServer(("", 8000), Handler).serve_forever()
