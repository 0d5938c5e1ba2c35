"""What OAT recovers of a searcher whose probabilities are known."""

from dataclasses import replace

import numpy as np
import pytest

from cogmodels.search import Chance, NearestFirst
from cogmodels.search.behaviour import sequence_statistics, statistics_delta
from cogmodels.search.oat.oat import OAT
from cogmodels.search.oat.searcher import ShelfSearcher, simulate_shelves

# It often returns, so that a short training can tell what it does: to remember where it was is learnt last.
SEARCHER = ShelfSearcher(refixation=0.1, revisit=0.45, similarity_weight=3)


def delta(paths, displays, truth):
    targets = {display.display_id: display.target_item for display in displays}
    means = [
        sequence_statistics(each.objects(), [targets[name] for name in each.trials["display"]]).mean(axis=0)
        for each in (paths, truth)
    ]
    return statistics_delta(*means)


def nats_above_the_searcher(model, displays):
    asked = SEARCHER.search(displays, n_rollouts=3, seed=9)
    taken = [
        np.log(chances[np.arange(len(chances)), [*objects, chances.shape[1] - 1]])
        for chances, objects in zip(model.step_probabilities(asked, displays), asked.objects(), strict=True)
    ]
    return np.concatenate(SEARCHER.log_likelihoods(asked, displays)).mean() - np.concatenate(taken).mean()


@pytest.mark.slow
def test_a_known_searcher_is_recovered_and_carried_over_to_another_layout():
    train = simulate_shelves(3000, (2, 11), seed=1, prefix="train")
    stop = simulate_shelves(40, (2, 11), seed=2, prefix="stop")
    training = replace(
        OAT.small().training, n_epochs=12, schedule="cosine", warmup_epochs=1, patience_epochs=None
    )
    models = {
        positions: OAT.small(positions=positions, dropout=0.0, training=training, stop_by="loss").fit(
            SEARCHER.search(train), train, validation=(SEARCHER.search(stop, n_rollouts=4), stop)
        )
        for positions in ("distance", "none")
    }
    for grid_shape in ((2, 11), (3, 9)):
        unseen = simulate_shelves(60, grid_shape, seed=3, prefix="unseen")
        above = {name: nats_above_the_searcher(model, unseen) for name, model in models.items()}
        assert above["distance"] < above["none"]
        truth = SEARCHER.search(unseen, n_rollouts=30, seed=4)
        searched = models["distance"].search(unseen, n_rollouts=30, seed=5)
        found = delta(searched, unseen, truth)
        print(grid_shape, above, found)
        for baseline in (Chance(), NearestFirst()):
            assert found < delta(baseline.search(unseen, n_rollouts=5), unseen, truth)
