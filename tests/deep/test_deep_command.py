"""`sam-theory train | sharpness | segment`: flags, files, and one line for what cannot be used."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import runs

from sam_theory.cli import build_parser, main
from sam_theory.deep import checkpoints, command
from sam_theory.deep.runs import flags
from sam_theory.deep.runs.run import TrainSettings, train
from sam_theory.errors import InputError

QUICK = ["--fraction", "0.1", "--model", "mlp", "--model-width", "8", "--batch-size", "16",
         "--epochs", "2", "--threads", "1"]  # fmt: skip


def files(folder):
    return {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def settings(*given):
    return command.chosen(build_parser().parse_args(["train", *given]))


def refused(arguments, capsys, folder):
    """The line that refuses the arguments; nothing is printed or written beside it."""
    before = files(folder)
    assert main(arguments) == 2
    shown = capsys.readouterr()
    assert shown.out == "" and files(folder) == before
    assert shown.err.startswith("sam-theory: error: ") and shown.err.count("\n") == 1, shown.err
    return shown.err.removeprefix("sam-theory: error: ").rstrip("\n")


PUBLISHED = ["--dataset=cifar10", "--sam_rho=0.1", "--sam_iters=1", "--lr_max=0.1",
             "--lr_schedule=piecewise", "--model=resnet18_gn", "--model_width=64", "--epochs=200",
             "--batch_size=128", "--l2_reg=0.0005"]  # fmt: skip


def test_the_published_command_with_hyphens_and_underscores():
    hyphens = [
        flag.split("=")[0].replace("_", "-") + "=" + flag.split("=")[1] for flag in PUBLISHED
    ]
    found = settings(*PUBLISHED)
    assert found == settings(*hyphens)
    assert found == TrainSettings(
        "cifar10", rho=0.1, learning_rate=0.1, schedule="piecewise", model="resnet18_gn", width=64,
        epochs=200, batch_size=128, l2=0.0005,
    )  # fmt: skip
    assert found.rule().algorithm.normalized and found.rule().keeps_to_ball


@pytest.mark.parametrize(
    ("given", "field", "value"),
    [
        (["--acc_steps", "4"], "m", 32),
        (["--acc-steps", "4", "--batch-size", "64"], "m", 16),
        (["--m", "8"], "m", 8),
        (["--sam_epoch_frac_start", "0.5"], "sam_start", 0.5),
        (["--sam-end", "0.5"], "sam_end", 0.5),
        (["--p_label_noise", "0.6"], "label_noise", 0.6),
        (["--noise_type", "asym"], "noise_type", "asymmetric"),
        (["--sam_no_grad_norm"], "normalized", False),
        (["--sam_use_prev_batch"], "direction", "previous"),
        (["--freeze-bn-stats"], "statistics", "frozen"),
        (["--no_data_augm"], "augment", False),
        (["--no-flip"], "flip", False),
        (["--classes", "3,5"], "classes", (3, 5)),
        (["--sam-lr-mult", "2"], "rho_per_rate", 2.0),
        (["--swa-tau", "0.9"], "average", 0.9),
        (["--dropout", "0.3"], "dropout", 0.3),
        (["--device", "cpu"], "device", "cpu"),
        (["--precision", "float64"], "precision", "float64"),
        (["--project"], "project", True),
    ],
)
def test_flags(given, field, value):
    assert getattr(settings(*given), field) == value
    assert getattr(settings(), field) != value or field == "device"


def test_every_field_has_a_flag_and_help_is_short(capsys):
    every = [flag for group in flags.GROUPS.values() for flag in group]
    fields = {field for field in TrainSettings.__dataclass_fields__}
    assert {flag.field for flag in every} - {"acc_steps"} == fields
    with pytest.raises(SystemExit):
        main(["train", "--help"])
    text = capsys.readouterr().out
    assert len(text.splitlines()) < 110 and max(map(len, text.splitlines())) <= 100
    assert "--sam-rho R" in text and "--sam_rho" not in text and "--swa-tau" not in text
    for title in flags.GROUPS:
        assert f"\n{title}:\n" in text


def test_parsing_loads_nothing_heavy():
    program = (
        "import sys; from sam_theory.cli import build_parser; "
        "build_parser().parse_args(['train', '--sam-rho', '0.1']); "
        "print(sorted({'numba', 'pandas', 'sklearn', 'numpy', 'scipy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout == "[]\n", done.stderr


def test_a_file_of_settings_and_flags_over_it(tmp_path):
    path = tmp_path / "run.toml"
    path.write_text('sam-rho = 0.2\nacc_steps = 4\nlr_max = 1\nseed = 3\nmodel = "mlp"\n')
    found = settings("--config", str(path), "--seed", "4", "--batch-size", "64")
    assert (found.rho, found.m, found.learning_rate, found.seed, found.model) == (
        0.2, 16, 1.0, 4, "mlp",
    )  # fmt: skip
    assert settings("--config", str(path), "--m", "2").m == 2
    assert TrainSettings.from_toml(path).m == 32
    for text, message in (
        ("sam_roh = 1", "run.toml: unknown setting 'sam_roh'; did you mean sam_rho"),
        ("rho = 1\nsam_rho = 1", "rho is given twice"),
        ("rho = ", "not TOML"),
        ("epochs = 1.5", "epochs must be an integer"),
        ("rho = true", "rho must be a number"),
        ('augment = "yes"', "augment must be true or false"),
        ("classes = [1]", "classes must be two"),
        ("[sam]\nrho = 1", "unknown setting 'sam'"),
        ("acc_steps = 3", "acc_steps = 3 does not divide the batch of 128"),
        ("acc_steps = 4\nm = 2", "m and acc_steps exclude each other"),
    ):
        path.write_text(text)
        with pytest.raises(InputError, match=message):
            settings("--config", str(path))


def test_a_run_is_that_of_the_library(tmp_path, capsys):
    folder = tmp_path / "run"
    flagged = [*QUICK, "--sam-rho", "0.1", "--m", "4", "--label-noise", "0.5"]
    assert main(["train", *flagged, "--output", str(folder)]) == 0
    shown = capsys.readouterr()
    run = train(settings(*flagged))
    with (folder / "metrics.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert float(rows[-1]["test_error"]) == run.last["test_error"]
    assert f"{100 * run.last['test_error']:.2f} %" in shown.out
    assert "mlp on digits: finished, iteration 16" in shown.out
    assert "of wrong ones" in shown.out and "best validation error" in shown.out
    kept = checkpoints.read(folder / "checkpoints" / "last.npz")
    assert kept.position == {"epoch": 2.0, "iteration": 16}
    described = json.loads((folder / "run.json").read_text())
    assert described["settings"]["rho"] == 0.1 and described["noisy_labels"] == 65
    names = {path.name for path in (folder / "checkpoints").iterdir()}
    assert names == {
        "last.npz", "previous.npz", "best.npz", "averaged_best.npz", "averaged_last.npz"
    }  # fmt: skip


def test_the_folder_is_named_after_the_settings(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["train", *QUICK]) == 0
    (folder,) = (tmp_path / "runs").iterdir()
    assert folder.name.startswith("digits-mlp-rho0-seed0-")
    assert command.run_name(settings(*QUICK)) == folder.name
    assert command.run_name(settings(*QUICK, "--threads", "2")) == folder.name
    assert command.run_name(settings(*QUICK, "--momentum", "0.8")) != folder.name
    capsys.readouterr()
    assert "holds a run already" in refused(["train", *QUICK], capsys, tmp_path)
    assert main(["train", *QUICK, "--resume"]) == 0


def test_a_signal_stops_the_run_and_resume_needs_only_the_folder(tmp_path, monkeypatch, capsys):
    folder = str(tmp_path / "run")
    honest = command.Bar.__call__

    def signalling(self, now):
        if now.iteration == 5:
            os.kill(os.getpid(), signal.SIGTERM)
        honest(self, now)

    monkeypatch.setattr(command.Bar, "__call__", signalling)
    assert main(["train", *QUICK, "--output", folder]) == 128 + signal.SIGTERM
    assert "stopped at iteration 5 of 16; go on: sam-theory train --resume" in (
        capsys.readouterr().out
    )
    monkeypatch.undo()
    message = refused(["train", *QUICK, "--seed", "9", "--resume", "--output", folder], capsys,
                      tmp_path)  # fmt: skip
    assert "of another run: train.seed is 0 there, 9 here" in message
    assert main(["train", "--resume", "--output", folder, "--threads", "2"]) == 0
    assert main(["train", *QUICK, "--output", str(tmp_path / "whole")]) == 0
    metrics = [(tmp_path / name / "metrics.csv").read_bytes() for name in ("run", "whole")]
    assert metrics[0] == metrics[1]


def test_the_bar_shows_loss_error_and_time_left(capsys):
    shown = []
    bar = command.Bar(shown.append, disable=False)
    row = dict.fromkeys(("epoch", "train_loss", "train_error", "test_loss", "test_error"), 0.25)
    for k in range(1, 4):
        bar(command_progress(k, row if k == 3 else None))
    assert bar.bar.total == 10 and bar.bar.n == 3
    assert "loss 0.5000  error 25.00 %" in bar.bar.postfix
    assert "{remaining}" in bar.bar.bar_format
    with bar:
        pass
    assert "30%|" in capsys.readouterr().err
    assert len(shown) == 1 and shown[0].startswith("epoch 0.25") and "25.00 %" in shown[0]


def command_progress(k, row):
    from sam_theory.deep.runs.run import Progress

    return Progress(k, 10, k / 5, 0.5, 0.25, row)


BAD = {
    "dataset": (["--dataset", "imagenet"], "unknown data set 'imagenet'; known are digits, "),
    "model": (["--model", "lenet"], "unknown model 'lenet'; known are resnet_tiny, "),
    "schedule": (["--lr-schedule", "step"], "unknown schedule 'step'; known are constant, "),
    "m": (["--sam-rho", "0.1", "--m", "5"], "m = 5 does not divide the batch of 16"),
    "blocks": (["--acc-steps", "5"], "acc_steps = 5 does not divide the batch of 16"),
    "batch": (["--batch-size", "131"], "batch_size 131 is larger than the training set (130 "),
    "no files": (["--dataset", "cifar10"], "cifar10: name the folder of its files (data_dir): "),
    "no folder": (["--dataset", "cifar10", "--data-dir", "nowhere"],
                  "cifar10: the data folder nowhere does not exist"),
    "label noise": (["--label-noise", "1.5"], "label_noise must be between 0 and 1, not 1.5"),
    "noise type": (["--noise-type", "odd"], "noise_type must be one of symmetric, asymmetric"),
    "no map": (["--label-noise", "0.5", "--noise-type", "asym"],
               "digits (train): asymmetric label noise has no class map for this set"),
    "rho": (["--sam-rho", "-0.1"], "rho must be a finite number >= 0, not -0.1"),
    "rho text": (["--sam-rho", "big"], "invalid float value: 'big'"),
    "two radii": (["--sam-rho", "1", "--sam-lr-mult", "1"], "exclude each other"),
    "fractions": (["--sam-start", "0.8", "--sam-end", "0.2"], "SAM cannot be on from 0.8 to 0.2"),
    "rate": (["--lr-max", "0"], "the learning rate must be positive and finite, not 0.0"),
    "epochs": (["--epochs", "0"], "epochs must be >= 1, not 0"),
    "validation": (["--validation", "1"], "validation must be at least 0 and below 1, not 1"),
    "padding": (["--padding", "99999999999999"], "padding must be at most"),
    "ascent step": (["--ascent-step", "0"], "ascent_step must be positive and finite, not 0.0"),
    "average": (["--average", "1"], "average must be at least 0 and below 1, not 1"),
    "pattern": (["--pattern", "nonsense"], "no parameter matches 'nonsense'"),
    "classes": (["--classes", "3"], "must be two classes A,B, not '3'"),
    "width": (["--model", "resnet_tiny_gn", "--model-width", "3"], "width must be even"),
    "device": (["--device", "tpu"], "device must be one of cpu, gpu, not 'tpu'"),
    "unknown flag": (["--rhoo", "1"], "unrecognized arguments: --rhoo 1"),
    "start": (["--start-from", "nowhere.npz"], "checkpoint nowhere.npz: no such file"),
    "config": (["--config", "nowhere.toml"], "nowhere.toml: cannot be read (No such file"),
    "resume": (["--resume", "--config", "nowhere.toml"], "nowhere.toml: cannot be read"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line(case, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    given, message = BAD[case]
    base = [x for k in range(0, len(QUICK), 2) for x in QUICK[k : k + 2] if QUICK[k] not in given]
    assert message in refused(["train", *base, *given], capsys, tmp_path)


def test_a_gpu_that_is_not_there(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    message = refused(["train", *QUICK, "--device", "gpu"], capsys, tmp_path)
    assert "cupy is not installed; install it with" in message or "no usable GPU" in message


def test_a_truncated_data_file_is_named_with_its_size(tmp_path, capsys):
    folder = tmp_path / "cifar-10-batches-bin"
    folder.mkdir()
    for k in range(1, 6):
        (folder / f"data_batch_{k}.bin").write_bytes(b"\0" * 100)
    (folder / "test_batch.bin").write_bytes(b"\0" * 100)
    given = ["train", *QUICK, "--dataset", "cifar10", "--data-dir", str(tmp_path)]
    message = refused([*given, "--output", str(tmp_path / "run")], capsys, tmp_path)
    assert "data_batch_1.bin" in message and "30730000" in message.replace(",", "")


def test_a_label_out_of_range(tmp_path, capsys):
    images = np.zeros((40, 1, 8, 8), np.uint8)
    for name in ("train", "test"):
        np.savez(tmp_path / f"{name}.npz", images=images, labels=np.full(40, -1))
    given = ["train", *QUICK, "--dataset", "npz", "--data-dir", str(tmp_path)]
    message = refused([*given, "--output", str(tmp_path / "run")], capsys, tmp_path)
    assert "label" in message and "train" in message


def test_a_loss_that_is_not_finite(tmp_path, capsys):
    folder = tmp_path / "run"
    given = ["train", *QUICK, "--sam-rho", "1e30", "--output", str(folder)]
    assert main(given) == 2
    message = capsys.readouterr().err
    assert message.count("\n") == 1
    assert "the loss is not finite at iteration 10 (epoch 1.25); 10 steps were skipped" in message
    assert f"the last checkpoint is {folder / 'checkpoints' / 'last.npz'} (iteration 8)" in message


def test_resume_without_a_run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    message = refused(["train", "--resume", "--output", "nowhere"], capsys, tmp_path)
    assert "run.json: no such file: there is no run to resume" in message
    assert "--resume needs --output" in refused(["train", "--resume"], capsys, tmp_path)
    assert main(["train", *QUICK, "--resume", "--output", "new"]) == 0
    assert "note: new: no checkpoint, so the run begins" in capsys.readouterr().out


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Folders of an ERM and a SAM run, with batch normalisation."""
    place = tmp_path_factory.mktemp("trained")
    shared = {"epochs": 1, "label_noise": 0.3} | runs.CONVOLUTIONS
    found = {"erm": train(runs.small(**shared), place / "erm"),
             "sam": train(runs.sam(**shared), place / "sam")}  # fmt: skip
    return place, found


def checkpoint(place, name, kind="last"):
    return str(place / name / "checkpoints" / f"{kind}.npz")


def test_sharpness_is_that_of_the_library(trained, tmp_path, capsys):
    from sam_theory.deep import feature_rank, m_sharpness
    from sam_theory.deep.runs.experiment import evenly_spaced

    place, found = trained
    out, table = tmp_path / "out.json", tmp_path / "out.csv"
    given = ["--rho", "0.2", "--m", "16", "--examples", "70", "--steps", "3", "--step-size", "0.5"]
    given += ["--hessian", "5", "--rank", "--json", str(out), "--csv", str(table)]
    assert main(["sharpness", checkpoint(place, "sam"), *given]) == 0
    run = found["sam"]
    data = evenly_spaced(run.experiment.splits.train, 64)
    images = run.network.images(data.floats())
    wanted = m_sharpness(run.network, run.weights, run.buffers, images, data.labels, rho=0.2, m=16,
                         steps=3, step_size=0.5)  # fmt: skip
    content = json.loads(out.read_text())
    assert content["values"]["sharpness"] == wanted.value
    assert content["values"]["feature_rank"] == feature_rank(
        run.network, run.weights, run.buffers, images
    )
    with table.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [float(row["max_loss"]) for row in rows] == wanted.max_loss.tolist()
    assert f"m-sharpness {wanted.value:.6g}" in capsys.readouterr().out
    for kind in ("best", "averaged_last", "averaged_best"):
        assert main(["sharpness", checkpoint(place, "sam", kind), "--m", "4", "--test",
                     "--examples", "8", "--steps", "1"]) == 0  # fmt: skip


def test_segment_is_that_of_the_library(trained, tmp_path, capsys):
    place, found = trained
    table = tmp_path / "out.csv"
    given = ["segment", checkpoint(place, "erm"), checkpoint(place, "sam"), "--points", "4"]
    assert main([*given, "--examples", "64", "--csv", str(table)]) == 0
    shown = capsys.readouterr().out
    erm, sam = found["erm"], found["sam"]
    wanted = np.linalg.norm((erm.weights - sam.weights).astype(float))
    assert f"||w_B - w_A|| = {wanted:.6g}" in shown
    with table.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [(float(row["s"]), row["data"]) for row in rows] == [
        (s, data) for data in ("train", "test") for s in (-1.0, 0.0, 1.0, 2.0)
    ]
    assert all(0.0 <= float(row["error"]) <= 1.0 for row in rows)
    assert main([*given, "--distance-only"]) == 0
    assert "least error" not in capsys.readouterr().out


def test_bad_checkpoints_are_one_line(trained, tmp_path, capsys):
    place, _ = trained
    foreign, cut = tmp_path / "foreign.npz", tmp_path / "cut.npz"
    np.savez(foreign, x=np.zeros(3))
    whole = checkpoint(place, "sam")
    cut.write_bytes(Path(whole).read_bytes()[:2000])
    other = tmp_path / "other"
    train(runs.small(epochs=1), other)
    mlp = str(other / "checkpoints" / "last.npz")
    plain = tmp_path / "plain.npz"
    checkpoints.write(plain, checkpoints.Checkpoint({"w": np.zeros(2)}, {}, 0, {}))
    for given, message in (
        (["sharpness", str(foreign)], "foreign.npz: not a checkpoint of sam_theory"),
        (["sharpness", str(cut)], "cut.npz: truncated or not a checkpoint"),
        (["sharpness", str(plain)], "plain.npz: not of a training run"),
        (["sharpness", "nowhere.npz"], "nowhere.npz: no such file"),
        (["sharpness", whole, "--m", "500"], "--m must be between 1 and the 130 examples, not 500"),
        (["sharpness", whole, "--rho", "0"], "rho must be positive and finite, not 0.0"),
        (["sharpness", whole, "--csv", whole], "would overwrite the data"),
        (["sharpness", whole, "--examples", "0"], "--examples must be at least 1, not 0"),
        (["segment", whole, mlp], "last.npz: of another model: weights: misses"),
        (["sharpness", whole, "--rho", "1e300"], "rho must be at most 1e+15"),
        (["sharpness", whole, "--last-layer-scale", "nan"], "last_layer_scale must be finite"),
        (["sharpness", whole, "--random-start", "--seed", "-1"], "seed must be >= 0, not -1"),
        (["segment", whole, whole, "--points", "1"], "--points must be at least 2"),
        (["segment", whole, whole, "--first", "-1e300"], "must be within +-1e+06"),
        (["segment", whole, mlp, "--csv", mlp], "would overwrite the checkpoint"),
        (["train", *QUICK, "--start-from", whole], "of another model: weights: misses"),
    ):
        assert message in refused(given, capsys, tmp_path)
