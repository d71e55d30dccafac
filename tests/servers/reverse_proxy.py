"""nginx and Caddy in front of a hub, with the files of deploy/."""

from __future__ import annotations

import getpass
import grp
import os
import shutil
from typing import TYPE_CHECKING, Any

import pytest

from .certificates import make_certificates
from .process import REPOSITORY, Process, Server, answers, listening_socket

if TYPE_CHECKING:
    from pathlib import Path

NGINX = """
daemon off; pid {folder}/pid; error_log {folder}/error.log; user {user} {group};
events {{ }}
http {{
  access_log off; client_body_temp_path {folder}/b; proxy_temp_path {folder}/p;
  fastcgi_temp_path {folder}/t; uwsgi_temp_path {folder}/t; scgi_temp_path {folder}/t;
  include {folder}/hub.conf;
}}
"""
CADDY = """{{
	admin off
	auto_https disable_redirects
	storage file_system {folder}
}}
"""


def replaced(text: str, changes: dict[str, str]) -> str:
    """The text with changes, each of which must be possible."""
    for old, new in changes.items():
        assert old in text, old
        text = text.replace(old, new)
    return text


def needed(program: str) -> str:
    """The path of the program. Skips the test where it is missing, except in CI."""
    found = shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if found is None and os.environ.get("CI") != "true":
        pytest.skip(f"{program} is not installed")
    assert found, program
    return found


class ReverseProxy(Server):
    """Has its address at once. `start` is told the port of the hub."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.process: Process
        self.certificates = make_certificates(folder)
        self.program = needed(self.name)
        self.listening = listening_socket()
        self.url = f"https://127.0.0.1:{self.listening.getsockname()[1]}"

    name: str

    def _start(self, *command: str, **options: Any) -> None:
        self.process = Process([self.program, *command], **options)
        self.listening.close()
        self.process.wait_until(lambda: answers(self.port))

    def start(self, hub: int) -> None:
        raise NotImplementedError

    def close(self) -> None:
        self.process.stop()


class Nginx(ReverseProxy):
    name = "nginx"

    def start(self, hub: int) -> None:
        given = (REPOSITORY / "deploy/nginx/data-transfer-hub.conf").read_text("utf-8")
        (self.folder / "hub.conf").write_text(
            replaced(
                given,
                {
                    "    listen [::]:443 ssl http2;\n": "",
                    "    listen [::]:80;\n": "",
                    "listen 80;": f"listen unix:{self.folder}/plain;",
                    "listen 443 ssl": f"listen 127.0.0.1:{self.port} ssl",
                    "/etc/ssl/hub.example.org.pem": str(self.certificates.certificate),
                    "/etc/ssl/hub.example.org.key": str(self.certificates.key),
                    "127.0.0.1:8780": f"127.0.0.1:{hub}",
                },
            )
        )
        config = self.folder / "nginx.conf"
        group = grp.getgrgid(os.getgid()).gr_name
        config.write_text(NGINX.format(folder=self.folder, user=getpass.getuser(), group=group))
        self.listening.setblocking(False)
        self._start(
            *("-p", str(self.folder), "-e", str(self.folder / "error.log"), "-c", str(config)),
            env={"NGINX": f"{self.listening.fileno()};"},
            pass_fds=[self.listening.fileno()],
        )


class Caddy(ReverseProxy):
    name = "caddy"
    file = "Caddyfile"
    site = "hub.example.org"

    def upstreams(self, hub: int) -> dict[str, str]:
        """What stands for each hub in the file."""
        return {"127.0.0.1:8780": f"127.0.0.1:{hub}"}

    def start(self, hub: int) -> None:
        given = (REPOSITORY / "deploy/caddy" / self.file).read_text("utf-8")
        tls = f"tls {self.certificates.certificate} {self.certificates.key}"
        config = self.folder / "Caddyfile"
        config.write_text(
            CADDY.format(folder=self.folder)
            + replaced(
                given,
                {f"\n{self.site} {{": f"\n{self.url} {{\n\t{tls}", **self.upstreams(hub)},
            )
        )
        # It takes no socket that somebody else opened.
        self.listening.close()
        self._start(
            *("run", "--adapter", "caddyfile", "--config", str(config)),
            env={"HOME": str(self.folder)},
        )


class CaddyForSeveral(Caddy):
    """In front of two hubs, of which one does not answer."""

    file = "several-hubs.Caddyfile"
    site = "{$HUB_HOST}"

    def upstreams(self, hub: int) -> dict[str, str]:
        with listening_socket() as free:
            nobody = free.getsockname()[1]
        return {"hub-1:8780": f"127.0.0.1:{nobody}", "hub-2:8780": f"127.0.0.1:{hub}"}
