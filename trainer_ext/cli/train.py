"""Fine-tune an encoder, or evaluate a checkpoint: parse, then run."""

import os
from collections.abc import Sequence

from trainer_ext.arguments.command_line import given_words
from trainer_ext.arguments.first_pass import refuse_wrong_flags
from trainer_ext.arguments.groups import Arguments
from trainer_ext.errors import reported_once
from trainer_ext.log import configure

# transformers has levels of its own; those that are not ours, by the nearest of ours.
OTHER_LEVELS = {"passive": "info", "critical": "error"}


@reported_once()
def main(argv: Sequence[str] | None = None, prog: str = "trainer-ext train") -> None:
    """Refuse wrong flags at once, then load torch, and train or evaluate."""
    # Workers of the data loader are forked, which a tokenizer with threads does not survive.
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    words = given_words(argv)
    # A typo should not cost the seconds that torch takes.
    refuse_wrong_flags(words, prog)
    from trainer_ext.arguments.parser import parse
    from trainer_ext.compression.stages import Compression
    from trainer_ext.cross_validation.dispatch import run
    from trainer_ext.search.dispatch import run_search_or

    args = parse(words)
    level = args.training.log_level
    configure(OTHER_LEVELS.get(level, level))

    def train(args: Arguments) -> dict[str, float]:
        return run(args, Compression(args.model))

    run_search_or(args, train)
