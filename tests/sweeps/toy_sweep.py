"""A sweep in a process of its own, to be killed: CACHE LOG CELLS OUT."""

import sys

import toy_studies

from sam_theory import sweeps

if __name__ == "__main__":
    cache, log, cells, out = sys.argv[1:]
    done = sweeps.run(
        toy_studies.logged,
        {"x": range(int(cells))},
        common={"log": log},
        cache=cache,
        workers=2,
        progress=False,
    )
    done.table.to_pickle(out)
