"""Noise ceilings one voxel at a time, in plain loops."""

import numpy as np


def signal_and_noise(repeats):
    """Signal and noise variance of one voxel, repeats (n_repeats, n_stimuli) with NaN where missing."""
    shown = [column[np.isfinite(column)] for column in np.asarray(repeats, dtype=np.float64).T]
    shown = [column for column in shown if len(column)]
    within = sum(((column - column.mean()) ** 2).sum() for column in shown)
    noise = within / sum(len(column) - 1 for column in shown)
    between = np.var([column.mean() for column in shown], ddof=1)
    return between - noise * np.mean([1 / len(column) for column in shown]), noise


def explainable_variance(repeats, n_averaged=1):
    """Bias-corrected share of signal in the variance of means of `n_averaged` repeats."""
    signal, noise = signal_and_noise(repeats)
    return signal / (signal + noise / n_averaged)


def explainable_variance_of_equal_repeats(repeats):
    """Ratio of variances corrected by its own expectation, for complete repeats that are z-scored each.

    Hsu, Borst & Theunissen 2004, as encoding tutorials write it.
    """
    n_repeats = len(repeats)
    ratio = np.var(repeats.mean(axis=0), ddof=1) / np.mean([np.var(repeat, ddof=1) for repeat in repeats])
    return ratio - (1 - ratio) / (n_repeats - 1)


def ncsnr_of_allen(repeats):
    """Noise ceiling signal-to-noise ratio as Allen et al. 2022 compute it from complete repeats."""
    z = (repeats - repeats.mean()) / repeats.std()
    noise_variance = np.mean([np.var(stimulus, ddof=1) for stimulus in z.T])
    return np.sqrt(max(1 - noise_variance, 0)) / np.sqrt(noise_variance)


def leave_one_out(responses):
    """Lower and upper bound of one voxel, responses (n_subjects, n_stimuli)."""
    z = [(subject - subject.mean()) / subject.std() for subject in responses]
    lower = [np.corrcoef(z[i], sum(z[:i] + z[i + 1 :]))[0, 1] for i in range(len(z))]
    upper = [np.corrcoef(subject, sum(z))[0, 1] for subject in z]
    return np.mean(lower), np.mean(upper)
