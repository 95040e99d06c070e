"""The same sweep on a Dask cluster has the same table."""

import os
import sys
import threading

import bits
import pytest
import toy_studies
from test_run import GRID, go, noted

import sam_theory as st
from sam_theory import sweeps

EXTRA = "needs the extra distributed: pip install 'sam-theory[distributed]'"


@pytest.fixture(scope="module")
def cluster():
    distributed = pytest.importorskip("distributed", reason=EXTRA)
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, dashboard_address=":0"
    ) as made:
        yield made


def records(cache):
    return {path.name: path.read_bytes() for path in cache.rglob("*.cell")}


def test_the_same_table_as_in_this_process(cluster, tmp_path):
    here = go(toy_studies.kinds, GRID, tmp_path / "here")
    where = {"backend": "dask", "scheduler": cluster.scheduler_address, "workers": None}
    there = go(toy_studies.kinds, GRID, tmp_path / "there", **where)
    assert (here.computed, there.computed) == (15, 15)
    assert bits.differences(there.table, here.table) == []
    assert len(records(tmp_path / "here")) == 15
    assert records(tmp_path / "here") == records(tmp_path / "there")
    again = go(toy_studies.kinds, GRID, tmp_path / "there", workers=2)
    assert again.computed == 0 and bits.differences(again.table, here.table) == []


def test_objects_travel_and_failures_come_back(cluster, tmp_path):
    from distributed import Client

    data = st.sparse_regression(n=50, d=40, n_test=0)
    common = {"data": data, "array": data.X[:, ::2]}
    here = go(toy_studies.spoil, {"x": range(6)}, tmp_path / "here", common=common)
    with Client(cluster) as client:
        where = {"backend": "dask", "scheduler": client}
        there = go(toy_studies.spoil, {"x": range(6)}, tmp_path / "there", common=common, **where)
        failing = go(toy_studies.failing, {"x": [1, 2, 3]}, tmp_path / "there", **where)
        # The client that is current, two cells at a time.
        pids = go(toy_studies.where, {"x": range(8)}, tmp_path / "w", backend="dask", workers=2)
    assert bits.differences(there.table, here.table) == []
    assert failing.failures["error_type"].tolist() == ["ValueError", "InputError"]
    assert set(pids.table["blas"]) == set(pids.table["own"]) == {1}


def test_a_cell_that_kills_its_worker_fails_alone(cluster, tmp_path, monkeypatch):
    # The scheduler's own patience, three workers by default.
    monkeypatch.setattr(cluster.scheduler, "allowed_failures", 0)
    log = str(tmp_path / "log")
    where = {"backend": "dask", "scheduler": cluster.scheduler_address, "workers": 2}
    grid, common = {"x": range(4)}, {"log": log}
    done = go(toy_studies.deadly, grid, tmp_path / "c", common=common, **where)
    assert done.table["y"].tolist() == [0, 2, 3]
    assert done.failures[["x", "error_type"]].values.tolist() == [[1, "WorkerDied"]]
    assert noted(log).count("1") >= 3


def test_threads_of_this_process_as_a_cluster(tmp_path, monkeypatch):
    monkeypatch.setenv("SAM_THEORY_THREADS", "1")
    distributed = pytest.importorskip("distributed", reason=EXTRA)
    here = go(toy_studies.kinds, GRID, tmp_path / "here")
    with distributed.Client(
        processes=False, n_workers=1, threads_per_worker=3, dashboard_address=":0"
    ):
        there = go(toy_studies.kinds, GRID, tmp_path / "there", backend="dask", workers=None)
    assert bits.differences(there.table, here.table) == []


def test_a_cluster_of_one_core_is_used_all_the_same(tmp_path):
    distributed = pytest.importorskip("distributed", reason=EXTRA)
    with distributed.Client(n_workers=1, threads_per_worker=1, dashboard_address=":0"):
        done = go(toy_studies.where, {"x": range(3)}, tmp_path, backend="dask", workers=1)
    assert os.getpid() not in set(done.table["pid"])


def test_a_cluster_without_workers_is_one_line(tmp_path, monkeypatch):
    distributed = pytest.importorskip("distributed", reason=EXTRA)
    from sam_theory.sweeps import cluster as module

    with distributed.Client(processes=False, n_workers=0, dashboard_address=":0") as client:
        backend = module.Backend(client=client, wait_for_workers_timeout=0.1)
        monkeypatch.setattr(module, "Backend", lambda client: backend)
        with pytest.raises(st.InputError, match="^the cluster has no workers$"):
            go(toy_studies.where, {"x": range(3)}, tmp_path, backend="dask")


def test_a_cluster_that_ends_meanwhile_is_one_line(tmp_path):
    distributed = pytest.importorskip("distributed", reason=EXTRA)
    with distributed.LocalCluster(n_workers=1, dashboard_address=":0") as made:
        threading.Timer(1.0, made.close).start()
        with pytest.raises(st.InputError, match="^the cluster was lost: "):
            go(
                toy_studies.sleeping,
                {"x": range(30)},
                tmp_path,
                backend="dask",
                scheduler=made.scheduler_address,
            )
    assert 0 < len(records(tmp_path)) < 30


def test_no_cluster_is_one_line(tmp_path):
    dask = pytest.importorskip("dask", reason=EXTRA)
    with pytest.raises(st.InputError, match="backend='dask' needs a cluster: give scheduler="):
        go(toy_studies.kinds, GRID, tmp_path, backend="dask")
    with dask.config.set({"distributed.comm.timeouts.connect": "1s"}):
        for scheduler in ("tcp://127.0.0.1:1", "nowhere", 3):
            with pytest.raises(st.InputError, match=f"scheduler {scheduler}: ") as error:
                go(toy_studies.kinds, GRID, tmp_path, backend="dask", scheduler=scheduler)
            assert "\n" not in str(error.value)


def test_without_the_extra_its_name_is_said(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(st.MissingExtra, match=r"pip install 'sam-theory\[distributed\]'"):
        sweeps.run(toy_studies.kinds, GRID, cache=tmp_path, backend="dask", progress=False)
