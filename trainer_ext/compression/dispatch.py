"""Which runs a command line of train asks for: one, a chain of stages, or one for each of several widths."""

from collections.abc import Callable

from trainer_ext.arguments.groups import Arguments


def run_compression(
    args: Arguments,
    train: Callable[[Arguments], dict[str, float]],
) -> dict[str, float]:
    """Train what is asked for.

    Args:
        args: as `parse` checked them.
        train: trains one model, or evaluates it with `do_train false`.

    Returns:
        What metrics.json holds; of several widths the metric of each.
    """
    if not args.training.do_train:
        return train(args)
    # Inside: they export and measure, and need packages that training does not.
    if args.model.is_chain:
        from trainer_ext.compression.chain import run_chain

        return run_chain(args, train)
    if args.model.has_widths:
        from trainer_ext.compression.widths import run_widths

        return run_widths(args, train)
    return train(args)
