"""Studies: pure functions of stored results."""

from jaxbench.studies.compare import Comparison, compare_runs
from jaxbench.studies.cost import (
    CostProfile,
    cost_profiles,
    performance_profile,
    profile_scores,
    time_to_target,
)
from jaxbench.studies.coupling_bias import (
    EQ1_MARGINS,
    Failures,
    Spread,
    failed_pairs,
    plain_statistics,
    trimmed_statistics,
)
from jaxbench.studies.optimizer_ranking import (
    RANKING_WEIGHTS,
    RankedOptimizer,
    RankingColumns,
    rank_optimizers,
    ranking_columns,
)
from jaxbench.studies.robustness import (
    DistanceSummary,
    RankDistances,
    rank_distances,
)
from jaxbench.studies.score_table import ScoreTable, SideBySide, side_by_side
from jaxbench.studies.tuning import (
    BestPair,
    TunedTable,
    best_pairs,
    score_table,
    tuned_table,
)
from jaxbench.studies.weight_statistics import (
    LayerStatistics,
    PowerLaw,
    pca_energy,
    power_law_fit,
    spectrum,
    value_entropy,
    weight_statistics,
)

__all__ = [
    "EQ1_MARGINS",
    "RANKING_WEIGHTS",
    "BestPair",
    "Comparison",
    "CostProfile",
    "DistanceSummary",
    "Failures",
    "LayerStatistics",
    "PowerLaw",
    "RankDistances",
    "RankedOptimizer",
    "RankingColumns",
    "ScoreTable",
    "SideBySide",
    "Spread",
    "TunedTable",
    "best_pairs",
    "compare_runs",
    "cost_profiles",
    "failed_pairs",
    "pca_energy",
    "performance_profile",
    "plain_statistics",
    "power_law_fit",
    "profile_scores",
    "rank_distances",
    "rank_optimizers",
    "ranking_columns",
    "score_table",
    "side_by_side",
    "spectrum",
    "time_to_target",
    "trimmed_statistics",
    "tuned_table",
    "value_entropy",
    "weight_statistics",
]
