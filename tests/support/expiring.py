"""A proxy in front of the emulated AWS that refuses credentials as AWS does when they have expired."""

import contextlib
import json
import re
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Proxy:
    """Forwards requests; ``expired`` has the access key IDs that it refuses."""

    def __init__(self, endpoint_url: str) -> None:
        self.endpoint_url = endpoint_url
        self.expired: set[str] = set()
        self.refusals = 0
        self.url = ""

    def handle(self, key: str, path: str, headers: dict[str, str], body: bytes) -> tuple[int, bytes]:
        """Return the status and the body of a response."""
        if key in self.expired:
            self.refusals += 1
            error = {"__type": "com.amazonaws.sqs#ExpiredToken", "message": "The security token is expired"}
            return 403, json.dumps(error).encode()
        request = urllib.request.Request(self.endpoint_url + path, data=body, headers=headers)  # noqa: S310 - loopback
        try:
            with urllib.request.urlopen(request, timeout=60) as response:  # noqa: S310
                return response.status, response.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()


@contextmanager
def expiring(endpoint_url: str) -> Iterator[Proxy]:
    """Run a proxy during the block."""
    proxy = Proxy(endpoint_url)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            key = re.search(r"Credential=([^/]+)/", self.headers.get("Authorization", ""))
            kept = ("authorization", "content-type", "x-amz-date", "x-amz-target")
            headers = {name: value for name, value in self.headers.items() if name.lower() in kept}
            status, response = proxy.handle(key[1] if key else "", self.path, headers, body)
            self.send_response(status)
            self.send_header("Content-Type", "application/x-amz-json-1.0")
            self.send_header("Content-Length", str(len(response)))
            self.end_headers()
            with contextlib.suppress(ConnectionError):  # the worker was stopped
                self.wfile.write(response)

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    proxy.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
