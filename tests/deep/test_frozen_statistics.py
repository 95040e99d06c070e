"""Networks trained with frozen statistics of batch normalisation are evaluated with them."""

from __future__ import annotations

import nets
import numpy as np
import pytest
import runs

from sam_theory.deep.runs.evaluation import COLUMNS
from sam_theory.deep.runs.run import train
from sam_theory.deep.segment import distance, loss_along_segment
from sam_theory.errors import InputError

FROZEN = runs.CONVOLUTIONS | {"statistics": "frozen"}


def test_averaged_weights_keep_frozen_statistics():
    # With tau = 0 the averaged weights are the weights, so that all columns must be the same.
    run = train(runs.small(average=0.0, epochs=2, **FROZEN))
    assert np.array_equal(run.averaged_buffers, run.buffers)
    for name in COLUMNS:
        if name.startswith("averaged_"):
            plain = runs.column(run, name.removeprefix("averaged_"))
            np.testing.assert_array_equal(runs.column(run, name), plain, name)
    moved = train(runs.small(average=0.0, epochs=2, **FROZEN | {"statistics": "at_weights"}))
    assert not np.array_equal(moved.averaged_buffers, moved.buffers)


def test_a_segment_with_given_statistics_is_evaluated_with_them():
    network, first, buffers = nets.make("resnet_tiny", 2, 3, (1, 8, 8))
    second = first + 0.01
    images, labels = nets.batch(network, 6)
    found = loss_along_segment(
        network, first, second, {"a": (images, labels)}, positions=[0.0, 1.0], buffers=buffers
    )
    wanted = [network.evaluate(w, images, labels, buffers=buffers)[2].loss for w in (first, second)]
    assert found.loss["a"].tolist() == wanted


def test_a_segment_refuses_what_does_not_fit():
    network, w, _ = nets.make("mlp", 2, 3, (1, 4, 4))
    images, labels = nets.batch(network, 2)
    with pytest.raises(InputError, match="data set 'b' of the segment has no images"):
        loss_along_segment(network, w, w, {"b": (images[:0], labels[:0])})
    for call in (
        lambda: loss_along_segment(network, w, w[:5], {"a": (images, labels)}),
        lambda: distance(network, w[:5], w),
    ):
        with pytest.raises(InputError, match=r"parameters have shape \(5,\), the network takes"):
            call()
