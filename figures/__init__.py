"""Pictures: one module per picture, each with ``draw(table) -> Figure``.

Run from a checkout, ``python -m figures NAME``; a picture is drawn from the table that a study
left in ``results/`` and computes nothing that a reader could not recompute from that table.
"""

# Picture -> (table it is drawn from, study that writes the table).
FIGURES = {
    "loss_curves": ("loss_curves", "theory_vs_simulation"),
    "alpha_effective": ("alpha_effective", "theory_vs_simulation"),
    "test_loss_vs_rho": ("theory_vs_simulation", "theory_vs_simulation"),
    "convergence_rates": ("convergence_rates", "convergence_rates"),
    "convergence_slack": ("convergence_rates", "convergence_rates"),
    "relu_fits": ("relu_fits", "relu_complexity"),
    "relu_complexity": ("relu_complexity_summary", "relu_complexity"),
    "relu_path": ("relu_path", "relu_complexity"),
}
