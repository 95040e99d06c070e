"""Training steps of pre-activation residual networks by torch, channels last, float32."""

from __future__ import annotations

import importlib.util
from typing import Any

import numpy as np

Named = dict[str, Any]


def installed() -> bool:
    """Whether torch is here; does not load it."""
    return importlib.util.find_spec("torch") is not None


def _block(torch: Any, inputs: int, outputs: int, stride: int, groups: int) -> Any:
    nn = torch.nn

    class Block(nn.Module):  # type: ignore[name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.norm1 = nn.GroupNorm(groups, inputs)
            self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
            self.norm2 = nn.GroupNorm(groups, outputs)
            self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
            if stride != 1 or inputs != outputs:
                self.shortcut = nn.Conv2d(inputs, outputs, 1, stride, bias=False)

        def forward(self, h: Any) -> Any:
            a = torch.relu(self.norm1(h))
            side = self.shortcut(a) if hasattr(self, "shortcut") else h
            return self.conv2(torch.relu(self.norm2(self.conv1(a)))) + side

    return Block()


def _network(torch: Any, width: int, depths: tuple[int, ...], classes: int) -> Any:
    nn = torch.nn

    class Network(nn.Module):  # type: ignore[name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.stem = nn.Conv2d(3, width, 3, 1, 1, bias=False)
            stages, channels = [], width
            for s, depth in enumerate(depths):
                blocks = []
                for b in range(depth):
                    stride = 2 if s > 0 and b == 0 else 1
                    blocks.append(_block(torch, channels, width << s, stride, width // 2))
                    channels = width << s
                stages.append(nn.Sequential(*blocks))
            self.stages = nn.Sequential(*stages)
            self.norm = nn.GroupNorm(width // 2, channels)
            self.linear = nn.Linear(channels, classes)

        def forward(self, x: Any) -> Any:
            h = self.stages(self.stem(x))
            return self.linear(torch.relu(self.norm(h)).mean((2, 3)))

    return Network()


class Trainer:
    """SGD with momentum 0.9 and SAM steps on one batch, as a user of torch writes them.

    Parameters
    ----------
    width : int
    depths : tuple of int
        Blocks per stage.
    parameters : dict of arrays
        By the names that the networks share.
    images : array of shape (n, 3, 32, 32), float32
    labels : integer array of shape (n,)
    l2 : float
    threads : int
    """

    def __init__(
        self, width: int, depths: tuple[int, ...], parameters: Named, images: Any, labels: Any,
        l2: float, threads: int,
    ) -> None:  # fmt: skip
        import torch

        torch.set_num_threads(threads)
        self.torch, self.l2 = torch, l2
        self.network = _network(torch, width, depths, 10)
        with torch.no_grad():
            for name, value in self.network.named_parameters():
                value.copy_(torch.tensor(np.ascontiguousarray(parameters[name])))
        self.network = self.network.to(memory_format=torch.channels_last)
        self.images = torch.tensor(images).to(memory_format=torch.channels_last)
        self.labels = torch.tensor(labels)
        self.optimizer = torch.optim.SGD(
            self.network.parameters(), 0.0, momentum=0.9, weight_decay=l2
        )
        self.loss = torch.nn.CrossEntropyLoss()

    def _backward(self) -> None:
        self.optimizer.zero_grad(set_to_none=True)
        self.loss(self.network(self.images), self.labels).backward()

    def sgd(self) -> Named:
        """One step with learning rate 0; return the gradients of the loss by name."""
        self._backward()
        self.optimizer.step()
        return {name: p.grad.numpy() for name, p in self.network.named_parameters()}

    def sam(self, rho: float) -> Named:
        """One SAM step of radius rho, likewise: the gradients at the perturbed weights.

        The ascent is along the gradient of loss and weight decay together.
        """
        torch = self.torch
        parameters = list(self.network.parameters())
        self._backward()
        with torch.no_grad():
            up = [p.grad.add(p, alpha=self.l2) for p in parameters]
            norm = torch.norm(torch.stack([g.norm() for g in up]))
            kept = [p.clone() for p in parameters]
            for p, g in zip(parameters, up, strict=True):
                p.add_(g * (rho / (norm + 1e-12)))
        self._backward()
        with torch.no_grad():
            for p, old in zip(parameters, kept, strict=True):
                p.copy_(old)
        self.optimizer.step()
        return {name: p.grad.numpy() for name, p in self.network.named_parameters()}
