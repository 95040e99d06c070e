"""The report page in headless Chromium: whole, quiet, and within the screen at every width."""

from __future__ import annotations

import pytest
from browser import chromium, program
from tiny_studies import TINY

from analysis import claims
from figures import report

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(program() is None, reason="Chromium is not installed"),
]
WIDTHS = {1280: False, 768: False, 390: True}
TOO_WIDE = """[...document.querySelectorAll('body *')].filter(e => {
    const box = e.getBoundingClientRect();
    return box.width && !e.closest('.scroll') && (box.left < 0 || box.right > innerWidth + 0.5);
}).map(e => e.tagName + ' ' + e.className)"""
CLIPPED = """[...document.querySelectorAll('.claims td, figcaption, h1, h2, h3, p')]
    .filter(e => e.scrollWidth > e.clientWidth + 1).map(e => e.textContent.slice(0, 60))"""
OVERLAPS = """[...document.querySelectorAll('section > *')].filter(e => {
    const next = e.nextElementSibling;
    return next && e.getBoundingClientRect().bottom > next.getBoundingClientRect().top + 0.5;
}).map(e => e.tagName)"""
BROKEN = "[...document.images].filter(e => !(e.complete && e.naturalWidth)).map(e => e.alt)"


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """Write the page of all diagonal studies at tiny sizes."""
    folder = tmp_path_factory.mktemp("report")
    for module, size in TINY.values():
        module.run(size=size, folder=folder)
    claims.write(folder)
    html, verdicts, _, _ = report.page(folder)
    assert verdicts["not run"] and verdicts.total() > verdicts["not run"]
    (folder / "index.html").write_text(html, encoding="utf-8")
    return (folder / "index.html").as_uri()


def faults(page) -> dict[str, list[str]]:
    """Find what does not fit."""
    checks = {"wide": TOO_WIDE, "clipped": CLIPPED, "overlaps": OVERLAPS, "broken": BROKEN}
    return {name: found for name, check in checks.items() if (found := page.value(check))}


@pytest.mark.parametrize("width", WIDTHS)
def test_the_page_fits_and_is_quiet(address, tmp_path, width):
    with chromium(tmp_path) as page:
        page.resize(width, 1000, mobile=WIDTHS[width])
        page.send("Page.navigate", url=address)
        page.wait("document.readyState == 'complete' && document.images.length > 8")
        page.wait("[...document.images].every(e => e.complete)")
        assert faults(page) == {}
        page.value("document.querySelectorAll('details').forEach(e => { e.open = true })")
        assert faults(page) == {}
        assert page.value("document.documentElement.scrollWidth") <= width
        shown = "getComputedStyle(document.querySelector('.claims thead')).display"
        assert (page.value(shown) == "none") == (width < 700)
        least = page.value("Math.min(...[...document.images].map(e => e.width / e.naturalWidth))")
        assert least > 0.75
        assert page.complaints == []
        assert all(url.startswith(("file:", "data:")) for url in page.requests)
        page.screenshot(tmp_path / f"report-{width}.png")


def test_planted_faults_are_found(address, tmp_path):
    with chromium(tmp_path) as page:
        page.resize(390, 1000, mobile=True)
        page.send("Page.navigate", url=address)
        page.wait("document.readyState == 'complete' && document.images.length > 8")
        for name, plant in {
            "wide": "const e = document.createElement('div'); e.style.width = '2000px';"
            "e.textContent = 'x'; document.body.append(e)",
            "clipped": "const p = document.querySelector('p'); p.style.whiteSpace = 'nowrap'",
            "overlaps": "document.querySelector('section h2').style.marginBottom = '-400px'",
            "broken": "document.images[0].src = 'data:image/png;base64,AAAA'",
        }.items():
            page.value(f"{{{plant}}}")
            page.wait("[...document.images].every(e => e.complete)")
            assert name in faults(page), name
