"""`sam-theory sharpness | segment`: one network in all numbers, on any device, alike networks."""

from __future__ import annotations

import dataclasses
import json
import tracemalloc

import nets
import numpy as np
import pytest
import runs
from test_deep_command import checkpoint, refused

from sam_theory.cli import main
from sam_theory.deep import checkpoints
from sam_theory.deep.hessian import hessian_product, top_eigenvalue
from sam_theory.deep.network import EVALUATION_BATCH
from sam_theory.deep.runs.run import train
from sam_theory.deep.sharpness import m_sharpness, scaled_last_layer


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder of runs: multilayer perceptrons, and networks with frozen statistics."""
    folder = tmp_path_factory.mktemp("runs")
    frozen = runs.CONVOLUTIONS | {"statistics": "frozen"}
    for name, changes in (
        ("relu", {}), ("softplus", {"activation": "softplus8"}), ("frozen", frozen),
        ("again", frozen | {"seed": 1}), ("moving", runs.CONVOLUTIONS),
    ):  # fmt: skip
        train(runs.small(epochs=1, **changes), folder / name)
    return folder


def test_a_scaled_last_layer_is_scaled_in_every_number(place, tmp_path):
    out = tmp_path / "out.json"
    given = ["--m", "16", "--examples", "64", "--steps", "1", "--hessian", "5"]
    given += ["--last-layer-scale", "2", "--json", str(out)]
    assert main(["sharpness", checkpoint(place, "relu"), *given]) == 0
    run = train(runs.small(epochs=1))
    data = run.experiment.training_images(64)
    images, labels = run.network.images(data.floats()), data.labels
    weights = scaled_last_layer(run.network, run.weights, 2.0)
    start = np.random.default_rng(0).standard_normal(run.network.size).astype(np.float32)
    product = hessian_product(run.network, weights, run.buffers, images, labels)
    values = json.loads(out.read_text())["values"]
    assert values["hessian_top"] == top_eigenvalue(product, start, max_steps=5).value


def test_networks_of_a_gpu_are_measured_on_a_cpu(place, tmp_path, capsys):
    found = checkpoints.read(place / "relu" / "checkpoints" / "last.npz")
    settings = {**found.settings, "train": found.settings["train"] | {"device": "gpu"}}
    moved = tmp_path / "gpu.npz"
    checkpoints.write(moved, dataclasses.replace(found, settings=settings))
    given = ["sharpness", "--m", "8", "--examples", "16", "--steps", "1", "--device", "cpu"]
    shown = []
    for path in (str(moved), checkpoint(place, "relu")):
        assert main([*given, path]) == 0
        shown.append(capsys.readouterr().out.split("\n", 1)[1])
    assert shown[0] == shown[1]
    given = ["segment", str(moved), str(moved), "--device", "cpu", "--distance-only"]
    assert main(given) == 0


def test_a_segment_joins_networks_that_are_alike(place, tmp_path, capsys):
    frozen = checkpoint(place, "frozen")
    for first, second, message in (
        ("relu", "softplus", "its activation is softplus8, that of A relu"),
        ("frozen", "moving", "only one of the two runs froze the statistics"),
        ("moving", "frozen", "only one of the two runs froze the statistics"),
    ):
        given = ["segment", checkpoint(place, first), checkpoint(place, second)]
        assert f"last.npz: {message}" in refused(given, capsys, tmp_path)
    found = checkpoints.read(place / "again" / "checkpoints" / "last.npz")
    name = next(name for name in found.arrays if name.startswith("buffers/"))
    arrays = {**found.arrays, name: found.arrays[name] + 1}
    other = tmp_path / "other.npz"
    checkpoints.write(other, dataclasses.replace(found, arrays=arrays))
    message = "other.npz: its frozen statistics are not those of A"
    assert message in refused(["segment", frozen, str(other)], capsys, tmp_path)


def test_a_fine_tuned_network_has_no_distance_from_the_weights_of_its_seed(place, tmp_path, capsys):
    first = checkpoint(place, "relu")
    train(runs.small(epochs=1, start_from=first), tmp_path / "tuned")
    tuned, out = checkpoint(tmp_path, "tuned"), tmp_path / "out.json"
    for pair, told in (((tuned, first), False), ((first, tuned), True)):
        assert main(["segment", *pair, "--distance-only", "--json", str(out)]) == 0
        assert ("from A's initialisation" in capsys.readouterr().out) is told
        values = json.loads(out.read_text())["values"]
        assert ("from_initialisation" in values) is told and values["distance"] > 0.0


def test_a_segment_of_frozen_statistics_ends_at_its_networks(place, tmp_path):
    out = tmp_path / "out.json"
    given = ["segment", checkpoint(place, "frozen"), checkpoint(place, "again")]
    given += ["--points", "2", "--first", "0", "--last", "1", "--json", str(out)]
    assert main(given) == 0
    rows = json.loads(out.read_text())["table"]
    run = train(runs.small(epochs=1, **runs.CONVOLUTIONS | {"statistics": "frozen"}))
    start = next(row for row in rows if row["s"] == 0.0 and row["data"] == "test")
    assert start["loss"] == pytest.approx(run.last["test_loss"], rel=1e-6)


def test_the_memory_of_a_large_batch_is_that_of_256_images():
    peaks = []
    for m in (EVALUATION_BATCH, 4 * EVALUATION_BATCH):
        network, w, buffers = nets.make("resnet_tiny_gn", 4, 3, (1, 16, 16), precision="float32")
        images, labels = nets.batch(network, m)
        m_sharpness(network, w, buffers, images[:1], labels[:1], m=1, steps=1)
        tracemalloc.start()
        try:
            m_sharpness(network, w, buffers, images, labels, m=m, steps=1)
            peaks.append(tracemalloc.get_traced_memory()[1])
        finally:
            tracemalloc.stop()
    assert peaks[1] < 1.3 * peaks[0]
