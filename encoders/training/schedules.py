"""The learning rate of every step, as a function of the step alone."""

import math

from encoders.training.settings import Training


def learning_rate(training: Training, step: int, steps_per_epoch: int) -> float:
    """Return the learning rate of an optimiser step.

    Parameters
    ----------
    training : Training
    step : int
        Counted from 0 over all epochs.
    steps_per_epoch : int

    Returns
    -------
    float
        While warming up, over w steps, ``lr * (step + 1) / w``. Afterwards: ``lr``; ``lr * lr_drop_factor ** k``
        after k times `lr_drop_epochs`; or ``lr * (1 + cos(pi * t)) / 2``, t the share of the remaining steps that
        are done. The drops of "step" are counted from the first epoch and reach into a warm-up.
    """
    n_warmup = training.warmup_epochs * steps_per_epoch
    warmup = (step + 1) / n_warmup if step < n_warmup else 1.0
    if training.schedule == "step":
        return (
            training.lr
            * warmup
            * training.lr_drop_factor ** (step // steps_per_epoch // training.lr_drop_epochs)
        )
    if training.schedule == "cosine" and step >= n_warmup:
        share = (step - n_warmup) / (training.n_epochs * steps_per_epoch - n_warmup)
        return training.lr * 0.5 * (1 + math.cos(math.pi * share))
    return training.lr * warmup
