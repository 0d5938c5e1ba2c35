"""Slow references of visual search: one step, one pixel, one node at a time."""

import numpy as np


def search_items(values, cells, target_cell, start, max_fixations, box_px):
    """Look at the best pixel of the cells that were not visited, until a square around it meets the target's cell.

    values[r][c]: priority of each pixel; cells: (x, y, width, height). Returns places and found.
    """
    left, places = list(range(len(cells))), [tuple(start)]
    while left and len(places) <= max_fixations:
        best = None
        for item in left:
            x, y, width, height = cells[item]
            for row in range(len(values)):
                for column in range(len(values[0])):
                    inside = x <= column + 0.5 < x + width and y <= row + 0.5 < y + height
                    if inside and (best is None or values[row][column] > best[0]):
                        best = (values[row][column], item, (column + 0.5, row + 0.5))
        left.remove(best[1])
        places.append(best[2])
        if target_cell is not None and squares_meet(best[2], box_px, target_cell):
            return np.array(places), True
    return np.array(places), False


def search_pixels(values, target_box, start, max_fixations, box_px, inhibited_px):
    """Look at the best pixel outside the squares that were inhibited, until the target is met."""
    rows, columns = len(values), len(values[0])
    places = [tuple(start)]
    for _ in range(max_fixations):
        best = None
        for row in range(rows):
            for column in range(columns):
                x, y = column + 0.5, row + 0.5
                half = inhibited_px / 2
                closed = any(a - half <= x < a + half and b - half <= y < b + half for a, b in places[1:])
                if not closed and (best is None or values[row][column] > best[0]):
                    best = (values[row][column], (x, y))
        if best is None:
            return np.array(places), False
        places.append(best[1])
        if squares_meet(best[1], box_px, target_box):
            return np.array(places), True
    return np.array(places), False


def squares_meet(place, box_px, box):
    """Whether a square around a place shares some area with a box."""
    left, top = max(place[0] - box_px / 2, box[0]), max(place[1] - box_px / 2, box[1])
    right = min(place[0] + box_px / 2, box[0] + box[2])
    bottom = min(place[1] + box_px / 2, box[1] + box[3])
    return right > left and bottom > top


def correlate_windows(image, template):
    """Pearson's r of a template with the window around each pixel, edges repeated, over pixels and channels."""
    rows, columns = template.shape[:2]
    found = np.zeros(image.shape[:2])
    for row in range(image.shape[0]):
        for column in range(image.shape[1]):
            at_rows = np.clip(np.arange(rows) + row - rows // 2, 0, image.shape[0] - 1)
            at_columns = np.clip(np.arange(columns) + column - columns // 2, 0, image.shape[1] - 1)
            window = image[np.ix_(at_rows, at_columns)].astype(float)
            if window.std() > 0:
                found[row, column] = np.corrcoef(window.ravel(), template.astype(float).ravel())[0, 1]
    return found


def equilibrium(weights):
    """Where a walker is found in the long run who leaves each node in proportion to the weights of its edges.

    The walker rests at every other step, so that walks which only alternate settle too.
    """
    steps = weights / weights.sum(axis=1, keepdims=True)
    chain = (np.eye(len(weights)) + steps) / 2
    share = np.full(len(weights), 1 / len(weights))
    for _ in range(20000):
        share = share @ chain
    return share


def gaussian_distances(n_rows, n_columns, sigma):
    """F of Harel, Koch & Perona 2006 between all nodes, pair by pair."""
    nodes = [(row, column) for row in range(n_rows) for column in range(n_columns)]
    return np.array(
        [[np.exp(-((a - c) ** 2 + (b - d) ** 2) / (2 * sigma**2)) for c, d in nodes] for a, b in nodes]
    )
