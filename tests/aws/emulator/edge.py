"""The public addresses of a hub in the emulated region, as browsers and command lines reach them: a
proxy that answers for CloudFront and Cognito with a certificate of its own.

What the emulator's CloudFront does not carry out is done here, as the deployed distribution says:
`/graphql` leads to the API. Tokens go as they are, as in China, where no function can change them.
Cognito's pages are the emulator's, at the pool's own domain.
"""

from __future__ import annotations

import http.client
import re
import ssl
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import TYPE_CHECKING, Self
from urllib.parse import urlsplit

from tests.servers.certificates import make_certificates

if TYPE_CHECKING:
    from pathlib import Path

    from tests.aws.emulator.region import Stack

POOLS = "cognito-idp.us-east-1.amazonaws.com"
HOP = {"connection", "transfer-encoding", "content-length", "keep-alive", "date", "server"}


class Edge:
    """`url`: of the proxy, for https. `ca`: the PEM file of who signed its certificate."""

    def __init__(self, stack: Stack, folder: Path) -> None:
        signs_in = f"{stack.resources['SignInDomain']}.auth.us-east-1.amazoncognito.com"
        console = urlsplit(stack.outputs["Url"]).netloc
        made = make_certificates(folder, signs_in, console, POOLS)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(made.certificate, made.key)
        emulator = urlsplit(stack.region.url).netloc
        graphql = f"/v1/apis/{stack.resources['Api'].rpartition('/')[2]}/graphql"

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_CONNECT(self) -> None:
                self.send_response(200, "Connected")
                self.end_headers()
                self.connection = context.wrap_socket(self.connection, server_side=True)
                self.rfile = self.connection.makefile("rb", -1)
                self.wfile = self.connection.makefile("wb", 0)  # type: ignore[assignment]
                self.close_connection = False

            def do_GET(self) -> None:
                host = self.headers["host"]
                body = self.rfile.read(int(self.headers.get("content-length") or 0))
                headers = {
                    name.lower(): text
                    for name, text in self.headers.items()
                    if name.lower() not in HOP
                }
                headers |= {"x-forwarded-proto": "https", "accept-encoding": "identity"}
                path = self.path
                if host == console and path == "/graphql":
                    path = graphql
                    headers["host"] = emulator
                upstream = http.client.HTTPConnection(emulator, timeout=60)
                try:
                    upstream.request(self.command, path, body, headers)
                    answer = upstream.getresponse()
                    found = answer.read()
                finally:
                    upstream.close()
                if path.endswith("/openid-configuration"):
                    found = re.sub(
                        rb"https://[^/]+/(oauth2|logout)",
                        rb"https://%s/\1" % signs_in.encode(),
                        found,
                    )
                self.send_response(answer.status)
                for name, text in answer.getheaders():
                    if name.lower() not in HOP:
                        self.send_header(name, text)
                self.send_header("content-length", str(len(found)))
                self.end_headers()
                self.wfile.write(found)

            def do_POST(self) -> None:
                self.do_GET()

            def log_message(self, format: str, *arguments: object) -> None: ...

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self.ca = made.ca

    def __enter__(self) -> Self:
        Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
