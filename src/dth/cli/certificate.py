"""`dth verify-certificate`: whether a certificate of completion holds, without a network or a
hub."""

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TextIO

import click

from dth.cli.compared import VERDICTS, WORDS
from dth.cli.display import INCOMPLETE, amount, counted, shown, table, verified_words
from dth.cli.output import Output, output_format
from dth.cli.report import text_of_cell
from dth.core.errors import UsageError
from dth.core.plugins import verifies
from dth.core.ports.findings import ComparisonVerdict, State
from dth.hub.certificate import COMPARISON_FORMAT, digest_of, digested, fingerprint, read, verify

MAX_CERTIFICATE = 16 * 1024 * 1024  # bytes
PUBLIC_KEY_HELP = "The hub's public key, as you know it from elsewhere (base64)."


@click.command(name="verify-certificate")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--public-key", metavar="KEY", help=PUBLIC_KEY_HELP)
@click.option(
    "--report",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="REPORT.csv",
    help="A report of the run's objects, to be held against the certificate.",
)
@output_format
def verify_certificate(
    file: Path, public_key: str | None, report: Path | None, output: Output
) -> int:
    """Check the signature of a certificate of completion.

    Exit code 0: it holds; 1: it does not; 2: it cannot be read.
    """
    document = read(_bytes_of(file))
    problem = verify(document, public_key=public_key)
    compares = document["format"] == COMPARISON_FORMAT
    if compares and report:
        raise UsageError("--report: this is the certificate of a comparison, which has no digest")
    if not problem and report:
        problem = _compare(document, report)
    if not output.for_people:
        output.print({"holds": not problem, "problem": problem, "certificate": document})
    if problem:
        click.echo(f"dth: {shown(str(file))} does not hold: {shown(problem)}", err=True)
        return 1
    if not output.for_people:
        return 0
    click.echo("The certificate holds.")
    pinned = public_key is not None
    if compares:
        table(_comparison(document, pinned=pinned))
    else:
        table(_summary(document, pinned=pinned, compared=report is not None))
    if public_key is None:
        click.echo(
            "Anybody can sign with a key of their own: compare it with the hub's, or give that "
            "with --public-key."
        )
    return 0


def _bytes_of(file: Path) -> bytes:
    try:
        with file.open("rb") as stream:
            text = stream.read(MAX_CERTIFICATE + 1)
    except OSError as error:
        raise UsageError(f"{file}: {error.strerror}") from None
    if len(text) > MAX_CERTIFICATE:
        raise UsageError(f"{file} is too large to be a certificate")
    return text


def _summary(document: dict[str, Any], *, pinned: bool, compared: bool) -> list[tuple[str, str]]:
    counts, records, run, task = (document[name] for name in ("counts", "records", "run", "task"))
    rows = [
        (
            "copied",
            (
                f"{counts['done']} objects ({amount(counts['done_bytes'])}), {counts['same']} were "
                "the same"
            ),
        ),
        *_verified(document),
        ("not copied", f"{counts['failed']} failed, {counts['cancelled']} cancelled"),
        ("from", document["source"]),
        ("to", document["destination"]),
        ("task", f"{task['id']} {task['description']}".rstrip()),
        ("run", f"{run['id']}, from {run['started']} to {run['ended']}"),
        *_signer(document, pinned=pinned),
        (
            "objects",
            f"{records['count']} in the digest{', the same as in the report' if compared else ''}",
        ),
    ]
    if records["superseded"]:
        rows.append(("", f"{records['superseded']} were enqueued again since and are not in it"))
    return [(name, shown(value)) for name, value in rows]


def _comparison(document: dict[str, Any], *, pinned: bool) -> list[tuple[str, str]]:
    """What the certificate of a comparison says."""
    about, objects = document["comparison"], document["objects"]
    share = "" if about["sample_percent"] == "100" else f" of {about['sample_percent']}%"
    number = sum(objects.values())
    result = VERDICTS[ComparisonVerdict(document["verdict"])].removesuffix(".")
    rows = [
        ("result", f"{result[:1].lower()}{result[1:]}"),
        ("compared by", f"{about['policy']}{share}, {counted(number, 'object')}"),
        *(("", f"{objects[state]:,} {WORDS[state]}") for state in State if objects[state]),
        ("from", document["source"]),
        ("to", document["destination"]),
        ("comparison", f"{about['id']}, from {about['started']} to {about['ended']}"),
        *_signer(document, pinned=pinned),
    ]
    return [(name, shown(value)) for name, value in rows]


def _signer(document: dict[str, Any], *, pinned: bool) -> list[tuple[str, str]]:
    key = document["public_key"]
    how = "as given" if pinned else "which is the key in the certificate itself"
    return [
        ("issued", f"{document['issued']} by hub {fingerprint(key)}"),
        ("signed with", f"{key}, {how}"),
    ]


def _verified(document: dict[str, Any]) -> list[tuple[str, str]]:
    """How the copies of objects were verified."""
    if not verifies(document["task"]["type"]):
        return []
    if "verified" not in digested(document["format"]):
        return [("verified", "this certificate does not say how: it is of an older format")]
    counts = document["counts"]
    rows = [
        (
            "verified",
            f"{counts['done']:,} objects: {verified_words(document['verified'], always=True)}",
        )
    ]
    if counts["incomplete"]:
        rows.append(("incomplete", f"{counts['incomplete']:,} {INCOMPLETE}"))
    return rows


def _compare(document: dict[str, Any], report: Path) -> str:
    """Why the report is not about the same objects; "" when it is."""
    digest, names = digest_of(document["format"]), digested(document["format"])
    try:
        with report.open(newline="", encoding="utf-8", errors="surrogateescape") as file:
            for row in _rows(file, ("key", "bytes", *names)):
                digest.add(
                    text_of_cell(row["key"]),
                    int(row["bytes"]),
                    *(text_of_cell(row[name]) for name in names),
                )
    except OSError as error:
        raise UsageError(f"{report}: {error.strerror}") from None
    except (ValueError, csv.Error, UsageError) as error:
        raise UsageError(
            f"{report} is not a report of objects: row {digest.count + 1}: {error}"
        ) from None
    records = document["records"]
    if digest.count != records["count"]:
        return f"{report} has {digest.count:,} objects, the certificate {records['count']:,}"
    if digest.hexdigest() != records["digest"]:
        return f"{report} has as many objects as the certificate, but not the same"
    return ""


def _rows(file: TextIO, names: Sequence[str]) -> Iterator[dict[str, str]]:
    reader = csv.DictReader(file, strict=True)
    if missing := [name for name in names if name not in (reader.fieldnames or ())]:
        raise UsageError(f"there is no column {missing[0]!r}")
    for row in reader:
        if None in row.values():
            raise UsageError("it breaks off")
        yield row
