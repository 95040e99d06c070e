"""What is claimed, and what the tables in ``results/`` say of it: one row per claim.

Every study that can decide a statement has it here. ``python -m analysis claims`` reads the tables
that are there and writes ``claims.csv``, which the report page and the README show first. A claim
whose tables are missing, or cannot be used, is "not run".
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Iterable, Mapping
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
Complain = Callable[[str], None]
UNJUDGED = {"measured": "", "predicted": "", "slack": "", "size": "", "verdict": NOT_RUN}


def gather(folder: Path | None = None, complain: Complain = warnings.warn) -> pd.DataFrame:
    """Judge every claim by the tables there are.

    Parameters
    ----------
    folder : pathlib.Path, optional
        Where they are, ``results/`` by default.
    complain : callable
        Called with a line for every table that is there but cannot be used.

    Returns
    -------
    pandas.DataFrame
        group, claim, kind, statement, source, measured, predicted, slack, verdict ("holds",
        "contradicted", "not shown", "not run"), size ("quick", "full", or "" where unknown),
        study and command (text).
    """
    import pandas as pd

    read = Tables(store.RESULTS if folder is None else folder)
    complaints: list[str] = []

    def verdict(claim: Claim) -> dict[str, str]:
        try:
            return judged(claim, read)
        except ValueError as error:
            complaints.append(str(error))
            return UNJUDGED

    rows = [
        {
            "group": group, "claim": claim.key, "kind": claim.kind, "statement": claim.statement,
            "source": claim.source, **verdict(claim), "study": claim.study,
            "command": f"python -m analysis {claim.study}",
        }
        for group, claims in GROUPS.items()
        for claim in claims
    ]  # fmt: skip
    for line in dict.fromkeys(complaints):
        complain(line)
    return pd.DataFrame(rows)


def judged(claim: Claim, tables: Tables) -> dict[str, str]:
    """Return measured, predicted, slack, verdict and size of a claim.

    Raises
    ------
    ValueError
        A table cannot be read, or lacks columns or rows that decide the claim; the message is one
        line that names it.
    """
    if not all(tables.has(name) for name in claim.tables):
        return UNJUDGED
    again = f"make it again with: python -m analysis {claim.study}"
    try:
        read = {name: tables.table(name) for name in claim.tables}
        size = tables.size(claim.tables[0])
    except (OSError, ValueError) as error:
        raise ValueError(f"{error}; {again}") from error
    try:
        found: Judgement = claim.judge(read)
    except Exception as error:  # of any class: the columns of a foreign table hold anything
        names = ", ".join(f"{name}.csv" for name in claim.tables)
        lacks = f"cannot be judged ({' '.join(str(error).split())})"
        if isinstance(error, LookupError | ValueError):
            lacks = f"lacks {error.args[0]}" if isinstance(error, KeyError) else "has too few rows"
        raise ValueError(f"{names} {lacks}; {again}") from error
    return {
        "measured": found.measured, "predicted": found.predicted, "slack": found.slack,
        "verdict": WORDS[found.holds], "size": size,
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
        """Return a table; ValueError if it cannot be read or has no rows."""
        import pandas as pd

        if name not in self._read:
            try:
                self._read[name] = pd.read_csv(self.folder / f"{name}.csv")
            except ValueError as error:
                reason = " ".join(str(error).split())
                raise ValueError(f"{name}.csv cannot be read ({reason})") from None
        if self._read[name].empty:
            raise ValueError(f"{name}.csv has too few rows")
        return self._read[name]

    def size(self, name: str) -> str:
        """Return the size of the study that wrote a table, "" where it does not say.

        ValueError if its sidecar cannot be read.
        """
        try:
            sidecar = json.loads((self.folder / f"{name}.json").read_text(encoding="utf-8"))
        except ValueError as error:
            raise ValueError(f"{name}.json cannot be read ({error})") from None
        provenance = sidecar.get("provenance", {}) if isinstance(sidecar, dict) else None
        if not isinstance(provenance, dict):
            raise ValueError(f"{name}.json is no description of a table")
        return str(provenance.get("size", ""))


def write(folder: Path | None = None, complain: Complain = warnings.warn) -> pd.DataFrame:
    """Judge every claim, with complaints as in :func:`gather`, and write ``claims``; returns it."""
    table = gather(folder, complain)
    studies: Iterable[str] = dict.fromkeys(table["study"])
    store.write_table(
        "claims", table, {"studies": {name: STUDIES[name] for name in studies}},
        store.provenance(), folder=folder,
    )  # fmt: skip
    return table
