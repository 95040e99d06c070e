"""Everything that decides a training run, as data: `TrainSettings`, from Python or TOML."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from sam_theory._validate import checked_integer, checked_number
from sam_theory.errors import InputError

from ..rules import Policy, Rule
from . import flags

_COUNTS = {
    "epochs": 1, "batch_size": 1, "ascent_steps": 1, "evaluate_every": 1, "train_examples": 1,
    "sharpness_examples": 1, "seed": 0,
}  # fmt: skip
_OPTIONAL = {
    "width": 1, "m": 1, "padding": 0, "threads": 1, "micro_batch": 1, "checkpoint_every": 1,
}  # fmt: skip
_NUMBERS = (
    "fraction", "validation", "label_noise", "learning_rate", "momentum", "l1", "l2", "rho",
    "ascent_step", "rho_per_rate", "sam_start", "sam_end", "add_noise", "multiply_noise",
    "gradient_noise", "dropout",
)  # fmt: skip
_OPTIONAL_NUMBERS = ("average",)
_SWITCHES = ("grey", "augment", "normalized", "only_step_size", "sharpness")
_OPTIONAL_SWITCHES = ("flip", "project")
_TEXTS = ("dataset", "model", "activation", "schedule")
_OPTIONAL_TEXTS = ("data_dir", "start_from", "pattern")
_CHOICES = {
    "device": ("cpu", "gpu"),
    "precision": ("float32", "float64"),
    "noise_type": ("symmetric", "asymmetric"),
}
FREE = ("data_dir", "threads", "checkpoint_every")
"""Fields that may differ when a run is resumed: they change no bit of its result."""


@dataclass(frozen=True)
class TrainSettings:
    """A training run.

    Parameters
    ----------
    dataset, data_dir
        As of :func:`sam_theory.deep.data.load`.
    classes, grey, fraction, validation
        As of :func:`sam_theory.deep.data.prepare`.
    label_noise : float
        Share of the training labels that is made wrong.
    noise_type : {"symmetric", "asymmetric"}
        How.
    augment : bool
        Random crops and flips of the training images.
    padding : int, optional
        Of the crop, pixels; an eighth of the image by default: 4 for 32 x 32.
    flip : bool, optional
        Whether to mirror; as the data set allows by default.
    model, width, activation
        As of :func:`sam_theory.deep.build_model`.
    start_from : str, optional
        Checkpoint whose weights the run starts from; momentum and schedule start anew.
    device : {"cpu", "gpu"}
        Where it trains.
    precision : {"float32", "float64"}
        Of everything but sums.
    threads : int, optional
        On the CPU; changes no bit.
    seed : int
        Of initial weights, splits, label noise, batches and perturbations.
    epochs, batch_size : int
        Passes over the training set; examples per step.
    learning_rate : float
        The largest.
    schedule : str
        A key of :data:`sam_theory.deep.schedules.SCHEDULES`.
    momentum : float
        In [0, 1).
    l1, l2 : float
        l1 ||w||_1 + (l2/2) ||w||^2 is part of the objective, also inside the ascent.
    rho, m, ascent_steps, normalized
        As of :class:`sam_theory.Algorithm`; m = None is the whole minibatch.
    ascent_step, project, direction, rho_per_rate, only_step_size, pattern, statistics, micro_batch
        As of :class:`sam_theory.deep.Rule`.
    add_noise, multiply_noise, noise, gradient_noise, dropout
        As of :class:`sam_theory.deep.Rule`.
    sam_start, sam_end : float
        SAM is on for sam_start <= t < sam_end, t the fraction of training done; ERM otherwise.
    average : float, optional
        tau of the averaged weights, in [0, 1): w_avg <- tau w_avg + (1 - tau) w every iteration,
        from the initial weights. None rises to 0.999, see
        :func:`sam_theory.deep.schedules.averaging`.
    evaluate_every : int
        Epochs between evaluations; the start and the end are always evaluated.
    train_examples : int
        Training examples that an evaluation uses, evenly spaced, without augmentation.
    sharpness : bool
        Whether evaluations measure sharpness at 0.01 and at rho (0.1 if rho is 0).
    sharpness_examples : int
        Of the above, in batches of batch_size.
    checkpoint_every : int, optional
        Iterations between checkpoints; an epoch by default.

    Raises
    ------
    InputError
        A field is out of range or unknown, or two do not fit together; one line names it.
    """

    dataset: str = "digits"
    data_dir: str | None = None
    classes: tuple[int, int] | None = None
    grey: bool = False
    fraction: float = 1.0
    validation: float = 0.1
    label_noise: float = 0.0
    noise_type: Literal["symmetric", "asymmetric"] = "symmetric"
    augment: bool = True
    padding: int | None = None
    flip: bool | None = None
    model: str = "resnet_tiny_gn"
    width: int | None = None
    activation: str = "relu"
    start_from: str | None = None
    device: Literal["cpu", "gpu"] = "cpu"
    precision: Literal["float32", "float64"] = "float32"
    threads: int | None = None
    seed: int = 0
    epochs: int = 100
    batch_size: int = 128
    learning_rate: float = 0.1
    schedule: str = "piecewise"
    momentum: float = 0.9
    l1: float = 0.0
    l2: float = 0.0
    rho: float = 0.0
    m: int | None = None
    ascent_steps: int = 1
    normalized: bool = True
    ascent_step: float = 1.0
    project: bool | None = None
    direction: Literal["ascent", "random", "previous"] = "ascent"
    rho_per_rate: float = 0.0
    only_step_size: bool = False
    pattern: str | None = None
    statistics: Policy = "at_weights"
    micro_batch: int | None = None
    add_noise: float = 0.0
    multiply_noise: float = 0.0
    noise: Literal["gauss", "uniform"] = "gauss"
    gradient_noise: float = 0.0
    dropout: float = 0.0
    sam_start: float = 0.0
    sam_end: float = 1.0
    average: float | None = None
    evaluate_every: int = 5
    train_examples: int = 5000
    sharpness: bool = False
    sharpness_examples: int = 512
    checkpoint_every: int | None = None

    def __post_init__(self) -> None:
        """Check every field, and that they fit together."""
        self._check_types()
        from ..data import KNOWN
        from ..operations.signals import Activation
        from ..registry import MODELS
        from ..schedules import learning_rate, sam_is_on

        if self.dataset not in KNOWN:
            raise InputError(f"unknown data set {self.dataset!r}; known are {', '.join(KNOWN)}")
        if self.model not in MODELS:
            raise InputError(f"unknown model {self.model!r}; known are {', '.join(MODELS)}")
        Activation.parse(self.activation)
        learning_rate(self.schedule, self.learning_rate, 0.0, self.epochs)
        sam_is_on(0.0, 1.0, self.sam_start, self.sam_end)
        self.rule()
        if self.m is not None and self.batch_size % self.m:
            raise InputError(f"m = {self.m} does not divide the batch of {self.batch_size}")
        for name, low, high, shown in (
            ("fraction", 0.0, 1.0, "above 0, at most 1"),
            ("validation", -1e-300, 0.999, "at least 0 and below 1"),
            ("label_noise", -1e-300, 1.0, "between 0 and 1"),
            ("average", -1e-300, 1.0 - 1e-12, "at least 0 and below 1"),
        ):
            value = getattr(self, name)
            if value is not None and not low < value <= high:
                raise InputError(f"{name} must be {shown}, not {value:g}")

    def _check_types(self) -> None:
        def put(name: str, value: Any) -> None:
            object.__setattr__(self, name, value)

        for name, low in (_COUNTS | _OPTIONAL).items():
            value = getattr(self, name)
            if value is not None or name in _COUNTS:
                put(name, checked_integer(name, value, low))
        for name in (*_NUMBERS, *_OPTIONAL_NUMBERS):
            value = getattr(self, name)
            if value is None and name in _OPTIONAL_NUMBERS:
                continue
            if isinstance(value, bool | str):
                raise InputError(f"{name} must be a number, not {value!r}")
            put(name, checked_number(name, value))
        for name in (*_SWITCHES, *_OPTIONAL_SWITCHES):
            value = getattr(self, name)
            if not isinstance(value, bool) and not (value is None and name in _OPTIONAL_SWITCHES):
                raise InputError(f"{name} must be true or false, not {value!r}")
        for name in (*_TEXTS, *_OPTIONAL_TEXTS):
            value = getattr(self, name)
            if isinstance(value, Path):
                put(name, str(value))
            elif not isinstance(value, str) and not (value is None and name in _OPTIONAL_TEXTS):
                raise InputError(f"{name} must be a text, not {value!r}")
        for name, known in _CHOICES.items():
            if getattr(self, name) not in known:
                raise InputError(
                    f"{name} must be one of {', '.join(known)}, not {getattr(self, name)!r}"
                )
        if self.classes is not None:
            pair = self.classes
            if not isinstance(pair, tuple | list) or len(pair) != 2:
                raise InputError(f"classes must be two of them, not {pair!r}")
            put("classes", tuple(checked_integer("a class", value, 0) for value in pair))

    def rule(self) -> Rule:
        """Return what a step does."""
        from sam_theory.algorithms import Algorithm

        from ..network import Regularizer

        return Rule(
            Algorithm(
                self.rho, self.m, normalized=self.normalized, ascent_steps=self.ascent_steps
            ),
            Regularizer(self.l1, self.l2),
            momentum=self.momentum,
            ascent_step=self.ascent_step,
            project=self.project,
            direction=self.direction,
            rho_per_rate=self.rho_per_rate,
            only_step_size=self.only_step_size,
            pattern=self.pattern,
            statistics=self.statistics,
            micro_batch=self.micro_batch,
            add_noise=self.add_noise,
            multiply_noise=self.multiply_noise,
            noise=self.noise,
            gradient_noise=self.gradient_noise,
            dropout=self.dropout,
            seed=self.seed,
        )  # fmt: skip

    def fixed(self) -> dict[str, Any]:
        """Return the fields that must be the same for a run to be resumed."""
        values = dataclasses.asdict(self)
        return {name: value for name, value in values.items() if name not in FREE}

    def free(self) -> dict[str, Any]:
        """Return the fields that may differ when it is resumed."""
        return {name: getattr(self, name) for name in FREE}

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any], where: str = "settings") -> TrainSettings:
        """Make settings from field or flag names, such as ``sam_rho``, ``lr_max`` or ``acc_steps``.

        Parameters
        ----------
        values : mapping
            Names with hyphens or underscores.
        where : str
            What the names come from, for messages.

        Raises
        ------
        InputError
            An unknown name, the same field twice, or a value that is refused.
        """
        fields = [field.name for field in dataclasses.fields(cls)]
        found = flags.fields_of(values, fields, where)
        return cls(**flags.with_m(found, where, cls.batch_size))

    @classmethod
    def from_toml(cls, path: str | Path) -> TrainSettings:
        """Read settings from the TOML file ``path``; raises as :meth:`from_mapping`."""
        return cls.from_mapping(flags.read_toml(path), str(path))
