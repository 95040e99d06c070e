"""Losses per example, their gradients with respect to the logits, and predictions."""

from __future__ import annotations

from typing import Any


def cross_entropy(xp: Any, logits: Any, labels: Any) -> tuple[Any, Any]:
    """Softmax cross-entropy, or the logistic loss of one logit (the other being 0).

    Parameters
    ----------
    xp : module
        numpy or cupy.
    logits : array of shape (n, classes), or (n, 1) for two classes
    labels : integer array of shape (n,)

    Returns
    -------
    losses : array of shape (n,)
        -log p(label), natural logarithm; not overflowing for any finite logits.
    gradients : array like logits
        Of each example's own loss.
    """
    if logits.shape[1] == 1:
        sign = (1 - 2 * labels).astype(logits.dtype)
        margin = logits[:, 0] * sign
        losses = xp.maximum(margin, 0) + xp.log1p(xp.exp(-xp.abs(margin)))
        half = logits.dtype.type(0.5)
        return losses, ((half + half * xp.tanh(half * margin)) * sign)[:, None]
    shifted = logits - logits.max(axis=1, keepdims=True)
    exponentials = xp.exp(shifted)
    totals = exponentials.sum(axis=1, keepdims=True)
    rows = xp.arange(len(labels))
    losses = xp.log(totals[:, 0]) - shifted[rows, labels]
    gradients = exponentials / totals
    gradients[rows, labels] -= 1
    return losses, gradients


def predictions(xp: Any, logits: Any) -> Any:
    """Predicted class of each row; the smaller class of equals.

    Parameters
    ----------
    xp : module
        numpy or cupy.
    logits : array of shape (n, classes), or (n, 1) for two classes

    Returns
    -------
    integer array of shape (n,)
    """
    if logits.shape[1] == 1:
        return (logits[:, 0] > 0).astype("int64")
    return xp.argmax(logits, axis=1)
