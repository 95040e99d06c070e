"""Studies: one module per question, each with ``run(quick=True) -> pandas.DataFrame``.

Run from a checkout, ``python -m analysis NAME``; tables go to ``results/``.
"""

STUDIES = {
    "theory_vs_simulation": "limits of GD, n-SAM, m-SAM and 1-SAM by three independent routes",
    "convergence_rates": "every convergence theorem on every problem, both sides on runs",
    "relu_complexity": "whether SAM fits a simpler function than ERM with one hidden layer",
}
