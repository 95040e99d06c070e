"""Every number in the metrics, recomputed from logits, gradients and labels by other means."""

from __future__ import annotations

import csv
import math

import numpy as np
import pytest
import runs
from runs import CONVOLUTIONS, plain_loop, sam

from sam_theory import cli
from sam_theory.deep.runs import evaluation
from sam_theory.deep.runs.evaluation import COLUMNS, score
from sam_theory.deep.runs.experiment import evenly_spaced
from sam_theory.deep.runs.folder import as_csv
from sam_theory.deep.runs.run import train


def losses_and_errors(run, weights, buffers, images):
    """Per example, from the logits in float64."""
    network = run.network
    inputs = network.images(images.floats())
    logits = network.evaluate(
        weights, inputs, images.labels, buffers=buffers, micro_batch=None
    )[1].astype(float)  # fmt: skip
    shifted = logits - logits.max(axis=1, keepdims=True)
    losses = np.log(np.exp(shifted).sum(axis=1)) - shifted[np.arange(images.n), images.labels]
    return losses, logits.argmax(axis=1) != images.labels


def recomputed(run):
    """What the last row must be, where the loop itself is not needed for it."""
    settings, splits, network = run.settings, run.experiment.splits, run.network
    found = {"weight_norm": np.linalg.norm(run.weights.astype(float))}
    found["averaged_weight_norm"] = np.linalg.norm(run.averaged.astype(float))
    found["regularizer"] = 0.5 * settings.l2 * found["weight_norm"] ** 2
    for prefix, weights, buffers in (
        ("", run.weights, run.buffers), ("averaged_", run.averaged, run.averaged_buffers)
    ):  # fmt: skip
        for name in ("train", "validation", "test"):
            losses, wrong = losses_and_errors(run, weights, buffers, getattr(splits, name))
            parts = {"": np.ones(len(losses), bool)}
            if name == "train":
                parts |= {"_clean": ~splits.train.noisy, "_noisy": splits.train.noisy}
            for part, mask in parts.items():
                found[f"{prefix}{name}_loss{part}"] = losses[mask].mean()
                found[f"{prefix}{name}_error{part}"] = wrong[mask].mean()
    found["objective"] = found["train_loss"] + found["regularizer"]
    block = evenly_spaced(splits.train, 128).select(np.arange(16))
    images = network.images(block.floats())
    g, there = np.empty_like(run.weights), np.empty_like(run.weights)
    rule = settings.rule().regularizer
    network.gradient(
        run.weights, images, block.labels, g, buffers=run.buffers, batch_statistics=False,
        regularizer=rule,
    )  # fmt: skip
    network.gradient(
        (run.weights + 0.1 * g / np.linalg.norm(g)).astype(np.float32), images, block.labels,
        there, buffers=run.buffers, batch_statistics=False, regularizer=rule,
    )  # fmt: skip
    found["gradient_norm"], found["gradient_norm_perturbed"] = map(np.linalg.norm, (g, there))
    found["gradient_cosine"] = (
        float(g @ there) / found["gradient_norm"] / found["gradient_norm_perturbed"]
    )
    return found


def sharpness(run, rho):
    """Mean over batches of 16 of the rise of the loss after one step along its gradient."""
    sample, network = evenly_spaced(run.experiment.splits.train, 128), run.network
    rises, g = [], np.empty_like(run.weights)
    for k in range(8):
        part = sample.select(np.arange(16 * k, 16 * k + 16))
        network.gradient(
            run.weights, network.images(part.floats()), part.labels, g, buffers=run.buffers,
            batch_statistics=False,
        )  # fmt: skip
        point = (run.weights + rho * g / np.linalg.norm(g)).astype(np.float32)
        before, after = (
            losses_and_errors(run, w, run.buffers, part)[0].mean() for w in (run.weights, point)
        )
        rises.append(max(0.0, after - before))
    return np.mean(rises)


def complaints(run, expected, tol=2e-4):
    return [
        name for name, value in expected.items()
        if not math.isclose(run.last[name], value, rel_tol=tol, abs_tol=1e-6)
    ]  # fmt: skip


def test_the_last_row_recomputed():
    run = train(sam(label_noise=0.4, sharpness=True, **CONVOLUTIONS))
    expected = recomputed(run)
    for name, rho in (("small", 0.01), ("rho", 0.1)):
        expected[f"sharpness_{name}"] = sharpness(run, rho)
    assert complaints(run, expected) == []
    assert expected["sharpness_rho"] > expected["sharpness_small"] > 0
    told = {"epoch": 4.0, "iteration": 32, "skipped": 0, "sam": 1}
    assert {name: run.last[name] for name in told} == told
    assert run.last["learning_rate"] == pytest.approx(0.001)
    left = set(COLUMNS) - set(expected) - set(told)
    assert left == {"learning_rate", "batch_loss", "batch_objective", "batch_error"}
    # A number that is wrong by a thousandth is noticed.
    assert complaints(run, expected | {"test_loss": 1.001 * expected["test_loss"]}) == ["test_loss"]


def test_minibatches_between_evaluations():
    seen = []
    settings = sam(evaluate_every=2)
    plain_loop(settings, lambda k, rate, report: seen.append(report))
    run = train(settings)
    assert runs.column(run, "iteration").tolist() == [0, 16, 32]
    for row, part in zip(run.rows[1:], (seen[:16], seen[16:]), strict=True):
        row = dict(zip(COLUMNS, row, strict=True))
        assert row["batch_loss"] == pytest.approx(np.mean([r.mean("loss") for r in part]))
        objective = np.mean([r.mean("objective_perturbed") for r in part])
        assert row["batch_objective"] == pytest.approx(objective)
        errors = [sum(block.errors for block in r.blocks) / 16 for r in part]
        assert row["batch_error"] == pytest.approx(np.mean(errors))
    assert np.isnan(run.rows[0, COLUMNS.index("batch_loss")])


def test_learning_rates_of_the_rows():
    run = train(sam(schedule="piecewise"))
    rates = runs.column(run, "learning_rate")
    np.testing.assert_allclose(rates, [0.1, 0.1, 0.01, 0.001, 0.001])


def test_label_noise_is_accounted_for():
    run = train(sam(label_noise=0.6))
    noisy = run.experiment.splits.train.noisy
    assert noisy.sum() == round(0.6 * 130) == 78
    last = run.last
    for what in ("loss", "error"):
        mixed = 0.4 * last[f"train_{what}_clean"] + 0.6 * last[f"train_{what}_noisy"]
        assert mixed == pytest.approx(last[f"train_{what}"])
    assert not run.experiment.splits.validation.noisy.any()
    clean = train(sam())
    assert np.isnan(clean.last["train_error_noisy"])
    assert clean.last["train_error_clean"] == clean.last["train_error"]


def test_the_best_networks_are_the_best_rows():
    run = train(sam(epochs=6))
    for found, prefix in ((run.best, ""), (run.averaged_best, "averaged_")):
        errors = runs.column(run, f"{prefix}validation_error")
        first = int(np.argmin(errors))
        assert (found.error, found.iteration) == (errors[first], 8 * first)
        validation = run.experiment.splits.validation
        assert score(run.network, found.weights, found.buffers, validation).error == found.error


def test_a_sample_of_the_training_set_is_spread_over_it(monkeypatch):
    run = train(sam(train_examples=13, epochs=1))
    train_set = run.experiment.splits.train
    sample = evenly_spaced(train_set, 13)
    assert np.array_equal(sample.pixels, train_set.pixels[np.arange(13) * 10])
    assert run.last["train_loss"] == pytest.approx(
        losses_and_errors(run, run.weights, run.buffers, sample)[0].mean(), rel=1e-5
    )
    assert evenly_spaced(train_set, 1000) is train_set
    # A set larger than a chunk is evaluated in parts, to the same numbers.
    whole = score(run.network, run.weights, run.buffers, run.experiment.splits.test)
    monkeypatch.setattr(evaluation, "CHUNK", 50)
    parts = score(run.network, run.weights, run.buffers, run.experiment.splits.test)
    assert parts.error == whole.error and parts.loss == pytest.approx(whole.loss, rel=1e-6)


def test_files_hold_the_rows_exactly(tmp_path):
    run = train(sam(), tmp_path)
    with (tmp_path / "metrics.csv").open(newline="") as stream:
        header, *lines = csv.reader(stream)
    assert tuple(header) == COLUMNS and len(lines) == 5
    read = np.array([[float(cell or "nan") for cell in line] for line in lines])
    assert np.array_equal(read, run.rows, equal_nan=True)
    assert lines[1][header.index("iteration")] == "8" and lines[1][header.index("epoch")] == "1.0"
    assert as_csv(run.rows) == (tmp_path / "metrics.csv").read_text()
    assert list(run.table.columns) == header and run.table["test_error"].iloc[-1] == read[-1][19]
    with (tmp_path / "seconds.csv").open(newline="") as stream:
        header, *lines = csv.reader(stream)
    assert header == ["iteration", "seconds", "seconds_evaluating"] and len(lines) == 5
    seconds = [float(line[1]) for line in lines]
    assert seconds == sorted(seconds)
    assert repr(run).startswith("TrainingRun(mlp on digits: finished at iteration 32")


def test_the_command_is_listed():
    assert {"train", "sharpness", "segment"} <= {one.name for one in cli.COMMANDS}
