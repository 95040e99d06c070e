"""Whether links lead somewhere, inside the built pages and from Markdown files."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

_FETCHED = {"img": "src", "script": "src", "link": "href", "source": "src", "iframe": "src"}


@dataclass
class Page(HTMLParser):
    """One HTML page: its anchors, what it links to, and what a browser fetches to show it."""

    text: str
    anchors: set[str] = field(default_factory=set)
    links: list[str] = field(default_factory=list)
    fetched: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Read the page."""
        super().__init__()
        self.feed(self.text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Take note of a tag."""
        given = {name: value or "" for name, value in attrs}
        self.anchors |= {given[name] for name in ("id", "name") if name in given}
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        source = given.get(_FETCHED.get(tag, ""), "")
        if source and given.get("rel") not in ("next", "prev", "index", "search"):
            self.fetched.append(source)


def complaints(site: Path) -> list[str]:
    """Return a line for every link, picture or script of a built site that leads nowhere.

    Parameters
    ----------
    site : pathlib.Path
        Folder of the HTML files.

    Returns
    -------
    list of str
        "page: target: why", also for what would be fetched from the network.
    """
    pages = {path: Page(path.read_text(encoding="utf-8")) for path in site.rglob("*.html")}
    found = []
    for path, page in sorted(pages.items()):
        name = path.relative_to(site)
        for target in dict.fromkeys([*page.links, *page.fetched]):
            parts = urlsplit(target)
            if parts.scheme == "data":
                continue
            if parts.scheme or parts.netloc:
                if target in page.fetched:
                    found.append(f"{name}: {target}: fetched from the network")
                continue
            file = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if not file.is_file():
                found.append(f"{name}: {target}: no such file")
            elif parts.fragment and file.suffix == ".html":
                known = pages[file].anchors if file in pages else set()
                if unquote(parts.fragment) not in known:
                    found.append(f"{name}: {target}: no such place on the page")
    return found


def markdown_complaints(path: Path, text: str) -> list[str]:
    """Return a line for every relative link of a Markdown file that leads nowhere."""
    found = []
    for target in re.findall(r"\]\(<?([^)>\s]+)>?\)", re.sub(r"(?s)```.*?```", "", text)):
        parts = urlsplit(target)
        if parts.scheme or parts.netloc:
            continue
        file = path.parent / unquote(parts.path) if parts.path else path
        if not file.exists():
            found.append(f"{path.name}: {target}: no such file")
        elif parts.fragment and file.suffix == ".md":
            there = text if file == path else file.read_text(encoding="utf-8")
            if parts.fragment not in headings(there):
                found.append(f"{path.name}: {target}: no such heading")
    return found


def headings(text: str) -> set[str]:
    """Return the anchors of a Markdown file: its headings in lower case, hyphens for spaces."""
    plain = re.sub(r"(?s)```.*?```", "", text)
    titles = re.findall(r"^#+ +(.*?) *#*$", plain, flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}
