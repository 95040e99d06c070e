"""Studies: one module per question, each with ``run(quick=True) -> pandas.DataFrame``.

Run from a checkout, ``python -m analysis NAME``; tables go to ``results/``.
"""

STUDIES = {
    "theory_vs_simulation": "limits of GD, n-SAM, m-SAM and 1-SAM by three independent routes",
    "convergence_rates": "every convergence theorem on every problem, both sides on runs",
    "relu_complexity": "whether SAM fits a simpler function than ERM with one hidden layer",
    "effect_of_m": "how m, at equal radius, length and shrinkage, changes what is selected",
    "leading_order": "the shrinkage of the scale predicted from radius, step size and batch size",
    "phase_diagram": "test loss over radius and scale for n-SAM and 1-SAM",
    "when_n_sam_hurts": "the condition under which n-SAM selects a worse solution than GD",
    "fine_tuning": "ERM then 1-SAM and 1-SAM then ERM, with the loss on the segment between",
    "sharpness_and_generalization": "whether the sharpness of the limit explains its test loss",
    "noisy_labels": "noisy labels with and without early stopping",
    "depth": "deeper diagonal networks against the smallest l1 norm",
    "lasso_path": "the time average of gradient flow at small scale against the lasso path",
    "deep_effect_of_m": "test error of a small ResNet against the radius, for ERM and every m",
    "deep_fine_tuning": "ERM then SAM and SAM then ERM in a small ResNet",
    "deep_label_noise": "a small ResNet with 60 % wrong labels, with and without early stopping",
}

REPORT = tuple(name for name in STUDIES if not name.startswith("deep_"))
"""What ``make report`` runs; training networks takes longer."""
