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
    "effect_of_m": ("effect_of_m_summary", "effect_of_m"),
    "leading_order": ("leading_order", "leading_order"),
    "phase_diagram": ("phase_diagram", "phase_diagram"),
    "when_n_sam_hurts": ("when_n_sam_hurts", "when_n_sam_hurts"),
    "when_n_sam_hurts_designs": ("when_n_sam_hurts_designs", "when_n_sam_hurts"),
    "when_n_sam_hurts_rules": ("when_n_sam_hurts_rules", "when_n_sam_hurts"),
    "fine_tuning": ("fine_tuning", "fine_tuning"),
    "fine_tuning_segment": ("fine_tuning_segment", "fine_tuning"),
    "fine_tuning_switch": ("fine_tuning_switch_summary", "fine_tuning"),
    "sharpness_and_generalization": (
        "sharpness_and_generalization",
        "sharpness_and_generalization",
    ),
    "sharpness_correlations": ("sharpness_correlations", "sharpness_and_generalization"),
    "noisy_labels": ("noisy_labels_curves", "noisy_labels"),
    "depth": ("depth", "depth"),
    "lasso_path": ("lasso_path", "lasso_path"),
    "deep_effect_of_m": ("deep_effect_of_m_summary", "deep_effect_of_m"),
    "deep_sharpness": ("deep_effect_of_m", "deep_effect_of_m"),
    "deep_fine_tuning": ("deep_fine_tuning", "deep_fine_tuning"),
    "deep_label_noise": ("deep_label_noise", "deep_label_noise"),
}
