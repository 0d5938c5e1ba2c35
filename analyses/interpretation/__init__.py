"""What routing by attention does: where it looks, what it follows, and what is lost without what it looks at."""

from analyses.interpretation.attention import (
    attention_entropy_bits,
    content_dependence,
    effective_tokens,
    split_map_variance,
    upsample_maps,
)
from analyses.interpretation.eccentricity import (
    TokenGrid,
    attention_centroid_deg,
    attention_spread_deg,
    eccentricity_profile,
    mean_eccentricity_deg,
    polar_angle_deg,
)
from analyses.interpretation.eccentricity_agreement import EccentricityAgreement, compare_eccentricity
from analyses.interpretation.lesion_effect import LesionEffect, lesion_effect
from analyses.interpretation.lesions import lesion_tokens
from analyses.interpretation.pointing import PointingGame, box_masks, pointing_game
from analyses.interpretation.queries import (
    compare_query_groups,
    query_coordinates,
    query_order,
    query_similarity,
)
from analyses.interpretation.regions import category_shares, region_attention, region_cover

__all__ = [
    "EccentricityAgreement",
    "LesionEffect",
    "PointingGame",
    "TokenGrid",
    "attention_centroid_deg",
    "attention_entropy_bits",
    "attention_spread_deg",
    "box_masks",
    "category_shares",
    "compare_eccentricity",
    "compare_query_groups",
    "content_dependence",
    "eccentricity_profile",
    "effective_tokens",
    "lesion_effect",
    "lesion_tokens",
    "mean_eccentricity_deg",
    "pointing_game",
    "polar_angle_deg",
    "query_coordinates",
    "query_order",
    "query_similarity",
    "region_attention",
    "region_cover",
    "split_map_variance",
    "upsample_maps",
]
