"""Checkpoints come back bit for bit, or are refused by name and the previous one is used."""

import itertools
import json
import random
import zipfile

import numpy as np
import pytest

from sam_theory import InputError
from sam_theory.deep import checkpoints
from sam_theory.deep.checkpoints import Checkpoint, CheckpointFolder

SETTINGS = {"model": {"name": "resnet_tiny_gn", "width": 16}, "rho": 0.1, "classes": [3, 5]}


def arrays(seed=0):
    rng = np.random.default_rng(seed)
    odd = np.array([0.0, -0.0, np.nan, np.inf, -np.inf, 5e-324])
    odd.view(np.uint64)[2] = 0x7FF8_0000_DEAD_BEEF
    return {
        "parameters": rng.standard_normal(1000).astype(np.float32),
        "stage.1/conv.weight": rng.standard_normal((3, 2, 3, 3)),
        "odd": odd,
        "scalar": np.array(3.5),
        "none": np.zeros((0, 4), dtype=np.int8),
        "turned": np.asfortranarray(rng.standard_normal((5, 7))),
        "every.other": rng.standard_normal(20)[::2],
        "big.endian": rng.standard_normal(3).astype(">f4"),
        "flags": rng.random(9) > 0.5,
        "complex": rng.standard_normal(2) + 1j,
        "counts": rng.integers(-(2**62), 2**62, 4),
    }


def made(iteration=10, seed=0, **named):
    given = {"settings": SETTINGS, "seed": 7, "position": {"epoch": 2, "iteration": iteration}}
    return Checkpoint(arrays(seed), **(given | {"state": {"best": 0.25, "none": None}} | named))


def differences(first, second):
    """Arrays that are not the same bits; empty if all are."""
    found = sorted(set(first) ^ set(second))
    for name in set(first) & set(second):
        a, b = first[name], second[name]
        if (a.dtype, a.shape, a.tobytes()) != (b.dtype, b.shape, b.tobytes()):
            found.append(name)
    return found


@pytest.fixture
def folder(tmp_path):
    place = CheckpointFolder(str(tmp_path / "run"))
    place.prepare()
    return place


def refused(message, call, *given, **named):
    with pytest.raises(InputError, match=message) as caught:
        call(*given, **named)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", checkpoints.KINDS)
def test_bit_for_bit(folder, kind):
    path = folder.save(kind, made())
    found = folder.load(kind, settings=SETTINGS, arrays=arrays())
    assert found.path == path and found.refused == ()
    assert differences(arrays(), found.checkpoint.arrays) == []
    back = found.checkpoint
    assert (back.settings, back.seed) == (SETTINGS, 7)
    assert back.position == {"epoch": 2, "iteration": 10}
    assert back.state == {"best": 0.25, "none": None}
    assert {"sam_theory", "python", "numpy"} <= set(back.versions)


def test_planted_differences():
    changed = arrays()
    changed["odd"] = np.where(np.isnan(changed["odd"]), np.nan, changed["odd"])
    assert differences(arrays(), changed) == ["odd"]
    changed = arrays()
    changed["scalar"] = changed["scalar"].astype(np.float32)
    del changed["flags"]
    assert sorted(differences(arrays(), changed)) == ["flags", "scalar"]


def test_an_ordinary_reader_can_open_it(folder):
    path = folder.save("best", made())
    with np.load(path, allow_pickle=False) as archive:
        assert np.array_equal(archive["parameters"], arrays()["parameters"])
    with zipfile.ZipFile(path) as archive:
        assert json.loads(archive.read("checkpoint.json"))["position"]["iteration"] == 10
    first = path.read_bytes()
    assert folder.save("best", made()).read_bytes() == first


def test_the_previous_last_is_kept(folder):
    for iteration in (1, 2, 3):
        folder.save("last", made(iteration))
    positions = [
        checkpoints.read(folder.path(kind)).position["iteration"] for kind in ("last", "previous")
    ]
    assert positions == [3, 2]
    assert folder.load().checkpoint.position["iteration"] == 3
    assert not folder.path("best").exists()


def foreign(path):
    np.savez(path, parameters=np.zeros(3))


def other_settings(path):
    checkpoints.write(path, made(settings=SETTINGS | {"rho": 0.2}))


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:-1000]), "truncated or not a checkpoint"),
        (lambda path: path.write_bytes(b""), "truncated or not a checkpoint"),
        (lambda path: path.write_bytes(b"\x89PNG\r\n\x1a\n" * 99), "truncated or not a checkpoint"),
        (foreign, "not a checkpoint of sam_theory"),
        (other_settings, "of another run: rho is 0.2 there, 0.1 here"),
        (lambda path: path.unlink(), "no such file"),
    ],
)
def test_a_bad_newest_file_is_refused_by_name(folder, damage, reason):
    folder.save("last", made(1))
    folder.save("last", made(2))
    damage(folder.path("last"))
    found = folder.load(settings=SETTINGS)
    assert found.path == folder.path("previous")
    assert found.checkpoint.position["iteration"] == 1
    assert len(found.refused) == 1 and str(folder.path("last")) in found.refused[0]
    assert reason in found.refused[0] and "\n" not in found.refused[0]
    damage(folder.path("previous"))
    refused(
        f"no checkpoint can be used: .*last.*{reason}.*previous", folder.load, settings=SETTINGS
    )


def test_every_cut_is_refused(folder):
    path = folder.save("last", made())
    content = path.read_bytes()
    for size in (*range(0, len(content), 211), *range(len(content) - 150, len(content))):
        path.write_bytes(content[:size])
        refused("checkpoint .*last.npz: ", checkpoints.read, path)


def test_a_flipped_bit_is_refused_or_harmless(folder):
    path = folder.save("last", made())
    content, rng, seen = path.read_bytes(), random.Random(0), 0
    for _ in range(400):
        changed = bytearray(content)
        changed[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
        path.write_bytes(changed)
        try:
            back = checkpoints.read(path)
        except InputError as error:
            assert "\n" not in str(error)
            seen += 1
        else:
            assert differences(arrays(), back.arrays) == [] and back.settings == SETTINGS
    assert seen > 200


def test_planted_exchange_of_arrays_is_refused(folder):
    path = folder.save("last", made())
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
        comment = archive.comment
    members["parameters.npy"] = members["parameters.npy"][:-4] + b"\0\0\0\0"
    for text, reason in (
        (members["checkpoint.json"], "damaged: parameters does not have its checksum"),
        (members["checkpoint.json"].replace(b'"rho": 0.1', b'"rho": 0.2'), "damaged: its desc"),
    ):
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in (members | {"checkpoint.json": text}).items():
                archive.writestr(name, content)
            archive.comment = comment
        refused(reason, checkpoints.read, path)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"rho": 0.3}, "rho is 0.1 there, 0.3 here$"),
        ({"model": {"name": "resnet_tiny_gn", "width": 64}}, "model.width is 16 there, 64 here$"),
        (
            {"model": {"name": "vgg16", "width": 16}},
            'model.name is "resnet_tiny_gn" there, "vgg16"',
        ),
        ({"classes": None}, r"classes is \[3, 5\] there, null here$"),
        ({"more": 1}, "more is not set there, 1 here$"),
    ],
)
def test_another_run_is_refused_with_what_differs(folder, settings, message):
    folder.save("best", made())
    refused(
        f"best.npz: of another run: {message}", folder.load, "best", settings=SETTINGS | settings
    )
    without = {"model": SETTINGS["model"], "classes": [3, 5]}
    refused("rho is 0.1 there, not set here", folder.load, "best", settings=without)


def test_long_settings_differ_beyond_what_is_shown(folder):
    folder.save("best", made(settings={"long": "x" * 99 + "a"}))
    settings = {"long": "x" * 99 + "b"}
    refused("long is .*x\\.\\.\\. there", folder.load, "best", settings=settings)


def test_tuples_and_lists_are_the_same_setting(folder):
    folder.save("best", made())
    assert folder.load("best", settings=SETTINGS | {"classes": (3, 5)}).refused == ()


@pytest.mark.parametrize(
    ("name", "array", "message"),
    [
        ("parameters", np.zeros(999, np.float32), r"parameters is float32 \(1000,\) there, .*999"),
        ("parameters", np.zeros(1000), "there, float64"),
        ("velocity", np.zeros(2), "it has no array 'velocity'"),
    ],
)
def test_another_model_is_refused(folder, name, array, message):
    folder.save("best", made())
    refused(message, folder.load, "best", arrays={name: array})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"settings": {"rho": np.float32(1)}}, "settings cannot be stored as JSON"),
        ({"state": {"best": float("inf")}}, "state cannot be stored as JSON"),
        ({"arrays": {"a": np.array([object()])}}, "a must be a numeric NumPy array, not object"),
        ({"arrays": {"a": [1.0]}}, "a must be a numeric NumPy array, not list"),
        ({"arrays": {"../a": np.zeros(1)}}, "cannot have the name"),
        ({"arrays": {"": np.zeros(1)}}, "cannot have the name ''"),
    ],
)
def test_what_cannot_be_stored_exactly_is_refused(folder, change, message):
    folder.save("last", made(1))
    given = {"arrays": arrays(), "settings": {}, "seed": 0, "position": {}} | change
    refused(message, folder.save, "last", Checkpoint(**given))
    assert folder.load().checkpoint.position["iteration"] == 1


def test_newer_format_and_unknown_kinds(folder, monkeypatch):
    monkeypatch.setattr(checkpoints, "FORMAT", 2)
    path = folder.save("last", made())
    monkeypatch.undo()
    refused("of format 2; this sam_theory reads 1", checkpoints.read, path)
    refused("unknown kind of checkpoint 'first'; known are last, best", folder.path, "first")
    refused("made by writing the last one", folder.save, "previous", made())


def test_what_killed_writers_left_is_removed(folder):
    folder.save("last", made())
    left = folder.path("last").with_name("last.npz.0123.tmp")
    left.write_bytes(b"half")
    folder.prepare()
    assert not left.exists() and folder.load().refused == ()


def test_a_crash_between_the_renames_leaves_the_previous(folder, monkeypatch):
    folder.save("last", made(1))
    count, honest = itertools.count(), checkpoints.os.replace

    def once(*given):
        if next(count) == 1:
            raise KeyboardInterrupt
        return honest(*given)

    monkeypatch.setattr(checkpoints.os, "replace", once)
    with pytest.raises(KeyboardInterrupt):
        folder.save("last", made(2))
    monkeypatch.undo()
    found = folder.load()
    assert found.checkpoint.position["iteration"] == 1 and "no such file" in found.refused[0]
    assert not list(folder.path("last").parent.glob("*.tmp"))
