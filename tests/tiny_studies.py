"""The studies of diagonal linear networks at sizes that take a second or two each."""

from __future__ import annotations

from analysis import (
    depth,
    effect_of_m,
    fine_tuning,
    lasso_path,
    leading_order,
    noisy_labels,
    phase_diagram,
    sharpness_and_generalization,
    when_n_sam_hurts,
)

TINY = {
    "effect_of_m": (
        effect_of_m,
        effect_of_m.Size(
            seeds=(0, 1), levels=(0.05, 0.1), ms=(1, 2, 4), n=4, d=8, nonzeros=1, steps=40_000
        ),
    ),
    "leading_order": (
        leading_order,
        leading_order.Size(
            x=(0.01, 0.02), batches=(1, 4), alphas=(0.3, 1.0), seeds=6, n=4, d=8, nonzeros=1
        ),
    ),
    "phase_diagram": (
        phase_diagram,
        phase_diagram.Size(
            points=(("published 20 x 30", 3, 2), ("fermentation spectra", 2, 2)),
            rho=(0.01, 0.1),
            alpha=(0.1, 1.0),
        ),
    ),
    "when_n_sam_hurts": (
        when_n_sam_hurts,
        when_n_sam_hurts.Size(
            designs=("isotropic", "small support", "common factor"),
            nonzeros=(3,),
            alphas=(0.1,),
            noises=(0.0,),
            seeds=(0, 1, 2),
            splits=1,
        ),
    ),
    "fine_tuning": (
        fine_tuning,
        fine_tuning.Size(seeds=(0, 1), switches=(300, 10_001), fractions=(0.1, 0.3)),
    ),
    "sharpness_and_generalization": (
        sharpness_and_generalization,
        sharpness_and_generalization.Size(
            designs=("isotropic",),
            seeds=(0, 1),
            splits=1,
            alphas=(0.1, 1.0),
            rhos=(0.03, 0.1),
            rhos_one=(0.03, 0.1),
        ),
    ),
    "noisy_labels": (
        noisy_labels,
        noisy_labels.Size(
            shares=(0.0, 0.2), seeds=(0, 1), times=14, trained_until=20.0, n=20, d=30, nonzeros=3
        ),
    ),
    "depth": (depth, depth.Size(depths=(2, 3), scales=5, smallest=1e-4, simulated=(1e-1,))),
    "lasso_path": (
        lasso_path,
        lasso_path.Size(alphas=(1e-2, 1e-4, 1e-8), points=6, smallest=0.1, resolution=60),
    ),
}
