"""Order and augmentation are functions of (seed, epoch) alone, whoever asks, in whatever order."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from test_data_formats import refused
from test_data_images import made

from sam_theory.deep.data import Augmentation, TrainingBatches, streams


def served(data=None, seed=3, **named):
    data = made(103) if data is None else data
    return TrainingBatches(data, 20, seed=seed, augmentation=Augmentation(padding=2), **named)


def same(first, second):
    return all(
        np.array_equal(getattr(first, part), getattr(second, part))
        for part in ("images", "labels", "indices")
    )


def order_complaints(make):
    """Batches that depend on what was asked for before; `make` returns a fresh server."""
    places = [(epoch, k) for epoch in (0, 1, 2) for k in range(5)]
    forwards = make()
    expected = {place: forwards.batch(*place) for place in places}
    backwards, found = make(), []
    for place in reversed(places):
        if not same(backwards.batch(*place), expected[place]):
            found.append(f"batch {place[1]} of epoch {place[0]}")
    return found


def test_batches_do_not_depend_on_the_order_of_calls():
    assert order_complaints(served) == []


def test_planted_augmentation_that_depends_on_the_order_of_calls():
    class Planted(TrainingBatches):
        generator = np.random.default_rng(0)

        def batch(self, epoch, iteration):
            batch = super().batch(epoch, iteration)
            batch.images[:] = np.roll(batch.images, self.generator.integers(-2, 3), axis=3)
            return batch

    assert order_complaints(lambda: Planted(made(103), 20, seed=3))


def test_threads_give_the_same_batches():
    places = [(epoch, k) for epoch in (0, 1) for k in range(5)]
    expected = [served().batch(*place) for place in places]
    with ThreadPoolExecutor(4) as pool:
        shared = served()
        for _ in range(20):
            found = pool.map(lambda place: shared.batch(*place), places)
            assert all(map(same, found, expected))


def test_an_epoch_goes_through_the_data_once_and_drops_the_rest():
    batches = served()
    assert batches.per_epoch == 5 and batches.order(0).shape == (5, 20)
    assert len(set(batches.order(0).ravel())) == 100
    assert not np.array_equal(batches.order(0), batches.order(1))
    assert not np.array_equal(batches.order(0), served(seed=4).order(0))
    listed = list(batches.epoch(1, start=3))
    assert len(listed) == 2 and same(listed[0], batches.batch(1, 3))


def test_labels_and_images_belong_together():
    data = made(103)
    plain = TrainingBatches(data, 20, seed=0)
    batch = plain.batch(4, 2)
    assert np.array_equal(batch.labels, data.labels[batch.indices])
    assert np.array_equal(batch.images, data.floats(batch.indices))
    double = TrainingBatches(data, 20, seed=0, dtype=np.float64).batch(4, 2)
    assert double.images.dtype == np.float64 and np.array_equal(double.indices, batch.indices)


def cropped_twin(image, top, left, flip, padding):
    """A crop written as loops."""
    channels, height, width = image.shape
    out = np.zeros_like(image)
    for i in range(height):
        for j in range(width):
            source = (top + i - padding, left + (width - 1 - j if flip else j) - padding)
            if 0 <= source[0] < height and 0 <= source[1] < width:
                out[:, i, j] = image[:, source[0], source[1]]
    return out


@pytest.mark.parametrize("padding", [0, 1, 4])
@pytest.mark.parametrize("flip", [False, True])
def test_augmentation_is_the_loop(padding, flip):
    data = made(40)
    rule = Augmentation(padding=padding, flip=flip)
    draws = rule.draw(40, seed=1, epoch=2)
    indices = np.array([5, 39, 0, 5])
    found = rule.apply(data.pixels, draws, indices)
    for image, i in zip(found, indices, strict=True):
        place = draws.top[i], draws.left[i], draws.flip[i], padding
        assert np.array_equal(image, cropped_twin(data.pixels[i], *place))
    assert found.dtype == np.uint8 and (flip or not draws.flip.any())


def test_draws_cover_all_corners_evenly():
    draws = Augmentation(padding=4).draw(81_000, seed=0, epoch=0)
    counts = np.bincount(9 * draws.top + draws.left, minlength=81)
    # Chi squared with 80 degrees of freedom: 124.8 is its 99.9 % point.
    assert np.sum((counts - 1000.0) ** 2 / 1000) < 124.8
    assert abs(draws.flip.mean() - 0.5) < 4 * 0.5 / np.sqrt(81_000)
    assert abs(np.corrcoef(draws.flip, draws.top)[0, 1]) < 4 / np.sqrt(81_000)
    other = Augmentation(padding=4).draw(81_000, seed=0, epoch=1)
    assert abs((draws.top == other.top).mean() - 1 / 9) < 4 * 0.32 / np.sqrt(81_000)


def test_the_epochs_of_an_image_do_not_depend_on_the_batch_size():
    data = made(120)
    rule = Augmentation(padding=3)
    images = {}
    for size in (10, 40):
        batches = TrainingBatches(data, size, seed=0, augmentation=rule)
        for batch in batches.epoch(5):
            for i, image in zip(batch.indices, batch.images, strict=True):
                assert np.array_equal(images.setdefault(int(i), image), image)
    assert len(images) == 120


def test_streams_are_pinned():
    """The numbers of a run must not change between versions: these were recorded once."""
    raw = streams.words(3, seed=1, purpose="batch order", keys=(2,))
    assert [int(word) for word in raw] == PINNED
    assert streams.uniforms(3, seed=1, purpose="batch order", keys=(2,)).tolist() == [
        (word >> 11) * 2.0**-53 for word in PINNED
    ]


PINNED = [11463529531900323655, 14737814953565656389, 17282575803446140718]


def test_streams_are_apart():
    given = [
        {"seed": 1, "purpose": "batch order", "keys": (2,)},
        {"seed": 1, "purpose": "augmentation", "keys": (2,)},
        {"seed": 2, "purpose": "batch order", "keys": (1,)},
        {"seed": 1, "purpose": "batch order", "keys": (2, 0)},
        {"seed": 1 + (2 << 32), "purpose": "batch order"},
        {"seed": 2**128 - 1, "purpose": "batch order", "keys": (2,)},
    ]
    assert len({tuple(streams.words(4, **one).tolist()) for one in given}) == len(given)
    assert sorted(streams.permutation(50, **given[0])) == list(range(50))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"seed": -1}, "seed must be between 0 and"),
        ({"seed": 1.5}, "seed must be an integer"),
        ({"seed": 2**128}, "seed must be between"),
        ({"keys": (2**32,)}, "a key of a stream must be between 0 and 4294967295"),
        ({"purpose": "tea"}, "purpose 'tea' is unknown; known are batch order,"),
    ],
)
def test_bad_streams(given, message):
    refused(message, streams.words, 3, **({"seed": 0, "purpose": "batch order"} | given))


def test_bad_batches():
    message = r"batch_size 104 is larger than the training set \(103 examples\)"
    refused(message, TrainingBatches, made(103), 104, seed=0)
    refused("batch_size must be >= 1", TrainingBatches, made(103), 0, seed=0)
    refused("iteration must be between 0 and 4, not 5", served().batch, 0, 5)
    refused("padding must be >= 0", Augmentation, padding=-1)
    draws = Augmentation().draw(5, seed=0, epoch=0)
    refused("draws for 5 images", Augmentation().apply, made(6).pixels, draws, np.arange(2))
