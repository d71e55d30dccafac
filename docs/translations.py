"""What the translations of the documentation are worth: `python -m docs.translations`.

It lists the pages whose English text has changed since, with the command that shows what changed.
After a page was brought up to date, `python -m docs.translations --current PAGE...` notes that it
was made from the English text of now. For mkdocs, this module is the hook that marks stale pages.
"""

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from dth.hub.documentation import CHINESE, FRONT, Documentation, Freshness, blob, made_from

DOCS = Path(__file__).parent


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m docs.translations", description=__doc__)
    parser.add_argument("--current", nargs="+", metavar="PAGE", help="such as how-to/resume.md")
    given = parser.parse_args(arguments)
    for page in given.current or ():
        if page not in Documentation(DOCS).names:
            parser.error(f"{page}: docs has no such English page")
        if not (DOCS / CHINESE.within(page)).is_file():
            parser.error(f"{page}: there is no docs/{CHINESE.within(page)} yet")
        mark(page)
    if not given.current:
        print("\n".join(report(DOCS)) or "All translations are current.")


def report(folder: Path) -> Iterator[str]:
    """A line for each translation that is stale, and one for what is not translated."""
    documentation = Documentation(folder)
    names = sorted(documentation.names)
    for name in names:
        if documentation.state(CHINESE, name) is Freshness.STALE:
            translated = CHINESE.within(name)
            made = made_from((folder / translated).read_text("utf-8"))
            yield (
                f"{translated}: the English page is newer. What changed: "
                f"git diff {made} HEAD:docs/{name}"
            )
    missing = [name for name in names if documentation.state(CHINESE, name) is Freshness.MISSING]
    if missing:
        yield f"Not translated: {', '.join(missing)}"


def mark(name: str, folder: Path = DOCS) -> None:
    """Note in a translation that it was made from the English text of now."""
    page = folder / CHINESE.within(name)
    text = FRONT.sub("", page.read_text("utf-8"))
    made = blob((folder / name).read_text("utf-8"))
    page.write_text(f"---\ntranslates: {made}\n---\n\n{text}", "utf-8")


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """As mkdocs calls its hooks: put the line before a page that is stale."""
    name = page.file.src_uri.removeprefix(CHINESE.within(""))
    if name != page.file.src_uri and Documentation(DOCS).state(CHINESE, name) is Freshness.STALE:
        return f"*{CHINESE.stale}*\n\n{markdown}"
    return markdown


if __name__ == "__main__":
    main()
