"""Sweeps: one table, whatever the workers; what is recorded is not computed again."""

import importlib
import logging
import os
import subprocess
import sys

import bits
import numpy as np
import pandas as pd
import pytest
import toy_studies

import sam_theory as st
from sam_theory import sweeps
from sam_theory.sweeps import runner, study, workers
from sam_theory.sweeps.keys import cell_key

GRID = {"rho": [0.1, float("inf"), -0.0], "x": [0, 1, 2, 3, 4]}


def go(function, grid, cache, **options):
    options = {"workers": 1, "progress": False} | options
    return sweeps.run(function, grid, cache=cache, **options)


def records(cache):
    return {path: path.read_bytes() for path in cache.rglob("*.cell")}


def noted(log):
    with open(log) as stream:
        return [line.split()[1] for line in stream if line.startswith("start")]


def direct():
    """The table of toy_studies.kinds without any sweep."""
    rows = [
        {"rho": rho, "x": x} | toy_studies.kinds(x, rho) for rho in GRID["rho"] for x in GRID["x"]
    ]
    frame = pd.DataFrame(rows).astype({"single": float, "mixed": object})
    frame["mixed"] = pd.Series([row["mixed"] for row in rows], dtype=object)
    return frame


def test_the_table_is_that_of_a_plain_loop_whatever_the_workers(tmp_path):
    expected = direct()
    dtypes = dict(expected.dtypes.astype(str))
    assert dtypes["rho"] == "float64" and dtypes["x"] == "int64" and dtypes["even"] == "bool"
    assert dtypes["label"] == "str" and dtypes["mixed"] == "object"
    for count in (1, 2, 3):
        done = go(toy_studies.kinds, GRID, tmp_path / str(count), workers=count)
        assert bits.differences(done.table, expected) == []
        again = go("toy_studies:kinds", GRID, tmp_path / str(count))
        assert (done.computed, again.computed, len(done.failures)) == (15, 0, 0)
        assert bits.differences(again.table, expected) == []
    assert records(tmp_path / "1").keys() != records(tmp_path / "2").keys()
    assert set(records(tmp_path / "1").values()) == set(records(tmp_path / "2").values())


def test_planted_key_that_ignores_rho(tmp_path, monkeypatch):
    def faulty(name, code, settings, common):
        return cell_key(name, code, {k: v for k, v in settings.items() if k != "rho"}, common)

    monkeypatch.setattr(runner.keys, "cell_key", faulty)
    done = go(toy_studies.kinds, GRID, tmp_path / "cache")
    assert done.computed == 5
    wrong = bits.differences(done.table, direct())
    assert {"product[6]", "label[14]"} <= set(wrong) and "product[1]" not in wrong


def test_several_rows_per_cell(tmp_path):
    done = go(toy_studies.several, {"x": [2, 0, 1]}, tmp_path)
    assert done.table.to_dict("list") == {
        "x": [2, 2, 1],
        "step": [0, 1, 0],
        "loss": [1 / 3, 1 / 4, 1 / 2],
    }
    assert done.cells == 3 and list(done.table.index) == [0, 1, 2]
    framed = go(toy_studies.table, [{"x": 1.0}, {"x": 2.0}], tmp_path)
    assert framed.table["loss"].tolist() == [1.0, 1 / 2, 1 / 3, 2.0, 1.0, 2 / 3]
    assert framed.table["name"].tolist() == list("abcabc")


def test_a_cell_that_appears_twice_is_computed_once(tmp_path):
    done = go(toy_studies.several, [{"x": 1}, {"x": 2}, {"x": 1}], tmp_path)
    assert done.table["x"].tolist() == [1, 2, 2, 1] and done.computed == 2


def test_one_worker_is_this_process_and_more_are_others(tmp_path, monkeypatch):
    monkeypatch.delenv("SAM_THEORY_THREADS", raising=False)
    here = go(toy_studies.where, {"x": [1, 2]}, tmp_path / "here").table
    assert set(here["pid"]) == {os.getpid()} and set(here["own"]) == {1}
    assert "SAM_THEORY_THREADS" not in os.environ
    there = go(toy_studies.where, {"x": range(6)}, tmp_path / "there", workers=2).table
    assert os.getpid() not in set(there["pid"])
    assert set(there["blas"]) == set(there["own"]) == {1}


def test_a_bigger_grid_computes_only_what_is_new(tmp_path):
    log = str(tmp_path / "log")
    go(toy_studies.logged, {"x": [1, 2]}, tmp_path / "c", common={"log": log})
    before = records(tmp_path / "c")
    done = go(toy_studies.logged, {"x": [3, 2, 1]}, tmp_path / "c", common={"log": log})
    assert noted(log) == ["1", "2", "3"] and done.computed == 1
    assert done.table["name"].tolist() == ["cell 3", "cell 2", "cell 1"]
    assert {path: records(tmp_path / "c")[path] for path in before} == before


def test_failures_are_recorded_and_stop_nothing(tmp_path, caplog):
    log = str(tmp_path / "log")
    grid, common = {"x": [1, 2, 3, 4, 5]}, {"log": log}
    for count, options in ((5, {}), (0, {}), (3, {"retry_failed": True}), (0, {"workers": 2})):
        done = go(toy_studies.failing, grid, tmp_path / "c", common=common, **options)
        assert done.computed == count
        assert done.table.to_dict("list") == {"x": [1, 5], "y": [1, 5]}
        assert done.failures["x"].tolist() == [2, 3, 4]
        assert done.failures["error_type"].tolist() == ["ValueError", "InputError", "SystemExit"]
        assert done.failures["error"].tolist() == [
            "two is\none too many",
            "the result 'array' is a ndarray, which cannot be stored; "
            "known are numbers, strings, booleans and None",
            "1",
        ]
        assert 'raise ValueError("two is' in done.failures["traceback"][0]
        assert "3 of 5 cells failed" in caplog.text
        caplog.clear()
    assert len(noted(log)) == 5 + 3
    assert str(done) == "5 cells: 2 done, 3 failed; 0 computed now" and f"Sweep({done})" == repr(
        done
    )


def test_status_says_what_run_would_find(tmp_path, monkeypatch):
    cache = tmp_path / "c"
    grid = {"x": [1, 2, 5, 6]}
    found = sweeps.status(toy_studies.failing, grid, cache=cache)
    assert set(found.table["state"]) == {"missing"} and not cache.exists()
    go(toy_studies.failing, {"x": [1, 2, 5]}, cache)
    damage(cache, '"x": "5"', lambda data: data[:-1])
    monkeypatch.setattr(workers, "compute", None)
    found = sweeps.status(toy_studies.failing, grid, cache=cache)
    assert found.table["state"].tolist() == ["done", "failed", "damaged", "missing"]
    assert found.table["error"][1] == "ValueError: two is\none too many"
    assert found.table["error"][2].endswith("the checksum that was written with it")
    assert repr(found) == "Status(4 cells: 1 done, 1 failed, 1 missing, 1 damaged)"


def damage(cache, setting, change):
    (path,) = (p for p, data in records(cache).items() if setting.encode() in data)
    path.write_bytes(change(path.read_bytes()))
    return path


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data[: len(data) // 2],
        lambda data: b"",
        lambda data: data.replace(b"0.5", b"0.6"),
        lambda data: b"some other file\n",
        lambda data: data[:-3] + bytes([data[-3] ^ 1]) + data[-2:],
    ],
)
def test_a_damaged_record_is_reported_and_computed_again(change, tmp_path, caplog):
    grid = {"x": [1.0, 0.5]}
    before = go(toy_studies.table, grid, tmp_path)
    intact = records(tmp_path)
    path = damage(tmp_path, '"x": "0.5"', change)
    assert sweeps.status(toy_studies.table, grid, cache=tmp_path).count("damaged") == 1
    with caplog.at_level(logging.WARNING, "sam_theory.sweeps"):
        done = go(toy_studies.table, grid, tmp_path)
    (line,) = caplog.messages
    assert line.startswith(str(path)) and line.endswith("; computed again")
    assert (done.computed, done.damaged) == (1, 1)
    assert "1 computed now, 1 of them for a damaged record" in str(done)
    assert bits.differences(done.table, before.table) == [] and records(tmp_path) == intact


def test_inputs_are_the_cells_own(tmp_path):
    data = st.sparse_regression(n=5, d=3, n_test=0)
    array = np.asfortranarray(np.arange(200_000.0).reshape(2, -1))[:, ::2]
    common = {"data": data, "array": array}
    expected = [float(data.X.sum() + data.y.sum() + array.sum()) + x for x in range(4)]
    for count in (1, 2):
        cache = tmp_path / str(count)
        done = go(toy_studies.spoil, {"x": range(4)}, cache, common=common, workers=count).table
        assert done["total"].tolist() == pytest.approx(expected, rel=1e-13)
        assert done["writeable"].all() and done["plain"].all()
    assert (
        array[1, 3] == 100_006.0
        and data.X[0, 0] == st.sparse_regression(n=5, d=3, n_test=0).X[0, 0]
    )
    moved = {"data": data, "array": np.nextafter(array, 1e9)}
    assert go(toy_studies.spoil, {"x": range(4)}, cache, common=common).computed == 0
    assert go(toy_studies.spoil, {"x": range(4)}, cache, common=moved).computed == 4


def test_a_study_of_the_library_on_many_processes(tmp_path):
    grid, common = {"rho": [0.05, 0.1, 0.2]}, {"data": st.sparse_regression()}
    tables = [
        go(toy_studies.limit, grid, tmp_path / str(n), common=common, workers=n).table
        for n in (1, 2)
    ]
    assert bits.differences(*tables) == [] and len(tables[0]) == 3
    assert tables[0]["l1"].is_monotonic_decreasing


def test_changed_code_is_computed_again_by_new_workers(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    text = "import os\ndef f(x):\n    return {'y': x, 'pid': os.getpid()}\n"
    (tmp_path / "edited.py").write_text(text)
    grid, cache = {"x": [1, 2, 3]}, tmp_path / "c"
    first = go("edited:f", grid, cache, workers=2)
    (tmp_path / "edited.py").write_text(text.replace("'y': x", "'y': -x"))
    with pytest.raises(st.InputError, match="has changed since it was imported"):
        go("edited:f", grid, cache, workers=2)
    importlib.invalidate_caches()
    importlib.reload(sys.modules["edited"])
    second = go("edited:f", grid, cache, workers=2)
    assert first.table["y"].tolist() == [1, 2, 3] and second.table["y"].tolist() == [-1, -2, -3]
    assert not set(first.table["pid"]) & set(second.table["pid"])
    del sys.modules["edited"]


def test_a_worker_with_other_code_is_refused(tmp_path):
    plan = workers.Plan(study.named(toy_studies.kinds), "0" * 64, {}, workers.Store(str(tmp_path)))
    cell = workers.Cell("ab" * 32, {"x": 1, "rho": 1.0})
    with pytest.raises(st.InputError, match="the code or the libraries of a worker on .* differ"):
        workers.compute(plan, cell, True)
    assert list(tmp_path.iterdir()) == []


def test_leaving_early_clears_up_behind_killed_writers(tmp_path):
    named, store = study.named(toy_studies.kinds), workers.Store(str(tmp_path))
    cells = [workers.Cell(f"{x:02d}" * 32, {"x": x, "rho": 1.0}) for x in range(8)]
    plan = workers.Plan(named, named.version(), {}, store)
    results = workers.compute_all(plan, cells, workers.Pool(workers=2))
    next(results)
    (tmp_path / "07").mkdir(exist_ok=True)
    left = store.path(cells[7].key).with_name(f"{cells[7].key}.left.tmp")
    left.write_bytes(b"sam_theory")
    results.close()
    assert not left.exists() and records(tmp_path)


def test_a_cell_that_kills_its_worker_fails_alone(tmp_path):
    log = str(tmp_path / "log")
    grid, common = {"x": range(5)}, {"log": log}
    done = go(toy_studies.deadly, grid, tmp_path / "c", common=common, workers=2)
    assert done.table["y"].tolist() == [0, 2, 3, 4]
    assert done.failures[["x", "error_type"]].values.tolist() == [[1, "WorkerDied"]]
    assert noted(log).count("1") == 3
    again = go(toy_studies.deadly, grid, tmp_path / "c", common=common, workers=2)
    assert again.computed == 0 and bits.differences(again.table, done.table) == []


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"workers": 0}, "workers must be >= 1, not 0"),
        ({"workers": 1.5}, "workers must be an integer, not 1.5"),
        ({"backend": "threads"}, "backend must be one of loky, dask, not 'threads'"),
        ({"scheduler": "tcp://a:1"}, "scheduler is given, but backend is not 'dask'"),
        ({"common": [1]}, "common must be a mapping, not a list"),
        ({"common": {"x": 1}}, "'x' is in the grid and in common"),
        ({"common": {"z": 1}}, "study toy_studies:several: got an unexpected keyword argument 'z'"),
        ({"common": {"z": print}}, "study toy_studies:several: got an unexpected"),
        ({"grid": {"x": [{1}]}}, "x: a set cannot be an input of a sweep"),
        (
            {"study": toy_studies.spoil, "common": {"data": 1, "array": print}},
            "common['array']: a ",
        ),
        ({"cache": "log/c"}, "cache "),
    ],
)
def test_bad_calls_compute_and_write_nothing(options, complaint, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "log").write_text("")
    given = {"study": toy_studies.several, "grid": {"x": [1]}, "cache": "c"} | options
    with pytest.raises(st.InputError) as error:
        sweeps.run(given.pop("study"), given.pop("grid"), **given)
    assert str(error.value).startswith(complaint) and "\n" not in str(error.value)
    assert [path.name for path in tmp_path.iterdir()] == ["log"]


def test_a_complete_cache_need_not_be_writable(tmp_path, monkeypatch):
    first = go(toy_studies.several, {"x": [1, 2]}, tmp_path)
    monkeypatch.setattr(workers.Store, "prepare", None)
    assert (
        bits.differences(go(toy_studies.several, {"x": [1, 2]}, tmp_path).table, first.table) == []
    )


def test_importing_sweeps_loads_nothing_heavy():
    program = (
        "import sys, sam_theory.cli; from sam_theory import sweeps; "
        "assert not {'numpy', 'pandas', 'joblib', 'numba'} & set(sys.modules); "
        "assert dir(sweeps) == ['Status', 'Sweep', 'run', 'status'] and sweeps.run.__doc__"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_bar_shows_rate_and_remaining_time(tmp_path, capsys):
    sweeps.run(toy_studies.several, {"x": [1, 2]}, cache=tmp_path, workers=1)
    sweeps.run(toy_studies.several, {"x": [1, 2, 3, 4]}, cache=tmp_path, workers=1)
    shown = capsys.readouterr()
    assert shown.out == "" and "toy_studies:several: 100%" in shown.err
    assert "4/4 [00:00<00:00" in shown.err and "cell/s]" in shown.err
    assert " 2/4 " in shown.err and " 0/4 " not in shown.err
    go(toy_studies.several, {"x": [5]}, tmp_path)
    assert capsys.readouterr().err == ""
