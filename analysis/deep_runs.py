"""What the studies of deep networks share: the runs on digits, what is measured, paired verdicts.

scikit-learn's digits (1,797 images of 8 x 8; 1,294 train, 144 validate, 359 test) and
``resnet_tiny_gn``: small enough for many seeds, and real images. One test image is 0.28 %.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from analysis.statistics import mean_interval

if TYPE_CHECKING:
    import pandas as pd

    from sam_theory.deep.runs.run import TrainingRun

BATCH = 64
BASE: dict[str, Any] = {
    "dataset": "digits", "model": "resnet_tiny_gn", "batch_size": BATCH, "learning_rate": 0.1,
    "schedule": "cosine", "l2": 5e-4, "average": 0.99, "threads": 1,
}  # fmt: skip
SHARPNESS_RHO = 0.05
SHARPNESS_MS = (8, BATCH)
SHARPNESS_EXAMPLES = 128
PRODUCTS = 15
KINDS = {"ERM": "gd", "n-SAM": "n-sam", "m-SAM": "m-sam", "1-SAM": "1-sam"}


def train(**changes: Any) -> TrainingRun:
    """Train with the settings that all studies share, but for the changes."""
    from sam_theory.deep.runs.run import TrainSettings
    from sam_theory.deep.runs.run import train as run

    return run(TrainSettings(**(BASE | changes)))


def sharpness(run: TrainingRun) -> dict[str, float]:
    """Measure m-sharpness (radius 0.05, 20 steps) and curvature of the final network.

    Returns
    -------
    dict
        ``sharpness_8`` and ``sharpness_64`` by m, ``hessian_top``; nan if the run did not finish.
    """
    from sam_theory.deep.hessian import hessian_product, top_eigenvalue
    from sam_theory.deep.sharpness import m_sharpness

    names = [*(f"sharpness_{m}" for m in SHARPNESS_MS), "hessian_top"]
    if run.status != "finished":
        return dict.fromkeys(names, float("nan"))
    network = run.network
    data = run.experiment.training_images(SHARPNESS_EXAMPLES)
    at = (
        network, run.weights, run.buffers, network.images(data.floats()),
        network.labels(data.labels, data.n),
    )  # fmt: skip
    values = [m_sharpness(*at, rho=SHARPNESS_RHO, m=m).value for m in SHARPNESS_MS]
    start = np.random.default_rng(0).standard_normal(network.size).astype(np.float32)
    values.append(top_eigenvalue(hessian_product(*at), start, max_steps=PRODUCTS).value)
    return dict(zip(names, values, strict=True))


def paired(
    table: pd.DataFrame, by: Sequence[str], base: str, values: Sequence[str]
) -> pd.DataFrame:
    """Return differences to a base, paired over seeds, each with its 95 % interval in words.

    Parameters
    ----------
    table : pandas.DataFrame
        One row per ``name``, further columns of ``by``, and ``seed``.
    by : sequence of str
        What makes a group, "name" among them.
    base : str
        The name that the others are compared with.
    values : sequence of str
        Errors or losses: less is better.

    Returns
    -------
    pandas.DataFrame
        The columns of ``by``, value, seeds, difference, low, high, words.
    """
    import pandas as pd

    reference = table[table["name"] == base].set_index("seed")
    rows: list[dict[str, Any]] = []
    for key, part in table[table["name"] != base].groupby(list(by), sort=False):
        own = part.set_index("seed")
        for name in values:
            both = (own[name] - reference[name]).dropna()
            mean, low, high = mean_interval(both) if len(both) else (float("nan"),) * 3
            rows.append(
                dict(zip(by, key, strict=True))
                | {
                    "value": name, "seeds": len(both), "difference": mean, "low": low,
                    "high": high, "words": words(low, high),
                }
            )  # fmt: skip
    return pd.DataFrame(rows)


def words(low: float, high: float) -> str:
    """Return what an interval of a difference says, less being better."""
    if high < 0.0:
        return "better"
    return "worse" if low > 0.0 else "no difference shown"
