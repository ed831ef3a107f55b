"""A real HTTP server (or TLS, or a proxy) on this machine that misbehaves on purpose, in ways that a test names."""

from __future__ import annotations

import contextlib
import http.server
import re
import select
import socket
import struct
import threading
import time
from collections import Counter


class Faulty(http.server.ThreadingHTTPServer):
    """`routes`: name -> function(handler, turn), the turn counting from 1; `asked`: (name, headers) of each request;
    `most`: how many requests were served at one time."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, context=None):
        super().__init__(("127.0.0.1", 0), Handler)
        self.context = context
        self.routes = {}
        self.asked = []
        self.count = Counter()
        self.lock = threading.Lock()
        self.now = self.most = 0
        self.url = f"http{'s' if context else ''}://127.0.0.1:{self.server_port}/"

    def get_request(self):
        connection, address = super().get_request()
        if self.context:
            connection.settimeout(5)
            connection = self.context.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
        return connection, address

    def handle_error(self, *_):
        """Clients that hang up are what the tests are about."""

    @contextlib.contextmanager
    def running(self):
        thread = threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self.shutdown()
            self.server_close()
            thread.join()


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_GET(self):
        server = self.server
        name = self.path.partition("://")[2].partition("/")[2] if "://" in self.path else self.path.strip("/")
        with server.lock:
            server.count[name] += 1
            server.asked.append((name, dict(self.headers)))
            turn = server.count[name]
            server.now += 1
            server.most = max(server.most, server.now)
        try:
            server.routes[name](self, turn)
        finally:
            with server.lock:
                server.now -= 1

    def do_CONNECT(self):
        """As a proxy: hand bytes on, or what the route `CONNECT` says."""
        with self.server.lock:
            self.server.asked.append((f"CONNECT {self.path}", dict(self.headers)))
        if "CONNECT" in self.server.routes:
            self.server.routes["CONNECT"](self, 1)
            return
        host, _, port = self.path.rpartition(":")
        with socket.create_connection((host, int(port))) as other:
            self.send_response(200)
            self.end_headers()
            pair = {self.connection: other, other: self.connection}
            while True:
                for one in select.select([*pair], [], [], 5)[0]:
                    piece = one.recv(1 << 16)
                    if not piece:
                        self.close_connection = True
                        return
                    pair[one].sendall(piece)

    do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_GET

    # what routes are made of

    def body(self):
        """What was sent with the request."""
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def send(self, body=b"", status=200, length=None, cut=None, **headers):
        """`length`: what Content-Length says; `cut`: the connection ends after so many bytes."""
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body[:cut])
        if cut is not None or (length or 0) > len(body):
            self.close_connection = True

    def start(self):
        """Where the client wants to go on."""
        match = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range") or "")
        return int(match[1]) if match else 0

    def resumable(self, body, cut=None):
        """Serve it as a good server does."""
        start = self.start()
        if start:
            self.send(body[start:], 206, cut=cut, Content_Range=f"bytes {start}-{len(body) - 1}/{len(body)}")
        else:
            self.send(body, cut=cut)

    def chunks(self, body, piece=50_000, end=True):
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for start in range(0, len(body), piece):
            part = body[start : start + piece]
            self.wfile.write(b"%x\r\n%s\r\n" % (len(part), part))
        if end:
            self.wfile.write(b"0\r\n\r\n")
        else:
            self.close_connection = True

    def unframed(self, body):
        """As HTTP/1.0 does: the end of the connection is the end of the file."""
        self.send_response(200)
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)
        self.close_connection = True

    def reset(self):
        """RST instead of FIN."""
        self.wfile.flush()
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()
        self.close_connection = True

    def drip(self, body, pause):
        with contextlib.suppress(OSError):
            for byte in body:
                self.wfile.write(bytes([byte]))
                self.wfile.flush()
                time.sleep(pause)
        self.close_connection = True
