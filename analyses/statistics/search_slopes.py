"""Search slopes: how reaction time grows with the number of items, and how two conditions differ in it.

Tables of reaction times have one row a trial (or one a cell, where only means are known) and the columns ``paradigm,
condition, set_size, rt_ms``; ``display`` and ``observer`` where they are known. Both what
`cogmodels.search.reaction_time.reaction_times` gives and the reaction times of a `SearchDataset` are such tables.
"""

from __future__ import annotations

import warnings
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from analyses.statistics.search_times import average_displays, check_times, fit_lines
from stimuli.files import unknown_name_message

_CELL = ["paradigm", "condition"]


def search_slopes(
    rt: pd.DataFrame, *, n_bootstrap: int = 1000, confidence: float = 0.95, seed: int = 0
) -> pd.DataFrame:
    """Fit reaction time over set size by least squares, a line a condition.

    Parameters
    ----------
    rt : DataFrame
        One row a trial: paradigm, condition, set_size, rt_ms and, where known, display. Rows of one display
        are drawn together; without that column each row counts as a display.
    n_bootstrap : int
        Draws of displays within each set size, from which intervals are taken (percentiles).
    confidence : float
        Coverage of the intervals.
    seed : int
        Seed of the draws.

    Returns
    -------
    DataFrame
        One row a condition, sorted by paradigm and condition: paradigm, condition, slope_ms_per_item, slope_lower,
        slope_upper, intercept_ms, intercept_lower, intercept_upper, n_displays. Intervals are NaN where a set
        size has a single display.

    Raises
    ------
    ValueError
        If a column is missing, values are not finite, a condition has fewer than two set sizes, or there are
        fewer than two draws.
    """
    tails = _tails(n_bootstrap, confidence)
    rows = []
    for line in fit_lines(rt, n_bootstrap, seed):
        slope_ends, intercept_ends = (np.quantile(draws, tails) for draws in (line.slopes, line.intercepts))
        slope, intercept = (line.slope_ms_per_item, *slope_ends), (line.intercept_ms, *intercept_ends)
        rows.append((line.paradigm, line.condition, *slope, *intercept, line.n_displays))
    columns = ["slope_ms_per_item", "slope_lower", "slope_upper"]
    columns += ["intercept_ms", "intercept_lower", "intercept_upper", "n_displays"]
    return pd.DataFrame(rows, columns=[*_CELL, *columns])


def asymmetry_index(slopes: pd.DataFrame, human: pd.DataFrame) -> pd.DataFrame:
    """Tell how much steeper a searcher's slope is in the condition in which people's is steeper.

    ``(max(0, s_H) - max(0, s_L)) / (max(0, s_H) + max(0, s_L))``, where H is the condition with people's higher
    slope and L that with the lower one; 0 where neither slope is positive (Gupta et al. 2021).

    Parameters
    ----------
    slopes : DataFrame
        What `search_slopes` gave for the searcher: paradigm, condition, slope_ms_per_item.
    human : DataFrame
        The same for people; it may hold more paradigms.

    Returns
    -------
    DataFrame
        Indexed by paradigm, with ``"mean"`` (over these paradigms) as the last row: steeper, shallower (people's
        conditions H and L), index (of the searcher), human_index.

    Raises
    ------
    ValueError
        If a paradigm has other than two conditions, people lack one of them, or have the same slope in both.
    """
    own, people = _slopes_by_condition(slopes, "slopes"), _slopes_by_condition(human, "human")
    pairs = {paradigm: _human_pair(paradigm, own[paradigm], people) for paradigm in own}
    rows: dict[str, tuple] = {}
    for paradigm, (steeper, shallower) in pairs.items():
        indices = [
            float(_index(each[paradigm][steeper], each[paradigm][shallower])) for each in (own, people)
        ]
        rows[paradigm] = (steeper, shallower, *indices)
    columns = ["steeper", "shallower", "index", "human_index"]
    rows["mean"] = ("", "", *(float(np.mean([row[i] for row in rows.values()])) for i in (2, 3)))
    return pd.DataFrame.from_dict(rows, orient="index", columns=columns).rename_axis("paradigm")


def asymmetry_interval(
    rt: pd.DataFrame,
    human: pd.DataFrame,
    *,
    n_bootstrap: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
) -> pd.DataFrame:
    """Give the asymmetry index of a searcher with intervals over displays.

    Parameters
    ----------
    rt : DataFrame
        The searcher's reaction times, as in `search_slopes`.
    human : DataFrame
        People's slopes, as in `asymmetry_index`. They are taken as given: which condition is steeper is not drawn.
    n_bootstrap, confidence, seed
        As in `search_slopes`.

    Returns
    -------
    DataFrame
        What `asymmetry_index` gives, and lower, upper (percentiles over draws of displays within set sizes; of the
        mean, the paradigms stay) and share_right (share of draws with an index above 0).

    Raises
    ------
    ValueError
        As in `search_slopes` and `asymmetry_index`.
    """
    tails = _tails(n_bootstrap, confidence)
    table, samples = asymmetry_draws(rt, human, n_bootstrap=n_bootstrap, seed=seed)
    table["lower"], table["upper"] = np.quantile(samples, tails, axis=1)
    unknown = np.isnan(samples).any(axis=1)
    table["share_right"] = np.where(unknown, np.nan, (samples > 0).mean(axis=1))
    return table


def asymmetry_draws(
    rt: pd.DataFrame, human: pd.DataFrame, *, n_bootstrap: int = 1000, seed: int = 0
) -> tuple[pd.DataFrame, np.ndarray]:
    """Give the asymmetry index of a searcher, and the same on draws of displays within set sizes.

    Searchers of the same displays get the same draws, so that differences between them are paired.

    Parameters
    ----------
    rt, human, n_bootstrap, seed
        As in `asymmetry_interval`.

    Returns
    -------
    DataFrame
        What `asymmetry_index` gives.
    ndarray (n_rows of the table, n_bootstrap)
        NaN where a set size has a single display.

    Raises
    ------
    ValueError
        As in `search_slopes` and `asymmetry_index`.
    """
    lines = list(fit_lines(rt, n_bootstrap, seed))
    slopes = [(line.paradigm, line.condition, line.slope_ms_per_item) for line in lines]
    draws = {(line.paradigm, line.condition): line.slopes for line in lines}
    table = asymmetry_index(pd.DataFrame(slopes, columns=[*_CELL, "slope_ms_per_item"]), human)
    paradigms = [str(name) for name in table.index[:-1]]
    pairs = zip(paradigms, table["steeper"], table["shallower"], strict=False)
    samples = np.array([_index(draws[name, high], draws[name, low]) for name, high, low in pairs])
    return table, np.vstack([samples, samples.mean(axis=0)])


def set_size_interaction(rt: pd.DataFrame) -> pd.DataFrame:
    """Test whether slope or level differ between the conditions of a paradigm.

    F test of ``rt ~ set_size * condition`` against ``rt ~ set_size`` (Gupta et al. 2021), for each paradigm.

    Parameters
    ----------
    rt : DataFrame
        As in `search_slopes`. Trials on one display are not independent and are averaged first.

    Returns
    -------
    DataFrame
        Indexed by paradigm: f, df_difference, df_residual, p_value, n_displays. f and p_value are NaN where the larger
        model leaves nothing to compare with: times that lie on its lines.

    Raises
    ------
    ValueError
        As in `search_slopes`, or if a paradigm has a single condition.
    """
    from statsmodels.regression.linear_model import OLS

    rows = {}
    for paradigm, trials in average_displays(check_times(rt)).groupby("paradigm"):
        x, y = trials["set_size"].to_numpy(), trials["rt_ms"].to_numpy()
        labels, _ = _dummies(str(paradigm), trials)
        small = np.column_stack([np.ones(len(x)), x])
        large = np.column_stack([small, labels, labels * x[:, None]])
        fit = OLS(y, large).fit()
        f, p_value, df_difference = np.nan, np.nan, float(large.shape[1] - 2)
        if fit.df_resid > 0 and fit.ssr > 1e-18 * (y @ y):
            f, p_value, df_difference = fit.compare_f_test(OLS(y, small).fit())
        rows[paradigm] = (f, int(df_difference), int(fit.df_resid), p_value, len(y))
    columns = ["f", "df_difference", "df_residual", "p_value", "n_displays"]
    return pd.DataFrame.from_dict(rows, orient="index", columns=columns).rename_axis("paradigm")


def mixed_effects(
    rt: pd.DataFrame,
    *,
    group: Literal["observer", "display"] = "observer",
    random_slopes: bool = True,
    confidence: float = 0.95,
) -> pd.DataFrame:
    """Fit ``rt ~ set_size * condition`` with effects that vary from observer to observer, by REML.

    Parameters
    ----------
    rt : DataFrame
        One row a trial: the columns of `search_slopes` and that of `group`.
    group : {"observer", "display"}
        What intercepts vary over: people; or displays, for a model that searched each several times.
    random_slopes : bool
        Whether the slope over set size varies too; not for displays, which have one set size each.
    confidence : float
        Coverage of the intervals.

    Returns
    -------
    DataFrame
        One row a paradigm and fixed effect: paradigm, term, estimate, standard_error, z, p_value (two-sided, Wald),
        lower, upper, converged, n_groups. Terms are ``intercept`` and ``set_size`` (of the first condition in
        alphabetical order), ``condition[NAME]`` and ``set_size:condition[NAME]`` (what NAME adds to them).

    Raises
    ------
    ValueError
        As in `search_slopes`; `group` is no column or has a single value; times are all equal; slopes are to
        vary over displays; or a paradigm has a single condition.

    References
    ----------
    Laird & Ware 1982, Random-effects models for longitudinal data, Biometrics 38, 963-974.
    """
    from scipy.stats import norm
    from statsmodels.regression.mixed_linear_model import MixedLM

    if group not in ("observer", "display"):
        raise ValueError(f"group is {group!r}; allowed: 'observer', 'display'")
    if group == "display" and random_slopes:
        raise ValueError(
            "a display has one set size, so that no slope varies over displays: pass random_slopes=False"
        )
    if not 0 < confidence < 1:
        raise ValueError(f"confidence is {confidence}; it lies between 0 and 1")
    table = check_times(rt)
    if group not in rt:
        raise ValueError(
            f"rt has no column {group!r}, over which effects are to vary; it has {list(rt.columns)}"
        )
    half_width = norm.ppf(0.5 + confidence / 2)
    rows = []
    for paradigm, trials in table.groupby("paradigm"):
        if trials[group].nunique() < 2:
            raise ValueError(f"paradigm {paradigm!r} has a single {group}: effects need several to vary over")
        x, ones = trials["set_size"].to_numpy(), np.ones(len(trials))
        labels, conditions = _dummies(str(paradigm), trials)
        terms = ["intercept", "set_size", *(f"condition[{name}]" for name in conditions)]
        terms += [f"set_size:condition[{name}]" for name in conditions]
        fixed = np.column_stack([ones, x, labels, labels * x[:, None]])
        # The same effects whatever the units of the random part; REML converges where all are about 1.
        scaled = (x - x.mean()) / x.std()
        varying = np.column_stack([ones, scaled]) if random_slopes else ones[:, None]
        unit_ms = float(trials["rt_ms"].std())
        if unit_ms == 0:
            raise ValueError(
                f"all reaction times of paradigm {paradigm!r} are equal: there is nothing to fit"
            )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the table says whether it converged
            model = MixedLM(trials["rt_ms"].to_numpy() / unit_ms, fixed, trials[group].to_numpy(), varying)
            fit = model.fit(reml=True)
        estimate, error = fit.fe_params * unit_ms, fit.bse_fe * unit_ms
        z = estimate / error
        for i, term in enumerate(terms):
            ends = (estimate[i] - half_width * error[i], estimate[i] + half_width * error[i])
            p_value = 2 * norm.sf(abs(z[i]))
            rows.append(
                (
                    paradigm,
                    term,
                    estimate[i],
                    error[i],
                    z[i],
                    p_value,
                    *ends,
                    bool(fit.converged),
                    fit.model.n_groups,
                )
            )
    columns = ["paradigm", "term", "estimate", "standard_error", "z", "p_value", "lower", "upper"]
    return pd.DataFrame(rows, columns=[*columns, "converged", "n_groups"])


def _tails(n_bootstrap: int, confidence: float) -> tuple[float, float]:
    if n_bootstrap < 2 or not 0 < confidence < 1:
        raise ValueError(
            f"n_bootstrap is {n_bootstrap} and confidence {confidence}; at least 2 draws and a confidence between 0 "
            "and 1 are needed"
        )
    return 0.5 - confidence / 2, 0.5 + confidence / 2


def _slopes_by_condition(slopes: pd.DataFrame, argument: str) -> dict[str, dict[str, float]]:
    missing = [name for name in [*_CELL, "slope_ms_per_item"] if name not in slopes]
    if missing:
        raise ValueError(f"{argument} lacks the columns {missing}; give what search_slopes returns")
    if slopes.empty or slopes.duplicated(_CELL).any() or not np.isfinite(slopes["slope_ms_per_item"]).all():
        raise ValueError(
            f"{argument} needs one finite slope for each condition; give what search_slopes returns"
        )
    table: dict[str, dict[str, float]] = {}
    for paradigm, condition, slope in slopes[[*_CELL, "slope_ms_per_item"]].itertuples(index=False):
        table.setdefault(str(paradigm), {})[str(condition)] = float(slope)
    return table


def _human_pair(paradigm: str, own: dict[str, float], people: dict[str, dict[str, float]]) -> tuple[str, str]:
    """Return the conditions of a paradigm, that with people's higher slope first."""
    if paradigm not in people:
        raise ValueError(
            unknown_name_message("paradigm in slopes", paradigm, people, "people have no slopes of it")
        )
    theirs = people[paradigm]
    if len(own) != 2 or set(own) != set(theirs):
        raise ValueError(
            f"paradigm {paradigm!r} has the conditions {sorted(own)} in slopes and {sorted(theirs)} in human; an "
            "asymmetry is between two conditions, the same in both"
        )
    shallower, steeper = sorted(theirs, key=lambda condition: theirs[condition])
    if theirs[shallower] == theirs[steeper]:
        raise ValueError(
            f"people's slopes of paradigm {paradigm!r} are equal: there is no asymmetry to compare with"
        )
    return steeper, shallower


def _index(steeper: ArrayLike, shallower: ArrayLike) -> np.ndarray:
    high, low = np.maximum(steeper, 0.0), np.maximum(shallower, 0.0)
    total = high + low
    return np.divide(high - low, total, out=np.zeros_like(total), where=total != 0)


def _dummies(paradigm: str, trials: pd.DataFrame) -> tuple[np.ndarray, list[str]]:
    """Return a column of 0 and 1 for each condition but the first, and their names."""
    labels = pd.get_dummies(trials["condition"]).sort_index(axis=1).iloc[:, 1:]
    if labels.shape[1] == 0:
        raise ValueError(f"paradigm {paradigm!r} has a single condition: there is nothing to compare")
    return labels.to_numpy(float), [str(name) for name in labels.columns]
