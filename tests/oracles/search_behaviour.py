"""The five behavioural statistics, fixation by fixation."""


def sequence_statistics(sequence, target):
    """Correct, length, and the shares of first visits, refixations and revisits."""
    kinds = {"first": 0, "again": 0, "later": 0}
    for step, item in enumerate(sequence):
        if item not in sequence[:step]:
            kinds["first"] += 1
        elif sequence[step - 1] == item:
            kinds["again"] += 1
        else:
            kinds["later"] += 1
    n = len(sequence)
    return [float(sequence[-1] == target), n, kinds["first"] / n, kinds["again"] / n, kinds["later"] / n]


def delta(model, people):
    """Mean relative error, over the statistics that people show."""
    errors = [abs(m - p) / p for m, p in zip(model, people, strict=True) if p > 0]
    return sum(errors) / len(errors)
