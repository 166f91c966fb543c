"""The names of the out-of-domain scores, apart from their computation: flags are read without numpy."""

# 1 - the largest probability (Hendrycks & Gimpel 2017, arXiv:1610.02136, section 2), and the energy
# -log(sum(exp(logits))) (Liu et al. 2020, arXiv:2010.03759, eq. 4 at T = 1).
OF_LOGITS = ("max_probability", "energy")
# How far the pooled vector is from the nearest class mean (`modeling/distances.py`).
OF_VECTOR = "mahalanobis"
OOD_SCORES = (*OF_LOGITS, OF_VECTOR)
