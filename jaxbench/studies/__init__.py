"""Studies: pure functions of stored results."""

from jaxbench.studies.compare import Comparison, compare_runs
from jaxbench.studies.cost import (
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
from jaxbench.studies.error_consistency import error_consistency
from jaxbench.studies.error_ratios import error_ratios
from jaxbench.studies.factor_files import read_factors
from jaxbench.studies.invariance import invariance_level, paired_change, view_of
from jaxbench.studies.lottery import (
    agreement_matrix,
    drops,
    mean_ranks,
    rank_agreement,
    ranks,
    unified_scores,
)
from jaxbench.studies.lottery_files import read_result_tables
from jaxbench.studies.lottery_own import own_images
from jaxbench.studies.lottery_significance import Improvements, improvements, kept_signs
from jaxbench.studies.lottery_survival import ranking_survival
from jaxbench.studies.optimizer_ranking import (
    TRIMMED_FROM,
    RankedOptimizer,
    RankingColumns,
    rank_optimizers,
    ranking_columns,
)
from jaxbench.studies.power import (
    detectable_difference,
    independent_discordance,
    mcnemar_exact_power,
    mcnemar_images_needed,
    mcnemar_power,
)
from jaxbench.studies.predictions import (
    check_same_images,
    make_responses,
    read_responses,
    stored_responses,
)
from jaxbench.studies.regimes import (
    DISTILLED,
    PLAIN,
    UNKNOWN,
    model_family,
    read_regimes,
    regime_rules,
    training_regime,
)
from jaxbench.studies.robustness import RankDistances, rank_distances
from jaxbench.studies.score_table import ScoreTable, SideBySide, side_by_side
from jaxbench.studies.selective import (
    Change,
    Correlation,
    group_medians,
    median_change,
    metric_correlations,
    regime_changes,
)
from jaxbench.studies.selective_images import Effect, distillation_effect, paired_effect
from jaxbench.studies.selective_severity import severity_curve
from jaxbench.studies.selective_students import find_students
from jaxbench.studies.shape_bias import shape_bias, shape_bias_by_category
from jaxbench.studies.tuning import (
    BestPair,
    TunedTable,
    best_pairs,
    score_table,
    tuned_table,
)
from jaxbench.studies.twins import Twins, distillation_twins
from jaxbench.studies.variant_average import variant_average
from jaxbench.studies.variant_table import VariantTable, table_of_runs
from jaxbench.studies.weight_statistics import (
    pca_energy,
    power_law_fit,
    spectrum,
    value_entropy,
    weight_statistics,
)

__all__ = [
    "DISTILLED",
    "EQ1_MARGINS",
    "PLAIN",
    "TRIMMED_FROM",
    "UNKNOWN",
    "BestPair",
    "Change",
    "Comparison",
    "Correlation",
    "Effect",
    "Failures",
    "Improvements",
    "RankDistances",
    "RankedOptimizer",
    "RankingColumns",
    "ScoreTable",
    "SideBySide",
    "Spread",
    "TunedTable",
    "Twins",
    "VariantTable",
    "agreement_matrix",
    "best_pairs",
    "check_same_images",
    "compare_runs",
    "cost_profiles",
    "detectable_difference",
    "distillation_effect",
    "distillation_twins",
    "drops",
    "error_consistency",
    "error_ratios",
    "failed_pairs",
    "find_students",
    "group_medians",
    "improvements",
    "independent_discordance",
    "invariance_level",
    "kept_signs",
    "make_responses",
    "mcnemar_exact_power",
    "mcnemar_images_needed",
    "mcnemar_power",
    "mean_ranks",
    "median_change",
    "metric_correlations",
    "model_family",
    "own_images",
    "paired_change",
    "paired_effect",
    "pca_energy",
    "performance_profile",
    "plain_statistics",
    "power_law_fit",
    "profile_scores",
    "rank_agreement",
    "rank_distances",
    "rank_optimizers",
    "ranking_columns",
    "ranking_survival",
    "ranks",
    "read_factors",
    "read_regimes",
    "read_responses",
    "read_result_tables",
    "regime_changes",
    "regime_rules",
    "score_table",
    "severity_curve",
    "shape_bias",
    "shape_bias_by_category",
    "side_by_side",
    "spectrum",
    "stored_responses",
    "table_of_runs",
    "time_to_target",
    "training_regime",
    "trimmed_statistics",
    "tuned_table",
    "unified_scores",
    "value_entropy",
    "variant_average",
    "view_of",
    "weight_statistics",
]
