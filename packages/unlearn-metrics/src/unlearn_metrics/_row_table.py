"""The table of rows: one line per row with every metric that the row can give."""

IDENTITY = ("set", "id", "subject", "task", "modality")

#: What follows from the scored answers of a row.
SCORE_METRICS = (
    "loss",
    "paraphrase_loss",
    "perturbed_loss",
    "probability",
    "normalized_probability",
    "truth_ratio",
    "mcq_accuracy",
    "exact_memorization",
    "extraction_strength",
    "extraction_strength_ou",
    "min_k",
    "min_k_pp",
    "zlib_ratio",
    "grad_norm",
    "reference",
)
#: What follows from its generated answers; with several samples a row, `leak_at_<k>` comes on top.
GENERATION_METRICS = ("rouge_l_recall", "keyword_accuracy", "keyword_em", "cloze_accuracy")
METRICS = (*SCORE_METRICS, *GENERATION_METRICS)
