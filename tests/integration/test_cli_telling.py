"""What commands tell while they run, for people and for programs: progress, logs, completion."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import ssl
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import pytest

from tests.engine import Done, Dth, Side, between, bodies
from tests.servers.certificates import Certificates, make_certificates

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.servers.ministack import MiniStack
    from tests.servers.proxy import Proxy


def test_progress_for_programs_and_a_log_file(dth: Dth, source: Side, dest: Side) -> None:
    source.put(bodies(["a", "b"]))
    log = dth.home / "run.log"
    options = ("--progress-json", "0.1", "--log-file", log, "--quiet")
    done = dth.run("s3", "sync", *between(source, dest), *options)
    assert done.code == 0, done
    told = [json.loads(line) for line in done.err.splitlines()]
    assert told
    assert (told[-1]["objects"], told[-1]["ended"], told[-1]["failed"]) == (2, 2, 0)
    assert told[-1].keys() >= {
        "state",
        "percent",
        "done_bytes",
        "bytes_per_second",
        "eta_seconds",
        "workers",
    }
    lines = log.read_text().splitlines()
    assert any(" finder" in line and "started" in line for line in lines), lines


def test_very_verbose_shows_the_logs(dth: Dth, source: Side, dest: Side) -> None:
    source.put(bodies("a"))
    done = dth.run("s3", "sync", *between(source, dest), "-vv")
    assert done.code == 0, done
    assert "source: endpoint" in done.err
    assert "INFO started" in done.err
    once = dth.run("s3", "sync", *between(source, dest), "-v")
    assert "INFO started" not in once.err


def test_a_log_file_that_cannot_be_written_is_told_first(
    dth: Dth, proxy_a: Proxy, dest: Side
) -> None:
    there = Side(proxy_a, "nobody")
    done = dth.here("s3", "sync", *between(there, dest), "--log-file", "/no/such/folder/x")
    assert done.code == 2
    assert "--log-file /no/such/folder/x: No such file or directory" in done.err
    assert not proxy_a.requests


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion(dth: Dth, shell: str) -> None:
    script = dth.here("completion", shell)
    assert script.code == 0
    assert "_DTH_COMPLETE" in script.out
    assert "dth" in script.out


def test_completion_in_bash_finds_commands_and_options(dth: Dth) -> None:
    file = dth.home / "dth.bash"
    file.write_text(dth.here("completion", "bash").out)
    syntax = subprocess.run(["bash", "-n", file], capture_output=True, text=True, check=False)
    assert (syntax.returncode, syntax.stderr) == (0, "")
    dth.env |= {"_DTH_COMPLETE": "bash_complete", "COMP_WORDS": "dth s3 s", "COMP_CWORD": "2"}
    assert dth.run().out.splitlines() == ["plain,stat", "plain,state", "plain,sync"]


def test_manual_pages(dth: Dth) -> None:
    folder = dth.home / "man1"
    assert dth.here("man", folder).code == 0
    pages = sorted(folder.iterdir())
    assert {"dth.1", "dth-s3-sync.1", "dth-ecr-state-ls.1"} <= {each.name for each in pages}
    assert "--concurrency" in (folder / "dth-s3-sync.1").read_text().replace("\\-", "-")
    if groff := shutil.which("groff"):
        done = subprocess.run(
            [groff, "-man", "-ww", "-Tutf8", "-z", *pages],
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, "")
    dth.home.joinpath("file").touch()
    told = one_line(dth.here("man", dth.home / "file/man1"))
    assert "cannot be written: Not a directory; name another directory" in told


@pytest.mark.parametrize(
    "words", ["sync", "sync ./a", "sync s3://a s3://b --files-from", "ls", "cp"]
)
def test_completion_offers_files_and_stores(dth: Dth, words: str) -> None:
    url = ("--endpoint-url", "http://127.0.0.1:1")
    assert dth.here("store", "add", "old-minio", *url).code == 0
    count = str(2 + len(words.split()))
    dth.env |= {"_DTH_COMPLETE": "bash_complete", "COMP_WORDS": f"dth s3 {words} o"}
    dth.env["COMP_CWORD"] = count
    # Bash forgets what comes before the files.
    stores = [] if words.endswith("--files-from") else ["plain,old-minio:"]
    assert dth.run().out.splitlines() == ["file,o", *stores]


@pytest.mark.parametrize(
    ("options", "copied"),
    [
        (("--filter-rules", "aws", "--exclude", "*", "--include", "*.jpg"), ["a.jpg", "x/b.jpg"]),
        (("--filter-rules", "aws", "--exclude=x/*"), ["a.jpg", "c.tmp"]),
        (
            ("--filter-rules", "rclone", "--exclude", "/x/**", "--include", "*.jpg"),
            ["a.jpg", "x/b.jpg"],
        ),
        (("--filter", "- *.tmp", "--filter", "- x/"), ["a.jpg"]),
    ],
)
def test_filters_as_other_tools_read_them(
    dth: Dth, source: Side, dest: Side, options: tuple[str, ...], copied: list[str]
) -> None:
    source.put(bodies(["a.jpg", "x/b.jpg", "c.tmp"]))
    found = dth.here("s3", "sync", *between(source, dest), *options, "--dry-run")
    assert found.code == 0, found
    assert [line.split()[1] for line in found.out.splitlines() if line.startswith("copy")] == copied


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--filter-rules", "aws"), "give one of them"),
        (("--filter-rules", "aws", "--include", "a", "--filter", "+ a"), "leave out --filter"),
        (("--filter", "+ a", "--include", "b"), "give filter rules, or include"),
        (("--filter", "a"), "write '+ PATTERN'"),
        (("--filter-rules", "rclone", "--include", "{{a.*}}"), "regular expression"),
    ],
)
def test_filters_that_cannot_be_are_told(dth: Dth, options: tuple[str, ...], told: str) -> None:
    done = dth.here("s3", "sync", "s3://a", "s3://b", *options, "--dry-run")
    assert (done.code, told in done.err) == (2, True), done


# --- what a command finds around it
# --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words", ["s3 cp - s3://a/b", "secret create x", "store add x --keys", "user passwd admin"]
)
def test_closed_standard_input_is_not_taken_for_an_empty_one(dth: Dth, words: str) -> None:
    (dth.home / "hub").mkdir()
    dth.env |= {"DTH_DATA_DIR": str(dth.home / "hub")}
    done = subprocess.run(
        ["sh", "-c", f"{sys.executable} -m dth {words} <&-"],
        env={**os.environ, **dth.env},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, ""), done
    assert len(done.stderr.splitlines()) == 1
    assert "internal error" not in done.stderr


def test_nobody_can_answer_where_standard_input_is_closed(dth: Dth, source: Side) -> None:
    source.put(bodies(["x/a"]))
    command = f"{sys.executable} -m dth s3 rm -r {source.url}/x/ --endpoint-url {source.server.url}"
    done = subprocess.run(
        ["sh", "-c", f"{command} <&- >&-"],
        env={**os.environ, **dth.env},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, "nobody can answer here" in done.stderr) == (2, True), done
    assert source.listed() == ["x/a"]


def test_names_are_utf8_whatever_the_locale_is(dth: Dth, source: Side, dest: Side) -> None:
    source.put(bodies(["ü/日本"]))
    dth.env |= {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = dth.run("s3", "sync", source.url, "./there", "--src-endpoint-url", source.server.url)
    assert (done.code, done.err) == (0, ""), done
    assert (dth.home / "there" / "ü" / "日本").is_file()


def test_an_output_that_has_no_such_character_gets_its_escape(dth: Dth, source: Side) -> None:
    source.put(bodies(["ü日"]))
    dth.env |= {"PYTHONIOENCODING": "latin-1"}
    done = subprocess.run(
        [
            sys.executable,
            *["-m", "dth", "s3", "ls"],
            source.url,
            "--endpoint-url",
            source.server.url,
        ],
        env={**os.environ, **dth.env},
        capture_output=True,
        check=False,
    )
    assert (done.returncode, b"\xfc\\u65e5" in done.stdout) == (0, True), done


# --- what went wrong
# --------------------------------------------------------------------------------------------------


def one_line(done: Done, code: int = 2) -> str:
    (line,) = done.err.splitlines()
    assert done.code == code, done
    return line.removeprefix("dth: ")


@pytest.mark.parametrize(
    ("words", "instead"),
    [
        ("images copy a b", "images are copied by dth ecr copy"),
        ("ecr inspect a", "to look at one image, use skopeo"),
        ("ecr login a", "sign in with skopeo login"),
        ("ecr copy a b --src-creds a:b", "--src-secret"),
        ("ecr copy a b --dest-tls-verify=false", "--dst-ca-bundle"),
        ("ecr copy a b --all", "all platforms are copied"),
        ("store rm x", "that is dth store remove"),
        ("task new x", "that is dth task create"),
        ("configure", "dth store add"),
        ("serve", "a hub is run by dth up"),
        ("version", "dth --version"),
        ("login http://127.0.0.1:1", "the address of a hub is given with --hub"),
    ],
)
def test_words_of_other_tools(dth: Dth, words: str, instead: str) -> None:
    assert instead in one_line(dth.here(*words.split()))


def test_a_proxy_that_is_not_there(dth: Dth, source: Side) -> None:
    given = ("--endpoint-url", source.server.url, "--proxy", "http://127.0.0.1:9")
    told = one_line(dth.here("s3", "ls", source.url, *given))
    assert told.startswith("the proxy takes no connection")
    assert told.endswith("; correct --proxy, or leave it out")


def test_a_hub_that_is_a_store(dth: Dth, source: Side) -> None:
    dth.env |= {"DTH_TOKEN": "x"}
    told = one_line(dth.here("task", "list", "--hub", source.server.url), 1)
    assert f"what answers at {source.server.url} is not a hub" in told
    assert "(--hub) is right" in told


@pytest.mark.parametrize("command", ["login", "task list"])
def test_a_hub_that_is_not_there(dth: Dth, command: str) -> None:
    dth.env |= {"DTH_TOKEN": "x"}
    told = one_line(dth.here(*command.split(), "--hub", "http://127.0.0.1:9"), 1)
    assert "no server takes connections at 127.0.0.1:9; see that" in told
    assert "(--hub) is right" in told


def test_a_hub_whose_certificate_nobody_signed(dth: Dth, s3_tls: MiniStack) -> None:
    dth.env |= {"DTH_TOKEN": "x"}
    told = one_line(dth.here("task", "list", "--hub", s3_tls.url), 1)
    assert f"the TLS certificate of {s3_tls.url[8:]} is not trusted; give the server's auth" in told
    plain = s3_tls.url.replace("https", "http")
    assert "ssl" not in one_line(dth.here("login", "--hub", plain), 1).lower()


def test_certificates_of_others_and_of_former_times(dth: Dth, tmp_path: Path) -> None:
    with tls_server(make_certificates(tmp_path, expired=True)) as port:
        url = f"https://127.0.0.1:{port}"
        ca = ("--ca-bundle", tmp_path / "ca.pem")
        told = one_line(dth.here("s3", "ls", "s3://a", "--endpoint-url", url, *ca))
        assert "has expired (UntrustedCertificate); renew the certificate of the server" in told
    files = make_certificates(tmp_path)
    with tls_server(files) as port:
        url = f"https://127.0.0.2:{port}"
        told = one_line(dth.here("s3", "ls", "s3://a", "--endpoint-url", url, *ca))
        assert "is one of another host (UntrustedCertificate); correct the host" in told
        host = f"127.0.0.2:{port}"
        given = ("ecr", "plan", f"{host}/a:v1", "h.example.com", "--src-ca-bundle", files.ca)
        told = one_line(dth.here(*given), 1)
        assert told.startswith(f"source: the TLS certificate of {host} is one of another host; ")


def test_a_store_without_an_answer_of_s3(dth: Dth) -> None:
    with web_server() as url:
        assert dth.here("store", "add", "web", "--endpoint-url", url).code == 0
        tested = dth.here("store", "test", "web")
    assert (tested.code, tested.out) == (1, "")
    assert "does not answer as S3 does" in tested.err
    assert "(the endpoint, the region)" in tested.err


def test_an_endpoint_of_one_store_is_of_no_side(dth: Dth) -> None:
    told = one_line(dth.here("s3", "ls", "s3://a", "--endpoint-url", "ftp://x"))
    assert told.startswith("endpoint URL 'ftp://x'")


def test_a_hub_cannot_begin_with_another_file_as_certificate(dth: Dth, tmp_path: Path) -> None:
    files = make_certificates(tmp_path)
    other = tmp_path / "other"
    other.mkdir()
    wrong = make_certificates(other)
    up = ("up", "--port", "0", "--data-dir", tmp_path / "data", "--tls-cert", files.certificate)
    assert "PEM file" in one_line(dth.here(*up, "--tls-key", "/etc/passwd"))
    assert "is not the key of" in one_line(dth.here(*up, "--tls-key", wrong.key))
    assert not (tmp_path / "data").exists()


def test_a_setting_that_there_is_not_is_named(dth: Dth, tmp_path: Path) -> None:
    settings = tmp_path / "x.yaml"
    settings.write_text("isuer: x\n")
    up = ("up", "--port", "0", "--data-dir", tmp_path / "data", "--settings", settings)
    assert "there is no setting isuer; only issuer, " in one_line(dth.here(*up))


@pytest.mark.parametrize(
    ("url", "region", "code", "told"),
    [
        ("http://127.0.0.1:9", "eu-west-1", 1, "no server takes connections at http://127.0.0.1:9"),
        ("http://127.0.0.1:9", "eu west", 2, "there is no region 'eu west'; give one such as"),
    ],
)
def test_aws_that_cannot_be_asked(dth: Dth, url: str, region: str, code: int, told: str) -> None:
    dth.env |= {"AWS_ENDPOINT_URL": url, "AWS_MAX_ATTEMPTS": "1"}
    assert told in one_line(dth.here("aws", "status", "x", "--region", region), code)


def test_a_folder_that_cannot_be_made(dth: Dth) -> None:
    assert one_line(dth.here("aws", "synth", "/proc/x"), 1) == "/proc/x: No such file or directory"


def test_a_registry_that_is_a_web_page(dth: Dth) -> None:
    with web_server() as url:
        done = dth.run("ecr", "copy", f"{url[7:]}/a:v1", "127.0.0.1:9")
    assert done.code == 1
    assert "the answer is a web page, not a manifest" in done.out + done.err, done


@contextlib.contextmanager
def web_server() -> Iterator[str]:
    """Answers everything with a web page."""

    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = b"<html><body>Welcome</body></html>"
            self.send_response(200)
            self.send_header("content-type", "text/html")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Page) as server:
        threading.Thread(target=server.serve_forever).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()


class QuietServer(ThreadingHTTPServer):
    """Says nothing of clients that break off."""

    def handle_error(self, *_: object) -> None:
        pass


@contextlib.contextmanager
def tls_server(files: Certificates) -> Iterator[int]:
    """Shows its certificate at all addresses of this machine, and answers nothing."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files.certificate, files.key)
    with QuietServer(("0.0.0.0", 0), BaseHTTPRequestHandler) as server:
        server.socket = context.wrap_socket(
            server.socket, server_side=True, do_handshake_on_connect=False
        )
        threading.Thread(target=server.serve_forever).start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
