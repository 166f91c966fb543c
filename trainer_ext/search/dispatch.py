"""Whether a command line of train asks for a search, or for a training."""

from collections.abc import Callable

from trainer_ext.arguments.groups import Arguments
from trainer_ext.compression.dispatch import run_compression
from trainer_ext.errors import UserError


def run_search_or(
    args: Arguments,
    train: Callable[[Arguments], dict[str, float]],
) -> dict[str, float]:
    """Search if it is asked for, else train (one model, a chain, or several widths).

    Args:
        args: as `parse` checked them.
        train: trains one model, or evaluates it with `do_train false`.

    Returns:
        What metrics.json of the best trial, or of the training, holds.
    """
    if not args.folds.search:
        return run_compression(args, train)
    try:
        from trainer_ext.search.run import run_search
    except ModuleNotFoundError as error:
        raise UserError(
            f"search {args.folds.search} needs {error.name}: pip install -e '.[search]'"
        ) from error
    return run_search(args)
