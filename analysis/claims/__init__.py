"""What is claimed, and what the tables in ``results/`` say of it: one row per claim.

Every study that can decide a statement has it here. ``python -m analysis claims`` reads the tables
that are there and writes ``claims.csv``, which the report page and the README show first. A claim
whose tables are missing is "not run".
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from analysis import STUDIES, store
from analysis.claims import convergence, diagonal, networks
from analysis.claims.claim import NOT_RUN, WORDS, Claim, Judgement

if TYPE_CHECKING:
    import pandas as pd

GROUPS: Mapping[str, tuple[Claim, ...]] = {
    "Diagonal linear networks": diagonal.CLAIMS,
    "Convergence rates": convergence.CLAIMS,
    "ReLU networks with one hidden layer": networks.RELU,
    "Deep networks": networks.DEEP,
}


def gather(folder: Path | None = None) -> pd.DataFrame:
    """Judge every claim by the tables there are.

    Parameters
    ----------
    folder : pathlib.Path, optional
        Where they are, ``results/`` by default.

    Returns
    -------
    pandas.DataFrame
        group, claim, kind, statement, source, measured, predicted, slack, verdict ("holds",
        "contradicted", "not shown", "not run"), size ("quick", "full", or "" where unknown),
        study and command (text).

    Raises
    ------
    ValueError
        A table lacks columns or rows that a claim is decided by; the message names it.
    """
    import pandas as pd

    read = Tables(store.RESULTS if folder is None else folder)
    rows = [
        {
            "group": group, "claim": claim.key, "kind": claim.kind, "statement": claim.statement,
            "source": claim.source, **judged(claim, read), "study": claim.study,
            "command": f"python -m analysis {claim.study}",
        }
        for group, claims in GROUPS.items()
        for claim in claims
    ]  # fmt: skip
    return pd.DataFrame(rows)


def judged(claim: Claim, tables: Tables) -> dict[str, str]:
    """Return measured, predicted, slack, verdict and size of a claim."""
    if not all(tables.has(name) for name in claim.tables):
        return dict(zip(("measured", "predicted", "slack", "size"), [""] * 4, strict=True)) | {
            "verdict": NOT_RUN
        }
    try:
        found: Judgement = claim.judge({name: tables.table(name) for name in claim.tables})
    except (LookupError, ValueError) as error:
        names = ", ".join(f"{name}.csv" for name in claim.tables)
        lacks = f"lacks {error.args[0]}" if isinstance(error, KeyError) else "has too few rows"
        again = f"make it again with: python -m analysis {claim.study}"
        raise ValueError(f"{names} {lacks}; {again}") from error
    return {
        "measured": found.measured, "predicted": found.predicted, "slack": found.slack,
        "verdict": WORDS[found.holds], "size": tables.size(claim.tables[0]),
    }  # fmt: skip


class Tables:
    """Tables of a folder, each read once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._read: dict[str, pd.DataFrame] = {}

    def has(self, name: str) -> bool:
        """Return whether a table and its sidecar are there."""
        return all((self.folder / f"{name}.{end}").is_file() for end in ("csv", "json"))

    def table(self, name: str) -> pd.DataFrame:
        """Return a table; ValueError if it has no rows."""
        import pandas as pd

        if name not in self._read:
            self._read[name] = pd.read_csv(self.folder / f"{name}.csv")
        if self._read[name].empty:
            raise ValueError(f"{name}.csv is empty")
        return self._read[name]

    def size(self, name: str) -> str:
        """Return the size of the study that wrote a table, "" where it does not say."""
        sidecar = json.loads((self.folder / f"{name}.json").read_text(encoding="utf-8"))
        return str(sidecar["provenance"].get("size", ""))


def write(folder: Path | None = None) -> pd.DataFrame:
    """Judge every claim and write ``claims``; returns it."""
    table = gather(folder)
    studies: Iterable[str] = dict.fromkeys(table["study"])
    store.write_table(
        "claims", table, {"studies": {name: STUDIES[name] for name in studies}},
        store.provenance(), folder=folder,
    )  # fmt: skip
    return table
