"""Arguments of another kind than documented: one line that names them, never another error."""

import warnings

import numpy as np
import pandas as pd
import pytest

import sam_theory as st
from sam_theory import convergence as rates
from sam_theory.cli import main
from sam_theory.diagonal.integrator.coupled import Linearization
from sam_theory.diagonal.integrator.field import FlowField

X = np.random.default_rng(0).standard_normal((4, 6))
DATA = st.Regression(X, X[:, 0])
STRANGE = {
    "None": None,
    "list": [],
    "number": 1.5,
    "complex": 1j,
    "bytes": b"1",
    "object": object(),
    "array": np.ones(3),
    "no dimension": np.array(0.0),
    "table": pd.DataFrame({"a": [1.0, 2.0]}),
    "NA": pd.NA,
    "ragged": [[1], [1, 2]],
    "long": 10**400,
}


def descend(**changes):
    settings = {"alpha": 0.1, "algorithm": st.gd(), "step_size": 0.1, "steps": 2}
    return st.descend(DATA, **(settings | changes))


CALLS = {
    "path": (lambda bad: st.Regression.from_csv(bad, "y"), ()),
    "path of any kind": (st.Regression.from_file, ()),
    "path of X": (lambda bad: st.Regression.from_npy(bad, "y.npy"), ()),
    "source": (lambda bad: st.Regression(X, X[:, 0], source=bad), ("None",)),
    "target": (lambda bad: st.Regression(X, X[:, 0], target=bad), ("None",)),
    "center": (lambda bad: DATA.standardize(center=bad), ()),
    "center_target": (lambda bad: DATA.standardize(center_target=bad), ()),
    "rho": (lambda bad: st.from_reference("gd", bad), ("None", "no dimension")),
    "record": (lambda bad: descend(record=bad), ("None",)),
    "tol": (lambda bad: descend(tol=bad), ("number", "no dimension")),
    "weight_decay": (lambda bad: descend(weight_decay=bad), ("number", "no dimension")),
    "phases": (lambda bad: st.descend(DATA, alpha=0.1, phases=bad), ()),
    "settings": (lambda bad: st.descend_batch(DATA, bad, steps=2), ()),
    "settings of flows": (lambda bad: st.implicit_bias_batch(DATA, bad), ()),
}
FITS = {("phases", "None"): "algorithm is required"}


@pytest.mark.parametrize("kind", STRANGE)
@pytest.mark.parametrize("name", CALLS)
def test_arguments_of_another_kind_are_named(name, kind):
    call, usual = CALLS[name]
    if kind in usual:
        call(STRANGE[kind])
        return
    with pytest.raises(st.InputError, match=FITS.get((name, kind), name.split()[0])) as caught:
        call(STRANGE[kind])
    assert "\n" not in str(caught.value)


def test_a_path_with_a_nul_is_refused():
    with pytest.raises(st.InputError, match="path must not hold a NUL character"):
        st.Regression.from_csv("a\0.csv", "y")


@pytest.mark.parametrize("horizons", [[10**25], [10, 10**16]])
def test_horizons_beyond_64_bits_are_refused(horizons, capsys):
    with pytest.raises(st.InputError, match="horizons must be at most 1000000000000000"):
        rates.verify("T2", "logistic", horizons=horizons)
    with pytest.raises(st.InputError, match="horizons must be at most"):
        rates.simulate(rates.problem("logistic"), rates.Schedule([0.1], [0.0]), horizons=horizons)
    text = ",".join(map(str, horizons))
    assert main(["rates", "--theorem", "T2", "--problem", "logistic", "--horizons", text]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_a_directory_is_no_missing_file(tmp_path, capsys):
    (tmp_path / "mine.py").mkdir()
    assert main(["rates", "--file", str(tmp_path / "mine.py")]) == 2
    assert capsys.readouterr().err.endswith("mine.py: is a directory, not a file\n")


def test_a_measure_that_overflows_is_named(tmp_path, capsys):
    file = tmp_path / "large.csv"
    file.write_text("a,y\n1e90,1e90\n2,1\n3,1\n")
    command = ["relu", "--data", str(file), "--target", "y", "--raw", "--seeds", "2"]
    assert main([*command, "--steps", "200", "--width", "5"]) == 2
    error = capsys.readouterr().err
    assert "is not finite: rescale the data" in error and " values " not in error


def test_a_folder_for_images_that_come_from_a_package_is_refused(tmp_path, capsys):
    command = ["train", "--output", str(tmp_path / "run"), "--data-dir", str(tmp_path)]
    assert main([*command, "--dataset", "digits", "--epochs", "1", "--model-width", "2"]) == 2
    assert "digits comes from a package: data_dir does not apply" in capsys.readouterr().err


ZERO = {
    "no labels": (X, np.zeros(4)),
    "nothing": (np.zeros((3, 4)), np.zeros(3)),
    "no features": (np.zeros((3, 4)), np.ones(3)),
    "a row of zeros": (np.vstack([X, np.zeros(6)]), np.append(X[:, 0], 0.0)),
    "one number": ([[2.0]], [3.0]),
    "one column": (np.arange(1.0, 6.0)[:, None], np.ones(5)),
}


@pytest.mark.parametrize("m", [None, 1])
@pytest.mark.parametrize("name", ZERO)
def test_gradients_of_length_zero_do_not_warn(name, m):
    """Normalised perturbations divide by that length; the status says what came of it."""
    data = st.Regression(*ZERO[name])
    rule = st.Algorithm(rho=0.1, m=m, normalized=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        limit = st.implicit_bias(data, alpha=0.1, algorithm=rule)
        path = st.flow(data, alpha=0.1, algorithm=rule, times=[0.0, 1.0])
    assert np.all(np.isfinite(limit.beta)) and limit.status != "no_interpolation"
    assert np.all(np.isfinite(path.beta)) or path.status in ("singular", "max_steps")


def test_a_singular_step_does_not_warn():
    field = FlowField(X, X[:, 0].copy(), 4, 0.1, True, np.full(6, np.log(0.1)), False)
    lin = Linearization(field, np.zeros(field.size))
    lin.core = np.eye(lin.inner_size)
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("error")
        factors = np.array([1.0 + 0.0j])
        found = lin.solve(factors, lin.factorize(factors), np.ones((1, field.size), complex))
    assert not np.all(np.isfinite(found))
