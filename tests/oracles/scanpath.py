"""Measures of scanpaths in plain loops."""

import math
from itertools import pairwise

import numpy as np


def least_path(costs):
    """Cells of the cheapest monotone path through a table, and its cost."""
    n, m = len(costs), len(costs[0])
    best = {(0, 0): (costs[0][0], [(0, 0)])}
    for i in range(n):
        for j in range(m):
            before = [best[cell] for cell in ((i - 1, j - 1), (i - 1, j), (i, j - 1)) if cell in best]
            if before:
                total, path = min(before, key=lambda found: found[0])
                best[i, j] = total + costs[i][j], [*path, (i, j)]
    total, path = best[n - 1, m - 1]
    return path, total


def multimatch(a, b, size, durations_a, durations_b):
    """Five similarities of two scanpaths."""
    if len(a) < 3 or len(b) < 3:
        return [math.nan] * 5
    saccades = [[(q[0] - p[0], q[1] - p[1]) for p, q in pairwise(path)] for path in (a, b)]
    path, _ = least_path([[math.dist(u, v) for v in saccades[1]] for u in saccades[0]])
    diagonal = math.hypot(*size)
    differences = []
    for i, j in path:
        u, v, s, t = saccades[0][i], saccades[1][j], durations_a[i], durations_b[j]
        turn = abs(math.atan2(u[1], u[0]) - math.atan2(v[1], v[0]))
        differences.append(
            (
                math.dist(u, v) / (2 * diagonal),
                min(turn, 2 * math.pi - turn) / math.pi,
                abs(math.hypot(*u) - math.hypot(*v)) / diagonal,
                math.dist(a[i], b[j]) / diagonal,
                abs(s - t) / max(s, t),
            )
        )
    return [1 - float(np.median(column)) for column in zip(*differences, strict=True)]


def needleman_wunsch(a, b, score, gap):
    """Score of the best global alignment."""
    table = [[0.0] * (len(b) + 1) for _ in range(len(a) + 1)]
    for i in range(len(a) + 1):
        for j in range(len(b) + 1):
            choices = []
            if i and j:
                choices.append(table[i - 1][j - 1] + score(a[i - 1], b[j - 1]))
            if i:
                choices.append(table[i - 1][j] + gap)
            if j:
                choices.append(table[i][j - 1] + gap)
            table[i][j] = max(choices, default=0.0)
    return table[-1][-1]


def letters(path, size, grid, durations=None, bin_ms=None):
    """(column, row) of the cell of each fixation, repeated by duration."""
    cells = [
        tuple(min(max(math.floor(p[k] / size[k] * grid[k]), 0), grid[k] - 1) for k in range(2)) for p in path
    ]
    if bin_ms is None:
        return cells
    return [
        cell
        for cell, lasted in zip(cells, durations, strict=True)
        for _ in range(math.floor(lasted / bin_ms + 0.5))
    ]


def scanmatch(a, b, threshold, gap):
    """Normalised score of two strings of cells."""
    if not a or not b:
        return math.nan
    best = needleman_wunsch(a, b, lambda p, q: threshold - math.dist(p, q), gap)
    return best / (threshold * max(len(a), len(b)))


def sequence_score(a, b):
    """Matches in order, over the longer length."""
    longer = max(len(a), len(b))
    return needleman_wunsch(a, b, lambda p, q: float(p == q), 0) / longer if longer else math.nan


def edit_distance(a, b):
    """Insertions, deletions and replacements, by recursion on prefixes."""
    if not a or not b:
        return len(a) + len(b)
    if a[-1] == b[-1]:
        return edit_distance(a[:-1], b[:-1])
    return 1 + min(edit_distance(a[:-1], b), edit_distance(a, b[:-1]), edit_distance(a[:-1], b[:-1]))


def dtw(a, b):
    """Least sum of distances along an alignment."""
    return least_path([[math.dist(p, q) for q in b] for p in a])[1] if len(a) and len(b) else math.nan


def nss(values, path):
    """Mean z-score of a map under fixations."""
    return np.mean([(values[math.floor(y), math.floor(x)] - values.mean()) / values.std() for x, y in path])


def found_share(found_at, n):
    """Share of trials found by fixation n."""
    return sum(at <= n for at in found_at) / len(found_at)


def agreement(people, displays, rule, score):
    """Average by each rule over lists of people and displays, in which a name may come several times.

    `score(teller, told, display)` is a number, or None where there is no such pair.
    """
    by_person, by_display, everything = [], [], []
    for told in people:
        on_displays = []
        for display in displays:
            scores = [score(teller, told, display) for teller in people]
            known = [value for value in scores if value is not None]
            if known:
                on_displays.append(np.mean(known))
        if on_displays:
            by_person.append(np.mean(on_displays))
    for display in displays:
        scores = [score(teller, told, display) for told in people for teller in people]
        known = [value for value in scores if value is not None]
        everything += known
        if known:
            by_display.append(np.mean(known))
    values = {"leave-one-observer-out": by_person, "all-pairs": by_display, "pooled": everything}[rule]
    return np.mean(values) if values else math.nan
