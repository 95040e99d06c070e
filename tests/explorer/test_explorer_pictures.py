"""The pictures show the numbers, in the colours of all figures, with nothing over the data."""

import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest

import sam_theory as st
from figures.style import LOOKS
from sam_theory.explorer import model, page, pictures, sources
from sam_theory.explorer.model import GD, Answer, Choice
from sam_theory.explorer.sources import File, Problem

SVG = "{http://www.w3.org/2000/svg}"
CHOICES = (GD, Choice("1-sam"), Choice("n-sam"))


@pytest.fixture(scope="module")
def data():
    return st.sparse_regression()


@pytest.fixture(scope="module")
def found(data):
    return model.answers(Problem(data), CHOICES, alpha=0.1, rho=0.1)


def corners(element):
    if element.tag == SVG + "circle":
        x, y, r = (float(element.get(k)) for k in ("cx", "cy", "r"))
        return [(x - r, y - r), (x + r, y + r)]
    return [tuple(map(float, pair.split(","))) for pair in element.get("points").split()]


def markers(svg, legend=False):
    """Colours and centres of markers: those of the data, which carry a hint, or the legend's."""
    out = []
    for element in ET.fromstring(svg).iter():
        if element.tag in (SVG + "circle", SVG + "polygon"):
            hinted = element.find(SVG + "title") is not None
            if hinted != legend:
                points = np.array(corners(element))
                out.append((element.get("stroke"), *(points.min(0) + points.max(0)) / 2.0))
    return out


def test_colours_and_markers_are_those_of_all_figures():
    assert {kind: LOOKS[kind].color for kind in pictures.COLORS} == pictures.COLORS
    shapes = {"square": "s", "circle": "o", "triangle": "^", "diamond": "D"}
    assert {k: shapes[v] for k, v in pictures._SHAPES.items()} == {
        kind: LOOKS[kind].marker for kind in pictures.COLORS
    }


def drawings(data, found):
    return [
        pictures.coefficients(data, found),
        pictures.scales(data, found, 0.1),
        pictures.against(data, found),
    ]


def test_markers_lie_where_the_numbers_are(data, found):
    for svg, vectors in zip(
        drawings(data, found),
        (
            [one.limit.beta for one in found],
            [np.log10(one.limit.alpha_effective) for one in found],
            [one.limit.beta for one in found],
        ),
        strict=True,
    ):
        heights = np.array([y for _, _, y in markers(svg)])
        values = np.concatenate(vectors)
        assert len(heights) == len(values) == 90
        fit = np.polyfit(values, heights, 1)
        # One decimal of the view box, and the triangle's centre.
        assert fit[0] < 0 and np.abs(np.polyval(fit, values) - heights).max() < 0.3


def test_against_has_beta_star_across(data, found):
    across = np.array([x for _, x, _ in markers(pictures.against(data, found))])[:30]
    fit = np.polyfit(data.beta_star, across, 1)
    assert fit[0] > 0 and np.abs(np.polyval(fit, data.beta_star) - across).max() < 0.2


@pytest.mark.parametrize("which", range(3))
def test_nothing_overlaps_and_nothing_is_clipped(data, found, which):
    root = ET.fromstring(drawings(data, found)[which])
    _, _, width, height = map(float, root.get("viewBox").split())
    boxes = []
    for text in root.iter(SVG + "text"):
        wide = 6.9 * len(text.text)
        x, y = float(text.get("x")), float(text.get("y"))
        left = x - {"start": 0.0, "middle": 0.5, "end": 1.0}[text.get("text-anchor")] * wide
        box = (left, y - 10.0, left + wide, y + 2.0)
        if text.get("transform"):
            box = (x - 10.0, y - wide / 2.0, x + 2.0, y + wide / 2.0)
        boxes.append(box)
    for i, a in enumerate(boxes):
        assert a[0] >= 0.0 and a[1] >= 0.0 and a[2] <= width and a[3] <= height
        for b in boxes[:i]:
            assert a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1], (a, b)
    below = max(y for _, _, y in markers(drawings(data, found)[which], legend=True)) + 6.0
    assert min(y for _, _, y in markers(drawings(data, found)[which])) > below


def test_axes_are_named_and_numbered(data, found):
    first, second, third = drawings(data, found)
    assert "coefficient β" in first and ">coordinate<" in first and ">β*<" in first
    assert "α_eff" in second and ">0.1<" in second
    assert "β* that made the labels" in third
    for svg in (first, second, third):
        assert ET.fromstring(svg).get("aria-label")


def test_without_beta_star_against_gd(found):
    data = st.Regression(st.sparse_regression().X, st.sparse_regression().y)
    svg = pictures.against(data, found)
    assert "coefficient of GD" in svg and len(markers(svg)) == 60
    assert ">β*<" not in pictures.coefficients(data, found)
    assert pictures.against(data, found[:1]) == "" and pictures.against(data, found[1:]) == ""


def test_a_second_of_a_kind_is_hollow(data):
    choices = (Choice("m-sam", 5), Choice("m-sam", 2))
    both = model.answers(Problem(data), choices, alpha=0.1, rho=0.1)
    svg = pictures.coefficients(data, both)
    assert svg.count('fill="#FFFFFF"') == 31 and "m-SAM, m = 2" in svg
    assert not pictures.hollow(both[0], both) and pictures.hollow(both[1], both)


def test_long_legends_wrap():
    items = [(None, "m-SAM, m = 10")] * 5
    places = pictures._legend_places(items)
    assert len({y for _, y in places}) > 1
    assert all(x + 14.0 + 6.6 * 13 <= 420.0 for x, _ in places)


@pytest.mark.parametrize("factor", [1e-12, 1.0, 1e9])
def test_any_scale_has_ticks(factor):
    axis = pictures._spanning([-0.3 * factor, 1.1 * factor], 200.0, 20.0)
    ticks = axis.ticks()
    assert 3 <= len(ticks) <= 8 and all(axis.low <= t <= axis.high for t in ticks)


@pytest.mark.parametrize("values", [(0.1, 0.1), (1e-300, 1.0), (0.02, 0.1), (0.0, 1e-2)])
def test_logarithmic_ticks(values):
    axis = pictures._decades(values, 200.0, 20.0)
    ticks = axis.ticks()
    assert 2 <= len(ticks) <= 9 and all(axis.low <= t <= axis.high for t in ticks)
    assert all(20.0 <= axis.place(v) <= 200.0 for v in values)


def test_many_columns_show_the_largest():
    problem = sources.generated(20, 100, nonzeros=3, noise=0.0, correlation=0.0, seed=0)
    found = model.answers(problem, (GD,), alpha=0.1, rho=0.1)
    svg = pictures.coefficients(problem.data, found)
    assert "the 40 largest of 100" in svg and len(markers(svg)) == 40


def test_all_zero_labels():
    data = st.Regression(np.eye(3), np.zeros(3))
    found = model.answers(Problem(data), CHOICES, alpha=0.1, rho=0.1)
    for svg in drawings(data, found):
        ET.fromstring(svg)
        assert "nan" not in svg and "inf" not in svg


def test_names_from_a_file_cannot_break_the_page():
    evil = "<script>alert(1)</script>"
    contents = f'"{evil}",b,y\n1,2,3\n2,1,4\n'.encode()
    problem = sources.uploaded(File(f"{evil}.csv", contents), "y")
    found = model.answers(problem, CHOICES, alpha=0.1, rho=0.1)
    text = page.results(problem, found, 0.1)
    assert "<script" not in text and "&lt;script&gt;" in text
    refused = sources.uploaded(File(evil, b"a,y\n1,x\n"), "y")
    assert "<script" not in page.results(refused, (), 0.1)


def test_the_page_has_every_number_and_its_side(data, found):
    text = page.results(Problem(data), found, 0.1)
    ET.fromstring(f"<div>{text}</div>".replace("<br>", ""))
    assert f"{found[1].limit.loss(data.test):.4g}" in text
    assert f"≤ {found[1].limit.certificate.error_bound:.1e}" in text
    assert text.count("upper bound on") == 4 and "converged" in text
    assert re.findall(r'data-row="([^"]*)"', text)[:3] == ["test loss", "distance to β*", "l1 norm"]


def test_the_page_without_numbers(data):
    pending = [Answer(GD, "pending", sentence="the flow is still being followed")]
    text = page.results(Problem(data), pending, 0.1)
    assert "GD: the flow is still being followed." in text and "<svg" not in text
    assert 'role="status"' in page.results(Problem(None, "no file"), (), 0.1)
