"""Training runs: what a plain loop gives, the same bits however they are run, nothing disturbed."""

from __future__ import annotations

import dataclasses
import functools

import numpy as np
import pytest
import runs
from runs import CONVOLUTIONS, differences, plain_loop, sam, small

from sam_theory.deep import schedules
from sam_theory.deep.data import augment
from sam_theory.deep.network import Network, build_model
from sam_theory.deep.runs import evaluation, loop
from sam_theory.deep.runs import state as run_state
from sam_theory.deep.runs.run import train
from sam_theory.deep.stopping import StopRequested
from sam_theory.errors import InputError

CASES = {
    "erm": {},
    "m-sam": {"rho": 0.1, "m": 4} | CONVOLUTIONS,
    "group norm": {"rho": 0.1, "ascent_steps": 2} | CONVOLUTIONS | {"model": "resnet_tiny_gn"},
    "erm, then sam": {"rho": 0.1, "m": 4, "sam_start": 0.5},
    "sam, then erm": {"rho": 0.1, "m": 8, "sam_end": 0.25},
    "random": {"rho": 0.1, "direction": "random"},
    "noise": {"rho": 0.1, "add_noise": 1e-3, "gradient_noise": 1e-3},
}


@pytest.mark.parametrize("case", CASES)
def test_a_run_is_the_plain_loop(case):
    run = train(small(**CASES[case]))
    state, averaged = plain_loop(run.settings)
    assert (run.status, run.iteration, run.skipped) == ("finished", runs.ITERATIONS, 0)
    assert run.weights.tobytes() == state.weights.tobytes()
    assert run.buffers.tobytes() == state.buffers.tobytes()
    np.testing.assert_allclose(run.averaged, averaged, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("case", "first", "end"), [("erm, then sam", 16, 32), ("sam, then erm", 0, 8)]
)
def test_sam_is_on_between_the_fractions(case, first, end, monkeypatch):
    seen = []
    honest = loop.Loop._one_step

    def watched(self):
        report = honest(self)
        seen.append(report.rho)
        return report

    monkeypatch.setattr(loop.Loop, "_one_step", watched)
    run = train(small(**CASES[case]))
    assert [rho > 0 for rho in seen] == [first <= k < end for k in range(runs.ITERATIONS)]
    marked = runs.column(run, "sam")
    assert marked.tolist() == [first <= k < end for k in (0, 8, 16, 24)] + [end == 32]
    # A switch one iteration later is another run.
    other = train(small(**CASES[case] | {"sam_start": (first + 1) / 32, "sam_end": (end - 1) / 32}))
    assert "weights" in differences(run, other)


@pytest.mark.parametrize("at", [1, 8, 13, 31])
def test_a_stopped_run_goes_on_bit_for_bit(at, tmp_path):
    sam = functools.partial(runs.sam, **(CONVOLUTIONS if at == 13 else {}))
    whole = train(sam())
    with StopRequested() as stop:
        half = train(sam(), tmp_path / "run", progress=runs.signal_at(at), stop=stop)
    assert (half.status, half.iteration) == ("stopped", at)
    assert half.reason == f"stopped at iteration {at} of 32"
    rest = train(sam(checkpoint_every=5), tmp_path / "run", resume=True)
    assert differences(rest, whole) == [] and rest.notes == ()
    once = train(sam(), tmp_path / "once")
    assert differences(once, whole) == []
    for name in ("metrics.csv", "checkpoints/best.npz", "checkpoints/averaged_last.npz"):
        kept = (tmp_path / "once" / name).read_bytes()
        if name == "metrics.csv":
            assert (tmp_path / "run" / name).read_bytes() == kept
        assert (tmp_path / "run" / name).exists()
    assert differences(train(sam(), tmp_path / "run", resume=True), whole) == []


def test_every_variant_goes_on_bit_for_bit(tmp_path):
    for k, changes in enumerate(
        (
            {"direction": "previous"},
            {"add_noise": 1e-3, "multiply_noise": 1e-2, "gradient_noise": 1e-3},
            {"direction": "random", "model": "resnet_tiny_gn", "width": 2},
            {"rho": 0.0, "rho_per_rate": 1.0, "schedule": "cyclic", "sharpness": True},
            {"label_noise": 0.4, "validation": 0.0, "statistics": "both"} | CONVOLUTIONS,
        )
    ):
        settings = sam(**{"epochs": 2} | changes)
        whole = train(settings)
        folder = tmp_path / str(k)
        with StopRequested() as stop:
            train(settings, folder, progress=runs.signal_at(9), stop=stop)
        assert differences(train(settings, folder, resume=True), whole) == [], changes
        assert (whole.best is None) == (settings.validation == 0.0)


def interrupted(settings, folder, at=13):
    with StopRequested() as stop:
        train(settings, folder, progress=runs.signal_at(at), stop=stop)
    return train(settings, folder, resume=True)


def test_planted_forgotten_momentum(tmp_path, monkeypatch):
    honest = run_state.restored

    def forgetful(*given):
        state, memory, notes = honest(*given)
        state.velocity[...] = 0
        return state, memory, notes

    monkeypatch.setattr(run_state, "restored", forgetful)
    found = differences(interrupted(sam(), tmp_path), train(sam()))
    assert {"weights", "averaged", "rows"} <= set(found)


def test_planted_forgotten_sums(tmp_path, monkeypatch):
    honest = run_state.restored

    def forgetful(*given):
        state, memory, notes = honest(*given)
        memory.sums[:] = 0
        return state, memory, notes

    monkeypatch.setattr(run_state, "restored", forgetful)
    assert differences(interrupted(sam(), tmp_path), train(sam())) == ["rows"]


def test_planted_global_generator(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)

    def drawn(self, count, *, seed, epoch):
        return augment.Draws(rng.integers(0, 3, count), rng.integers(0, 3, count), np.zeros(count, bool))  # fmt: skip  # noqa: E501

    honest = train(sam())
    assert differences(interrupted(sam(), tmp_path / "honest"), honest) == []
    monkeypatch.setattr(augment.Augmentation, "draw", drawn)
    assert "weights" in differences(interrupted(sam(), tmp_path / "run"), train(sam()))


@pytest.mark.parametrize("changes", [{}, CONVOLUTIONS])
def test_evaluation_changes_nothing(changes):
    often = train(sam(sharpness=True, **changes))
    rarely = train(sam(evaluate_every=100, train_examples=10, **changes))
    assert len(often.rows) == 5 and len(rarely.rows) == 2
    assert set(differences(often, rarely)) <= {"rows", "best", "averaged_best"}


def test_planted_evaluation_that_moves_statistics(monkeypatch):
    rarely = train(sam(evaluate_every=100, **CONVOLUTIONS))
    honest = Network.evaluate

    def moving(self, weights, images, labels, *, buffers=None, **more):
        found = honest(self, weights, images, labels, buffers=buffers, **more)
        if buffers is not None:
            moments = honest(self, weights, images, labels, batch_statistics=True)[2].moments
            self.commit(buffers, moments)
        return found

    monkeypatch.setattr(Network, "evaluate", moving)
    assert "buffers" in differences(train(sam(**CONVOLUTIONS)), rarely)


def test_one_and_two_threads_give_the_same_bits(tmp_path):
    changes = {
        "model": "resnet_tiny",
        "width": 8,
        "batch_size": 64,
        "fraction": 0.2,
        "epochs": 2,
        "m": 32,
    }
    one = train(sam(**changes))
    assert one.network.lanes_for(32) > 1
    two = train(sam(**changes | {"threads": 2}), tmp_path)
    assert differences(one, two) == []
    with StopRequested() as stop:
        settings = sam(**changes | {"threads": 2})
        train(settings, tmp_path / "x", progress=runs.signal_at(3), stop=stop)
    rest = train(sam(**changes), tmp_path / "x", resume=True)
    assert differences(rest, one) == []


def test_another_seed_is_another_run():
    assert {"weights", "rows"} <= set(differences(train(sam()), train(sam(seed=1))))


def test_a_step_that_is_not_finite_is_counted_and_a_broken_run_ends(tmp_path, monkeypatch):
    # A radius that overflows the perturbed pass only: every step is skipped, until ten have been.
    run = train(sam(rho=1e30))
    assert (run.status, run.iteration, run.skipped) == ("not_finite", loop.MOST_SKIPPED, 10)
    assert run.reason.startswith("the loss is not finite at iteration 10 (epoch 1.25); 10 steps")
    assert run.reason.endswith("no checkpoint was written")
    honest, count = loop.Loop._batch, [0]

    def spoiled(self, iteration):
        images, labels = honest(self, iteration)
        count[0] += 1
        if iteration == 11:
            images[:] = np.nan
        return images, labels

    monkeypatch.setattr(loop.Loop, "_batch", spoiled)
    run = train(sam(), tmp_path / "run")
    assert (run.status, run.iteration, run.skipped) == ("not_finite", 12, 1)
    assert f"last checkpoint is {tmp_path / 'run' / 'checkpoints' / 'last.npz'} (iteration 8)" in (
        run.reason
    )
    monkeypatch.undo()
    # What is on disk is sound: the run goes on as if nothing had happened.
    assert differences(train(sam(), tmp_path / "run", resume=True), train(sam())) == []


def test_a_single_skipped_step_does_not_end_a_run(monkeypatch):
    honest = loop.Step.__call__

    def sometimes(self, state, *given, **more):
        if state.iteration != 5:
            return honest(self, state, *given, **more)
        rho, self.rule = self.rule, small(rho=1e30, m=4).rule()
        report = honest(self, state, *given, **more)
        self.rule = rho
        return report

    monkeypatch.setattr(loop.Step, "__call__", sometimes)
    run = train(sam())
    assert (run.status, run.skipped) == ("finished", 1)
    assert runs.column(run, "skipped").tolist() == [0, 1, 1, 1, 1]


def test_fine_tuning_starts_from_the_weights_of_a_checkpoint(tmp_path):
    first = train(sam(), tmp_path / "first")
    last = tmp_path / "first" / "checkpoints" / "last.npz"
    seen = []
    settings = small(start_from=str(last), epochs=1)
    second = train(settings, progress=lambda now: seen.append(now))
    assert len(seen) == runs.PER_EPOCH
    for name in ("train_loss", "test_error", "validation_loss"):
        assert runs.column(second, name)[0] == runs.column(first, name)[-1]
    with pytest.raises(InputError, match="last.npz: of another model: weights"):
        train(small(start_from=str(last), width=4))


def test_fine_tuning_goes_on_without_the_checkpoint_that_it_started_from(tmp_path):
    train(sam(epochs=1), tmp_path / "first")
    last = tmp_path / "first" / "checkpoints" / "last.npz"
    settings = small(start_from=str(last), epochs=2)
    whole = train(settings)

    class Stop:
        requested = False

    def stop_early(now):
        Stop.requested = now.iteration == 5

    folder = tmp_path / "second"
    assert train(settings, folder, progress=stop_early, stop=Stop).iteration == 5
    last.unlink()
    assert differences(train(settings, folder, resume=True), whole) == []
    with pytest.raises(InputError, match="last.npz: no such file"):
        train(settings, tmp_path / "third")


def test_a_folder_that_changes_before_it_is_held_is_refused(tmp_path, monkeypatch):
    answers = [True, False]
    monkeypatch.setattr(loop.RunFolder, "has_checkpoint", lambda _: answers.pop(0))
    with pytest.raises(InputError, match="another process has trained in it; try again"):
        train(sam(epochs=1), tmp_path, resume=True)


@pytest.mark.parametrize("start", [0.2, 0.4, 0.9])
def test_a_switch_comes_with_the_step_that_is_due(start):
    # A fifth of 35 steps in 7 epochs is step 7, but 7 / 5 / 7 rounds to less than 0.2.
    settings = small(sam_start=start, rho=0.1, schedule="piecewise_02epochs")
    run = loop.Loop(loop.Experiment.build(settings), None, None, None)
    for per_epoch in range(5, 60, 5):
        for epochs in range(1, 60):
            run.per_epoch, run.iterations = per_epoch, per_epoch * epochs
            due, rest = divmod(round(10 * start) * run.iterations, 10)
            if rest:
                continue
            run.settings = dataclasses.replace(settings, epochs=epochs)
            seen = []
            for run.state.iteration in (due - 1, due):
                _, rate, on = run._schedule()
                seen.append((rate < 0.1, on))
            assert [on for _, on in seen] == [False, True], (per_epoch, epochs)
            assert start != 0.2 or [low for low, _ in seen] == [False, True]


def test_resuming_needs_the_same_run(tmp_path):
    train(sam(epochs=1), tmp_path)
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    for changes, message in (
        ({"rho": 0.2}, "train.rho is 0.1 there, 0.2 here"),
        ({"width": 4}, "train.width is 8 there, 4 here"),
        ({"epochs": 2}, "train.epochs is 1 there, 2 here"),
    ):
        with pytest.raises(InputError, match=message):
            train(sam(**{"epochs": 1} | changes), tmp_path, resume=True)
    with pytest.raises(InputError, match="holds a run already"):
        train(sam(epochs=1), tmp_path)
    assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == before
    with pytest.raises(InputError, match="needs the folder"):
        train(sam(), resume=True)


def test_other_data_are_noticed(tmp_path, monkeypatch):
    train(sam(epochs=1), tmp_path)
    monkeypatch.setattr(evaluation.Experiment, "data_digest", "0" * 64)
    with pytest.raises(InputError, match="of another run: data is"):
        train(sam(epochs=1), tmp_path, resume=True)


def test_a_best_network_that_is_gone_is_said(tmp_path):
    with StopRequested() as stop:
        train(sam(), tmp_path, progress=runs.signal_at(17), stop=stop)
    (tmp_path / "checkpoints" / "best.npz").unlink()
    run = train(sam(), tmp_path, resume=True)
    assert len(run.notes) == 1 and "best.npz: no such file" in run.notes[0]
    assert "counts from iteration 17" in run.notes[0]
    assert run.best is None or run.best.iteration > 17


def test_averaged_weights_warm_up_by_default_and_keep_a_given_tau(tmp_path):
    run, explicit = train(sam(average=None)), train(sam(average=0.999))
    for found in (run, explicit):
        _, averaged = plain_loop(found.settings)
        np.testing.assert_allclose(found.averaged, averaged, rtol=1e-5, atol=1e-6)
    start = build_model("mlp", 8, 10, (1, 8, 8), 0)[1]
    far = np.linalg.norm(run.weights - start)
    # 32 steps: the default has left where it started, 0.999 is still there.
    assert np.linalg.norm(run.averaged - run.weights) < 0.3 * far
    assert np.linalg.norm(explicit.averaged - start) < 0.1 * far
    assert differences(interrupted(sam(average=None), tmp_path), run) == []


def test_the_warm_up_of_the_average():
    taus = [schedules.averaging(None, k) for k in range(20_000)]
    assert taus[0] == 0.1 and taus == sorted(taus) and taus[8989] < 0.999
    assert set(taus[8990:]) == {0.999} and schedules.averaging(0.3, 5) == 0.3
    left = np.cumprod(taus)
    assert left[99] < 1e-11 < 0.9 < 0.999**100
    for average in (-0.1, 1.0, float("nan"), True, "0.9"):
        with pytest.raises(InputError, match="average must be"):
            small(average=average)
