"""Programs in a build with network, against a server whose authority this machine knows by a variable alone."""

from __future__ import annotations

import http.server
import shutil
import ssl
import threading
from pathlib import Path

import pytest

pytestmark = pytest.mark.e2e

_JAVA = """\
public class Get { public static void main(String[] words) throws Exception {
  System.out.write(new java.net.URL(words[0]).openStream().readAllBytes()); System.out.flush(); } }
"""
PROGRAMS = {
    "python3": "python3 -c 'import sys, urllib.request as u; print(u.urlopen(sys.argv[1]).read().decode())' $URL",
    "curl": "curl -sSf $URL",
    "wget": "wget -qO- $URL",
    "git": "git ls-remote $URL/repository 2>&1 | grep -o 'not found'",  # it got an answer
    "node": "node -e 'require(\"https\").get(process.argv[1], a => a.pipe(process.stdout))' $URL",
    "openssl": "echo | openssl s_client -verify_return_error -connect ${URL#https://} 2>&1 | grep 'Verification: OK'",
    "java": "java Get.java $URL 2>/dev/null",
}


@pytest.fixture(scope="session")
def secure(certificates):
    """An HTTPS server that says `hello`."""

    class Hello(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(404 if "repository" in self.path else 200)
            self.send_header("Content-Length", "6")
            self.end_headers()
            self.wfile.write(b"hello\n")

        def log_message(self, *words) -> None:
            pass

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates.certificate, certificates.key)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hello) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield f"https://localhost:{server.server_address[1]}"
        server.shutdown()


@pytest.mark.one_caller
def test_programs_trust_what_this_machine_trusts(fresh, certificates, secure):
    here = [name for name in PROGRAMS if _works(name)]
    fresh.write("Get.java", _JAVA)
    fresh.write("all.sh", "".join(f"echo {name}:\n{PROGRAMS[name]}\n" for name in here))
    fresh.spec(
        f"envs:\n  unit:\n    layers: [{{run: 'URL={secure} . ./all.sh > /opt/log', network: true, inputs: [all.sh, Get.java]}}]\n"
        "    tasks: {test: 'cat /opt/log; ! ls /dev/envtool'}\n"
    )
    fresh.environ["SSL_CERT_FILE"] = str(fresh.write("own.pem", Path(certificates.authority).read_text(), at=fresh.top))
    fresh.environ["no_proxy"] = "localhost"
    done = fresh.envtool("test", "--json")
    assert done.status == 0, done.said
    said = done.log()
    assert "python3:\nhello\n" in said
    assert said.count("hello") == len({*here} - {"git", "openssl"}), said


def _works(name: str) -> bool:
    if name == "java":  # a JDK: a runtime compiles nothing
        return bool(shutil.which("javac"))
    return bool(shutil.which(name))
