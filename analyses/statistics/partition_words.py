"""What negative shares of divided variance mean, in sentences."""

from __future__ import annotations

import pandas as pd

from analyses.statistics.partition_table import TOTAL, VariancePartition, part_name
from analyses.statistics.variance_partition import Part

Row = dict[str, float]


def explain_negative_shares(partition: VariancePartition) -> list[str]:
    """Say for every negative share whether it is chance, overfitting or suppression.

    Parameters
    ----------
    partition : VariancePartition

    Returns
    -------
    list of str
        One sentence or two a negative share and ROI; empty where there is none.

    Notes
    -----
    Judged by the intervals, in this order:

    1. The interval reaches zero: chance.
    2. The model of all spaces predicts worse than the mean of the responses: nothing there can be divided.
    3. *Unique part* below zero: the model with the space predicts worse than that without. In the population more
       features never predict worse, so that this is estimation error (overfitting), which held-out R2 counts in full.
    4. *Shared part* below zero: its spaces together predict more than their separate contributions amount to. That is
       suppression (synergy), and real, unless one of the models it is made of overfits: then it may be the error of
       that model that is shared out.
    5. *Share of the product measure* below zero: where leaving the band's prediction out of the sum would cost R2, the
       band takes away what other bands predict too much (suppression); where it would gain R2, the band overfits.
    """
    sentences = []
    for roi in partition.table.index.unique("roi"):
        rows, evidence = _rows(partition.table, roi), _rows(partition.evidence, roi)
        if rows[TOTAL]["upper"] < 0:
            sentences.append(
                f"{roi}: the model of all spaces predicts worse than the mean of the responses (R2"
                f" {_interval(rows[TOTAL])}). There is no explained variance to divide, and no share can be read."
            )
            continue
        for part in partition.parts:
            row = rows[part_name(part)]
            if not row["estimate"] < 0:  # NaN in a ROI without voxels
                continue
            what = f"{roi}: {_describe(partition, part)} is {_interval(row)}"
            if row["upper"] >= 0:
                sentences.append(
                    f"{what}. The interval reaches zero, so that the sign may be chance: held-out estimates scatter"
                    " around their value, and where that is zero about half of them are negative."
                )
            else:
                by_band = partition.measure == "product measure"
                why = _product(part[0], evidence[part[0]]) if by_band else _commonality(part, rows, evidence)
                sentences.append(f"{what}, below zero. {why}")
    return sentences


def _describe(partition: VariancePartition, part: Part) -> str:
    if partition.measure == "product measure":
        return f"the share of {part[0]}"
    return f"the unique part of {part[0]}" if len(part) == 1 else f"the part shared by {_list(part)}"


def _product(band: str, loss: Row) -> str:
    if loss["lower"] > 0:
        return (
            f"This is suppression, not noise: left out of the sum, {band} would cost R2 ({_interval(loss)}). Its"
            " prediction runs against that of the other bands and takes away what they predict too much, while it"
            " follows the responses less than it opposes the rest. Read the shares of the others as that much too"
            " large."
        )
    if loss["upper"] < 0:
        return (
            f"This is overfitting: the sum predicts better without {band} (R2 lost when it is left out:"
            f" {_interval(loss)}). What it learnt in training does not hold for new data; a stronger penalty for this"
            " band, or more data, would bring the share to zero."
        )
    return (
        f"Whether that is suppression or overfitting cannot be told: leaving {band} out of the sum changes R2 by an"
        f" amount that may be zero ({_interval(loss)})."
    )


def _commonality(part: Part, rows: dict[str, Row], evidence: dict[str, Row]) -> str:
    if len(part) == 1:
        return (
            f"The model with {part[0]} predicts new data worse than the model without it. In the population further"
            " features never predict worse, so that this is no suppression but overfitting: too few samples for the"
            " features, or too weak a penalty. It is as if the space had nothing of its own, and what it costs is"
            " missing from the other parts' sum."
        )
    harmful = [name for name in part if rows[name]["upper"] < 0]
    empty = [name for name, row in evidence.items() if row["upper"] < 0]
    if harmful or empty:
        causes = [f"adding {name} lowers R2" for name in harmful]
        causes += [f"the model of {name} predicts worse than the mean" for name in empty]
        return (
            f"Models overfit here ({'; '.join(causes)}), and their errors are in this part as well: it is no evidence"
            " of suppression."
        )
    return (
        f"This is suppression (synergy): {_list(part)} together predict more than their separate contributions amount"
        " to, because one removes from another what has nothing to do with the responses. It does not mean that they"
        " share a negative amount of variance; their unique parts are larger by it than what each predicts alone."
    )


def _rows(table: pd.DataFrame, roi: str) -> dict[str, Row]:
    of_roi = table.xs(roi, level="roi").T.to_dict()
    return {str(name): {str(key): float(value) for key, value in row.items()} for name, row in of_roi.items()}


def _interval(row: Row) -> str:
    return "{} [{}, {}]".format(*(_number(row[name]) for name in ("estimate", "lower", "upper")))


def _number(value: float) -> str:
    """Write three decimals, or two digits where these would be lost."""
    return (f"{value:.3f}" if abs(value) >= 0.01 else f"{value:.2g}").replace("-", "−")


def _list(names: Part) -> str:
    return f"{', '.join(names[:-1])} and {names[-1]}"
