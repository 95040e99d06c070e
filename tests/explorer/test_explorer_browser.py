"""The explorer in headless Chromium: it loads, a slider moves the numbers, nothing complains."""

import json
import os
import signal
from urllib.parse import urlsplit

import pytest
from browser import chromium, program
from test_explorer_command import running
from test_explorer_model import csv_of

import sam_theory as st

pytest.importorskip("marimo", reason="the extra explore is not installed")
pytest.importorskip("websockets", reason="websockets is not installed")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(program() is None, reason="Chromium is not installed"),
]
DRAWN = "document.querySelectorAll('.st-pictures svg').length"
ELEMENT = "[...document.querySelectorAll('marimo-{0}')].find(e => e.dataset.label.includes({1}))"
FOCUS = ELEMENT + ".shadowRoot.querySelector('[role=slider]').focus()"
CHOOSE = (
    "(() => {{ const s = " + ELEMENT + ".shadowRoot.querySelector('select'); "
    "s.value = [...s.options].find(o => o.textContent == {2}).value; "
    "s.dispatchEvent(new Event('change', {{bubbles: true}})); }})()"
)
PREPARING = (
    "[...document.querySelectorAll('marimo-progress')]"
    ".some(e => e.dataset.title.includes('Preparing'))"
)
PICTURES = (
    "[...document.querySelectorAll('.st-pictures svg')].map(e => e.getBoundingClientRect().width)"
)
UPLOAD = "document.querySelector('marimo-file').shadowRoot.querySelector('input[type=file]')"
TEXT = "(document.body ?? {innerText: ''}).innerText"
SETTLED = f"!{TEXT}.includes('still being followed')"


def row(name):
    return f"[...document.querySelectorAll('tr[data-row=\"{name}\"] td')].map(e => e.textContent)"


def move(page, label, key, times=1):
    """Press a key on a slider."""
    page.value(FOCUS.format("slider", json.dumps(label)))
    for _ in range(times):
        page.press(key)


def choose(page, label, option):
    page.value(CHOOSE.format("dropdown", json.dumps(label), json.dumps(option)))


def upload(page, path):
    found = page.send("Runtime.evaluate", expression=UPLOAD)["result"]["objectId"]
    page.send("DOM.setFileInputFiles", files=[str(path)], objectId=found)


def wait_for_losses(page, alpha, **settings):
    """Wait until the test losses are those of the library."""
    data = st.sparse_regression(**settings)
    algorithms = (st.gd(), st.one_sam(0.1), st.n_sam(0.1))
    limits = [st.implicit_bias(data, alpha=alpha, algorithm=one) for one in algorithms]
    losses = json.dumps([f"{limit.loss(data.test):.4g}" for limit in limits])
    page.wait(f"JSON.stringify({row('test loss')}) == JSON.stringify({losses}) && {SETTLED}")


def assert_fits(page, width, folder):
    """Nothing is wider than the screen, and the text of the pictures stays readable."""
    page.screenshot(folder / f"explorer-{width}.png")
    assert page.value("document.documentElement.scrollWidth") <= width
    boxes = page.value(
        "[...document.querySelectorAll('.st-pictures svg, table.st-numbers, .st-grid > div')]"
        ".map(e => e.getBoundingClientRect()).map(b => [b.left, b.right, b.width])"
    )
    assert len(boxes) > 10
    assert all(left >= 0.0 and right <= width + 0.5 for left, right, _ in boxes)
    widths = page.value(PICTURES)
    assert len(widths) == 3 and all(12.0 * wide / 420.0 >= 9.0 for wide in widths)


def assert_quiet(page, address):
    page.value("1")
    assert page.complaints == []
    hosts = {
        urlsplit(url).netloc for url in page.requests if not url.startswith(("data:", "blob:"))
    }
    assert hosts == {urlsplit(address).netloc}


def test_a_slider_moves_the_numbers(tmp_path):
    with running() as (process, address), chromium(tmp_path) as page:
        page.resize(1280, 1800, mobile=False)
        page.send("Page.navigate", url=address)
        page.wait(f"{DRAWN} == 3", 120.0)
        wait_for_losses(page, 0.1)
        move(page, "initial scale", "ArrowRight")
        wait_for_losses(page, 0.125)
        move(page, "nonzeros", "ArrowRight")
        wait_for_losses(page, 0.125, nonzeros=4)
        assert_fits(page, 1280, tmp_path)
        page.resize(390, 4000, mobile=True)
        page.wait("document.querySelector('.st-pictures svg').getBoundingClientRect().width < 390")
        assert_fits(page, 390, tmp_path)
        page.resize(1280, 1800, mobile=False)
        choose(page, "beside it", "m-SAM")
        page.wait(f"{TEXT}.includes('m-SAM, m = 2')")
        move(page, "m beside it", "ArrowRight")
        page.wait(f"{TEXT}.includes('m-SAM, m = 4') && {SETTLED}")
        assert_quiet(page, address)
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=60) == 0
        assert process.stderr.read() == ""


def test_what_has_no_answer_is_said_in_the_page(tmp_path):
    data = st.sparse_regression(n=12, d=5, nonzeros=2)
    good, bad = tmp_path / "good.csv", tmp_path / "bad.csv"
    good.write_bytes(csv_of(data))
    bad.write_text("a,b,y\n1,2,3\n2,oops,4\n")
    flags = ["--data", str(good), "--target", "y"]
    with running(*flags) as (_, address), chromium(tmp_path) as page:
        page.resize(1280, 1800, mobile=False)
        page.send("Page.navigate", url=address)
        page.wait(f"{DRAWN} == 3", 120.0)
        limit = st.implicit_bias(data, alpha=0.1, algorithm=st.gd())
        assert page.value(row("l1 norm"))[0] == f"{limit.l1_norm:.4g}"
        upload(page, bad)
        page.wait(f"{TEXT}.includes('bad.csv: choose the column of labels')")
        choose(page, "labels are in", "y")
        page.wait(f"{TEXT}.includes(\"bad.csv: line 3, column 'b': 'oops' is not a number\")")
        assert page.value(DRAWN) == 0
        choose(page, "data", "generated")
        page.wait(f"{DRAWN} == 3")
        choose(page, "rows x columns", "40 x 20")
        page.wait(f"{TEXT}.includes('n = 40 rows')")
        move(page, "noise", "ArrowRight", 4)
        page.wait(f"{TEXT}.includes('1-SAM: no limit to show: no coefficients interpolate')")
        page.wait(f"{row('test loss')}[1] == '–'")
        page.resize(390, 4000, mobile=True)
        page.wait("document.querySelector('.st-pictures svg').getBoundingClientRect().width < 390")
        assert_fits(page, 390, tmp_path)
        assert not page.value(f"{TEXT}.includes('Traceback') || {TEXT}.includes('Error')")
        assert_quiet(page, address)


def test_the_page_says_that_it_prepares(tmp_path):
    cold = dict(os.environ, NUMBA_CACHE_DIR=str(tmp_path / "kernels"))
    with running(environment=cold) as (process, address), chromium(tmp_path) as page:
        page.send("Page.navigate", url=address)
        page.wait(PREPARING, 120.0)
        page.wait(f"{DRAWN} == 3", 400.0)
        page.wait(f"!{PREPARING}")
        assert_quiet(page, address)
    with running(environment=cold) as (process, _):
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=60) == 0
