"""Links inside the documentation: the checker on planted faults, and every Markdown file."""

from __future__ import annotations

import pytest
from docs_rules import DOCS, ROOT, links, pages

FILES = sorted([*DOCS.glob("*.md"), *ROOT.glob("*.md")])


@pytest.fixture
def site(tmp_path):
    """Two pages whose links are in order."""
    (tmp_path / "sub").mkdir()
    (tmp_path / "a.png").write_bytes(b"")
    (tmp_path / "index.html").write_text(
        '<h1 id="top">A</h1> <a href="#top">up</a> <a href="sub/b.html#there">b</a>'
        '<a href="https://example.org/x#y">out</a> <img src="a.png"><img src="data:,x">'
    )
    (tmp_path / "sub" / "b.html").write_text('<a name="there"></a><a href="../index.html">a</a>')
    return tmp_path


def test_links_that_lead_somewhere(site):
    assert links.complaints(site) == []


@pytest.mark.parametrize(
    ("planted", "why"),
    [
        ('<a href="c.html">c</a>', "c.html: no such file"),
        ('<a href="sub/b.html#nowhere">b</a>', "b.html#nowhere: no such place on the page"),
        ('<a href="#bottom">down</a>', "#bottom: no such place on the page"),
        ('<img src="b.png">', "b.png: no such file"),
        ('<script src="x.js"></script>', "x.js: no such file"),
        ('<link rel="stylesheet" href="x.css">', "x.css: no such file"),
        ('<script src="https://example.org/x.js"></script>', "fetched from the network"),
        ('<img src="//example.org/x.png">', "fetched from the network"),
        ('<a href="sub">folder</a>', "sub: no such file"),
    ],
)
def test_planted_broken_link(site, planted, why):
    page = site / "index.html"
    page.write_text(page.read_text() + planted)
    (line,) = links.complaints(site)
    assert line.startswith("index.html: ") and line.endswith(why)


def test_links_of_markdown_files():
    assert {"README.md", "CONTRIBUTING.md", "tutorial.md"} <= {path.name for path in FILES}
    found = [links.markdown_complaints(p, p.read_text(encoding="utf-8")) for p in FILES]
    assert sum(found, []) == []


def test_planted_broken_markdown_link():
    page = DOCS / "index.md"
    text = (
        "# A heading, with a comma\n[a](tutorial.md) [b](https://example.org/#x) ![c](images)\n"
        "[d](#a-heading-with-a-comma) [e](theory.md#the-potential)\n```text\n[f](no.md)\n```\n"
    )
    assert links.markdown_complaints(page, text) == []
    planted = "[a](no/such/page.md) ![b](images/no.png) [c](theory.md#the-end) [d](#here)"
    assert links.markdown_complaints(page, planted) == [
        "index.md: no/such/page.md: no such file",
        "index.md: images/no.png: no such file",
        "index.md: theory.md#the-end: no such heading",
        "index.md: #here: no such heading",
    ]


def test_a_build_with_a_broken_link_fails(tmp_path):
    sphinx = pytest.importorskip("sphinx.errors", reason="extra `docs` is not installed")
    (tmp_path / "index.html").write_text('<a href="gone.html">x</a>')
    check = pages_conf().check_links

    class App:
        outdir = str(tmp_path)
        builder = type("Builder", (), {"format": "html"})

    with pytest.raises(sphinx.SphinxError, match=r"index\.html: gone\.html: no such file"):
        check(App, None)
    (tmp_path / "gone.html").write_text("")
    check(App, None)


def pages_conf():
    """The configuration of the build, as a module."""
    import importlib.util

    spec = importlib.util.spec_from_file_location("docs_conf", DOCS / "conf.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.pages is pages
    return module
