"""Root mean squared error per target: the MCRMSE as a loss."""

from torch import Tensor

from trainer_ext.objectives.base import StepTerm


def mcrmse(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the mean over targets of the root of the mean squared error over rows: a scalar, in the label's unit.

    Args:
        logits, labels: (N, T).
    """
    return ((logits - labels) ** 2).mean(dim=0).sqrt().mean()


class RmseTerm(StepTerm):
    """MCRMSE over the rows of the *whole* optimizer step, averaged over passes.

    A root of a mean does not add up over batches. But with R_t = sqrt(S_t / N), where S_t sums the squared errors of
    target t over all N rows of the step, dR_t = dS_t / (2 N R_t): given S_t, the parts of the gradient that belong to
    the batches do add up. So under gradient accumulation (or on several devices) the trainer first runs the step's
    batches without gradients, under the same dropout, to get S_t; each batch then has its exact share.

    Evaluation averages the value over batches, as every loss there; the metric `mcrmse` is over all rows.
    """

    name = "rmse"

    def total_weight(self, labels: Tensor) -> Tensor:
        """Return the number of rows."""
        # Not of entries: the mean over targets is taken of roots.
        return labels.new_tensor(float(labels.shape[0]))

    def statistics(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return sums of squared errors (K, T)."""
        return ((logits - labels) ** 2).sum(dim=1)

    def share(self, logits: Tensor, labels: Tensor, statistics: Tensor, weight: Tensor) -> Tensor:
        """Return a scalar whose sum over the batches has the value and the gradient of the step's MCRMSE."""
        # The clamps: no root of a rounding error below 0, no division by zero when all is right.
        root = (statistics / weight).clamp(min=0).sqrt().clamp(min=1e-6)
        # Over the batches `part` sums to R, but its gradient to 2 dR: half of it is taken as a constant.
        part = (self.statistics(logits, labels) / (weight * root)).mean()
        return 0.5 * (part + part.detach())
