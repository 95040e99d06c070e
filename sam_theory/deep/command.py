"""``sam-theory train``: networks with m-SAM from a shell, resumable; and what measures them."""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sam_theory.commands import Command, Show
from sam_theory.deep import measure_command
from sam_theory.deep.runs import flags
from sam_theory.errors import InputError

if TYPE_CHECKING:
    from sam_theory.deep.runs.run import Progress, TrainingRun
    from sam_theory.deep.runs.settings import TrainSettings

HELP = "train a deep network with ERM, n-SAM or m-SAM, on images; resumable bit for bit"
EPILOG = """\
Every flag may be written with underscores, and most also as the published code spells them.
FILE.toml holds flags without the hyphens in front, one a line: sam_rho = 0.1. Flags win over it.
FOLDER gets metrics.csv, seconds.csv, run.json and checkpoints/. SIGTERM and SIGINT write a
checkpoint first; a run that was killed goes on from its last one:
  sam-theory train --resume --output FOLDER

exit status: 0, 2 for an error, 128 and the signal's number if one stopped the run.
example: sam-theory train --sam-rho 0.1 --m 8 --batch-size 64 --model-width 8 --epochs 30
example: sam-theory train --dataset cifar10 --data-dir data --sam-rho 0.1 --sam-iters 1
         --lr-max 0.1 --lr-schedule piecewise --model resnet18_gn --model-width 64 --epochs 200
         --batch-size 128 --l2-reg 0.0005"""
USAGE = "sam-theory train [--config FILE.toml] [--output FOLDER] [--resume] [flags]"
_SHOWN = (("model", ""), ("averaged", "averaged_"))


class ShortHelp(argparse.RawDescriptionHelpFormatter):
    """Help that shows one name of each flag."""

    def __init__(self, prog: str, **settings: Any) -> None:
        super().__init__(prog, **settings | {"max_help_position": 32, "width": 100})

    def _format_action_invocation(self, action: argparse.Action) -> str:
        if not action.option_strings or action.dest == "help":
            return super()._format_action_invocation(action)
        return " ".join(filter(None, (action.option_strings[0], str(action.metavar or ""))))


def spellings(names: Sequence[str]) -> list[str]:
    """Return the names of a flag, each with hyphens and with underscores."""
    both = [(name, "--" + flags.plain(name)) for name in names]
    return list(dict.fromkeys(spelling for pair in both for spelling in pair))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of the command to its parser."""
    parser.usage, parser.formatter_class = USAGE, ShortHelp
    run = parser.add_argument_group("run")
    run.add_argument("--config", metavar="FILE.toml", help="settings; flags win over them")
    run.add_argument("--output", metavar="FOLDER", help="runs/NAME by default")
    run.add_argument("--resume", action="store_true", help="go on from its last checkpoint")
    for title, group in flags.GROUPS.items():
        part = parser.add_argument_group(title)
        for flag in group:
            text = flag.help or argparse.SUPPRESS
            common: dict[str, Any] = {
                "dest": flag.field, "default": argparse.SUPPRESS, "help": text
            }  # fmt: skip
            if isinstance(flag.kind, bool | tuple):
                const = flag.kind[0] if isinstance(flag.kind, tuple) else flag.kind
                part.add_argument(
                    *spellings(flag.names), action="store_const", const=const, **common
                )
            else:
                kind = _pair if flag.kind == "pair" else flag.kind
                part.add_argument(*spellings(flag.names), type=kind, metavar=flag.metavar, **common)


def _pair(text: str) -> tuple[int, int]:
    try:
        first, second = (int(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be two classes A,B, not {text!r}") from None
    return first, second


def train(arguments: argparse.Namespace, show: Show) -> int:
    """Run the command; returns the exit status.

    Raises
    ------
    InputError
        Settings, data, model, device or folder cannot be used, or the loss became nan.
    """
    from sam_theory.deep.runs import run
    from sam_theory.deep.stopping import StopRequested

    settings = chosen(arguments)
    folder = arguments.output or str(Path("runs", run_name(settings)))
    with StopRequested() as stop, Bar(show) as bar:
        result = run.train(settings, folder, resume=arguments.resume, progress=bar, stop=stop)
    for note in result.notes:
        show(f"note: {note}")
    if result.status == "not_finite":
        raise InputError(result.reason)
    show(summary(result, folder))
    return 128 + stop.signal if result.status == "stopped" and stop.signal is not None else 0


def chosen(arguments: argparse.Namespace) -> TrainSettings:
    """Return the settings that flags and files describe; InputError says what does not fit."""
    from sam_theory.deep.runs.settings import FREE, TrainSettings

    fields = [field.name for field in dataclasses.fields(TrainSettings)]
    given = {name: getattr(arguments, name) for name in (*fields, "acc_steps")
             if hasattr(arguments, name)}  # fmt: skip
    if arguments.config is None and arguments.resume and not set(given) - set(FREE):
        if arguments.output is None:
            raise InputError("--resume needs --output, or all flags of the run again")
        given = _described(Path(arguments.output, "run.json")) | given
    values: dict[str, Any] = {}
    if arguments.config is not None:
        values = flags.fields_of(flags.read_toml(arguments.config), fields, arguments.config)
        if {"m", "acc_steps"} & set(given):
            values = {k: v for k, v in values.items() if k not in ("m", "acc_steps")}
    return TrainSettings.from_mapping(values | given, "the flags")


def _described(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text(encoding="utf-8"))["settings"])
    except FileNotFoundError:
        raise InputError(f"{path}: no such file: there is no run to resume") from None
    except (OSError, ValueError, KeyError, TypeError):
        raise InputError(f"{path}: cannot be read; give all flags of the run again") from None


def run_name(settings: TrainSettings) -> str:
    """Return a folder's name: what matters most, and eight digits of a hash of all settings."""
    text = json.dumps(settings.fixed(), sort_keys=True)
    digest = hashlib.sha256(text.encode()).hexdigest()[:8]
    sam = f"rho{settings.rho:g}" + ("" if settings.m is None else f"-m{settings.m}")
    return f"{settings.dataset}-{settings.model}-{sam}-seed{settings.seed}-{digest}"


def summary(result: TrainingRun, folder: str) -> str:
    """Return what the command prints at the end."""
    last, settings = result.last, result.settings
    head = f"{settings.model} on {settings.dataset}: {result.status}"
    lines = [f"{head}, iteration {result.iteration}, {result.seconds:.0f} s; loss and error:"]
    if result.skipped:
        lines.append(f"{result.skipped} steps were not finite and were skipped")
    lines.append(f"{'':<10}{'train':>18}{'validation':>18}{'test':>18}   epoch {last['epoch']:g}")
    for name, prefix in _SHOWN:
        cells = []
        for part in ("train", "validation", "test"):
            loss, error = (last[f"{prefix}{part}_{what}"] for what in ("loss", "error"))
            cells.append(f"{f'{loss:.4g}':>10}{f'{100 * error:.2f} %':>8}")
        lines.append(f"{name:<10}" + "".join(cells))
    if settings.label_noise:
        lines.append(
            f"training error of true labels {100 * last['train_error_clean']:.2f} %, "
            f"of wrong ones {100 * last['train_error_noisy']:.2f} %"
        )
    if result.best is not None:
        best = f"{100 * result.best.error:.2f} %"
        lines.append(f"best validation error {best} at iteration {result.best.iteration}")
    if result.status == "stopped":
        lines.append(f"{result.reason}; go on: sam-theory train --resume --output {folder}")
    return "\n".join([*lines, f"{folder}: metrics.csv, checkpoints"])


class Bar:
    """Progress on stderr, if that is a terminal: loss, error, time left; a line per evaluation."""

    def __init__(self, show: Show, disable: bool | None = None) -> None:
        from tqdm import tqdm

        form = "{percentage:3.0f}%|{bar}| epoch {postfix} [{elapsed}<{remaining}]"
        # None: silent unless stderr is a terminal.
        self.bar = tqdm(bar_format=form, leave=False, disable=disable)
        self.show, self.loss, self.error = show, 0.0, 0.0
        self.seen = 0

    def __call__(self, now: Progress) -> None:
        """Show where the run stands; loss and error are averaged over about twenty steps."""
        if self.bar.total is None:
            self.bar.total, self.bar.initial = now.iterations, now.iteration - 1
            self.bar.n = now.iteration - 1
        if math.isfinite(now.loss):
            self.seen += 1
            share = max(0.05, 1.0 / self.seen)
            self.loss += share * (now.loss - self.loss)
            self.error += share * (now.error - self.error)
        text = f"{now.epoch:.1f}  loss {self.loss:.4f}  error {100 * self.error:.2f} %"
        self.bar.set_postfix_str(text, refresh=False)
        self.bar.update()
        if now.row is not None:
            self.bar.clear()
            self.show(line(now.row))
            self.bar.refresh()

    def __enter__(self) -> Bar:
        return self

    def __exit__(self, *_: Any) -> None:
        self.bar.close()


def line(row: dict[str, float]) -> str:
    """Return one evaluation as a line."""
    return (
        f"epoch {row['epoch']:<6g} train loss {row['train_loss']:.4f} error "
        f"{100 * row['train_error']:6.2f} %   test loss {row['test_loss']:.4f} error "
        f"{100 * row['test_error']:6.2f} %"
    )


COMMANDS = (
    Command("train", HELP, EPILOG, add_arguments, train),
    *measure_command.COMMANDS,
)
