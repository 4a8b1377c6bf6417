#!/usr/bin/env python3
"""Builds the pages as a site: `make docs` puts it into target/site.

The pages are written for a repository's own view, and that stays so. This gathers those that docs/SUMMARY.md names into one
book, leads their links there, lets mdBook render it, and checks every link of what came out.
"""

import os
import posixpath
import re
import shutil
import subprocess
import sys
from html import escape
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent
BOOK = ROOT / "target/docs"
SITE = ROOT / "target/site"
SUMMARY = "docs/SUMMARY.md"
LINK = re.compile(r"(\]\(|\b(?:src|srcset|href)=\")([^)\"\s]+)")


def fail(*lines: str) -> None:
    sys.exit("\n".join(f"docs: {line}" for line in lines))


def place_of(page: str) -> str:
    """Where a page of the repository stands in the book: a folder's README is named after its folder."""
    if page.startswith("docs/"):
        return page.removeprefix("docs/")
    folder, name = posixpath.split(page)
    return (folder or "overview") + ".md" if name == "README.md" else page


class Book:
    def __init__(self) -> None:
        summary = (ROOT / SUMMARY).read_text()
        self.pages = [posixpath.normpath("docs/" + target) for target in re.findall(r"\]\(([^)]+\.md)\)", summary)]
        self.problems: list[str] = []

    def gather(self) -> None:
        shutil.rmtree(BOOK, ignore_errors=True)
        for page in [SUMMARY, *self.pages]:
            text = (ROOT / page).read_text()
            self.write(place_of(page), self.with_links(page, text))
        if self.problems:
            fail(*self.problems)

    def write(self, place: str, text: str) -> None:
        path = BOOK / "src" / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def with_links(self, page: str, text: str) -> str:
        """The text with every link out of a fence leading to where its target stands in the book."""
        lines, fence = [], None
        for line in text.splitlines():
            opens = re.match(r"\s*(```+)", line)
            if opens and fence is None:
                fence = opens[1]
            elif opens and line.strip() == fence:
                fence = None
            elif fence is None:
                line = LINK.sub(lambda found: found[1] + self.link(page, found[2]), line)
            lines.append(line)
        return "\n".join(lines) + "\n"

    def link(self, page: str, target: str) -> str:
        if re.match(r"[a-z]+:|#", target):
            return target
        file, _, anchor = target.partition("#")
        file = posixpath.normpath(posixpath.join(posixpath.dirname(page), unquote(file)))
        if file not in self.pages and (ROOT / file).is_dir():
            file += "/README.md" if file + "/README.md" in self.pages else "/"
        if file.endswith("/"):
            place = self.list(file)
        elif file in self.pages:
            place = place_of(file)
        elif (ROOT / file).is_file() and not file.endswith(".md"):
            place = self.copy(file)
        else:
            self.problems.append(f"{page}: {target} leads to nothing that docs/SUMMARY.md names")
            return target
        relative = posixpath.relpath(place, posixpath.dirname(place_of(page)) or ".")
        return relative + ("#" + anchor if anchor else "")

    def copy(self, file: str) -> str:
        """A file that is no page, as one that a browser shows."""
        shown = file.endswith((".json", ".svg", ".png", ".webp", ".gif"))
        place = file.removeprefix("docs/") if file.startswith("docs/") else "files/" + file
        place += "" if shown else ".txt"
        path = BOOK / "src" / place
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / file, path)
        return place

    def list(self, folder: str) -> str:
        """A folder without a page of its own, as a list of its files."""
        files = sorted(path.name for path in (ROOT / folder).iterdir() if path.is_file() and not path.name.startswith("."))
        place = f"files/{folder}index.html"
        links = [(posixpath.relpath(self.copy(folder + name), posixpath.dirname(place)), name) for name in files]
        rows = "".join(f'<li><a href="{link}">{escape(name)}</a></li>' for link, name in links)
        if not rows:
            self.problems.append(f"{folder} has no file to list")
        self.write(place, f'<!doctype html><meta charset="utf-8"><title>{folder}</title><h1>{folder}</h1><ul>{rows}</ul>')
        return place

    def render(self, mdbook: str) -> None:
        shutil.copyfile(HERE / "book.toml", BOOK / "book.toml")
        (BOOK / "theme/fonts").mkdir(parents=True)
        # The system's own faces.
        (BOOK / "theme/fonts/fonts.css").write_text("/* none of the book's own */\n")
        for place in ("theme/favicon.svg", "src/mark.svg"):
            shutil.copyfile(ROOT / "src/web/look/mark.svg", BOOK / place)
        # Colours and faces are those of every other page of sidestream.
        look = (ROOT / "src/web/look/style.css").read_text()
        colours = look.partition("\n*, ::before")[0]
        if "--accent" not in colours:
            fail("the colours are no longer at the front of src/web/look/style.css")
        (BOOK / "look.css").write_text(colours + "\n" + (HERE / "look.css").read_text())
        subprocess.run([mdbook, "build", "--dest-dir", str(SITE), str(BOOK)], check=True)


class Page(HTMLParser):
    """The anchors and links of a rendered page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, "str | None"]]) -> None:
        for name, value in attributes:
            if name in ("id", "name") and value:
                self.anchors.add(value)
            if name in ("href", "src", "srcset") and value:
                self.links.append(value)


def check_links() -> None:
    pages = {path: Page(path.read_text()) for path in SITE.rglob("*.html") if path.name not in ("404.html", "toc.html")}
    problems, checked = [], 0
    for path, page in pages.items():
        for link in page.links:
            if re.match(r"[a-z]+:", link):
                continue
            file, _, anchor = link.partition("#")
            target = Path(os.path.normpath(path.parent / unquote(file))) if file else path
            checked += 1
            if not target.is_file():
                problems.append(f"{path.relative_to(SITE)}: {link} leads nowhere")
            elif anchor and target in pages and unquote(anchor) not in pages[target].anchors:
                problems.append(f"{path.relative_to(SITE)}: {link} names no heading")
    if problems:
        fail(*problems)
    print(f"docs: {len(pages)} pages, {checked} links, all lead somewhere: {SITE.relative_to(ROOT)}/index.html")


def main() -> None:
    if len(sys.argv) > 2:
        fail("usage: docs/site/build.py [MDBOOK]; without it the pages are gathered and their links looked at")
    book = Book()
    book.gather()
    if len(sys.argv) == 1:
        return
    shutil.rmtree(SITE, ignore_errors=True)
    book.render(sys.argv[1])
    check_links()


main()
