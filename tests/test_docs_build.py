"""The built documentation: no warning, no broken link; every page fits a desktop and a phone."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest
from browser import chromium, program
from docs_rules import DOCS, ROOT, links

pytestmark = pytest.mark.slow
BUILD = [sys.executable, "-m", "sphinx", "-b", "html", "-W", "--keep-going", "-q"]
WIDTHS = {1280: False, 390: True}
READY = """document.readyState == 'complete' && [...document.images].every(e => e.complete)
    && (!window.MathJax || !document.querySelector('.math') ||
        document.querySelector('mjx-container') !== null)"""
# Not what is cut because an ancestor scrolls; MathJax hides a copy for screen readers.
TOO_WIDE = """[...document.querySelectorAll('body *')].filter(e => {
    const box = e.getBoundingClientRect();
    if (!box.width || e.closest('mjx-assistive-mml, .headerlink')) return false;
    for (let up = e.parentElement; up; up = up.parentElement)
        if (['auto', 'scroll'].includes(getComputedStyle(up).overflowX)) return false;
    return box.left < -0.5 || box.right > document.documentElement.clientWidth + 0.5;
}).map(e => e.tagName + ' ' + e.className + ' ' + e.textContent.slice(0, 60))"""
BROKEN = "[...document.images].filter(e => !e.naturalWidth).map(e => e.src)"


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The built pages."""
    pytest.importorskip("sphinx", reason="extra `docs` is not installed")
    place = tmp_path_factory.mktemp("docs") / "site"
    done = subprocess.run(
        [*BUILD, str(DOCS), str(place)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return place


def test_the_documentation_builds_without_a_warning_or_a_broken_link(site):
    from sam_theory.convergence import THEOREMS

    assert "certificate" in (site / "tutorial.html").read_text(encoding="utf-8")
    for name in THEOREMS:
        page = (site / "_made" / "theorems" / f"{name}.html").read_text(encoding="utf-8")
        assert re.search(rf'<img [^>]*src="[^"]*{name}\.png"', page)
    assert len(list(site.rglob("*.html"))) > 30
    assert links.complaints(site) == []


def faults(page):
    """What does not fit, or is not there."""
    return {name: found for name, check in (("wide", TOO_WIDE), ("broken", BROKEN))
            if (found := page.value(check))}  # fmt: skip


@pytest.mark.skipif(program() is None, reason="Chromium is not installed")
@pytest.mark.parametrize("width", WIDTHS)
def test_every_page_fits_and_is_quiet(site, tmp_path, width):
    with chromium(tmp_path) as page:
        page.resize(width, 1000, mobile=WIDTHS[width])
        for path in sorted(site.rglob("*.html")):
            page.send("Page.navigate", url=path.as_uri())
            page.wait(f"location.href == {path.as_uri()!r} && {READY}")
            assert faults(page) == {}, path.name
            assert page.value("document.documentElement.scrollWidth") <= width, path.name
        assert page.complaints == []
        assert all(url.startswith(("file:", "data:", "blob:")) for url in page.requests)


@pytest.mark.skipif(program() is None, reason="Chromium is not installed")
def test_planted_faults_are_found(site, tmp_path):
    with chromium(tmp_path) as page:
        page.resize(390, 1000, mobile=True)
        page.send("Page.navigate", url=(site / "verdicts.html").as_uri())
        page.wait(f"location.protocol == 'file:' && {READY}")
        assert faults(page) == {}
        page.value("document.querySelector('table').style.overflow = 'visible'")
        assert "wide" in faults(page)
        page.value("document.body.append(Object.assign(new Image(), {src: 'gone.png'}))")
        page.wait("[...document.images].every(e => e.complete)")
        assert "broken" in faults(page)
