"""Augment, filter or label rows with any OpenAI-compatible endpoint.

--mode augment: every row (with its number as `id` if rows have none), then paraphrases of each with `source_id` and
`operation` (llm), for --train_file.

--mode filter: the rows that the model judges worth keeping, with `judge_score` and `judge_reason`.

--mode label: every row with one of --label_names and an `explanation`.

What is left out, also for want of budget, lies in OUTPUT.rejected.jsonl (OUTPUT without its ending), with the reason.
Both files are written anew each time. Valid answers are cached: the same command goes on where an interrupted one
stopped, and asks for what has no answer yet. A key is read from OPENAI_API_KEY.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from trainer_ext.cli.options import CommandOptions, read_options
from trainer_ext.data.llm.options import LlmOptions, settle
from trainer_ext.errors import Interrupted, UserError


@dataclass(kw_only=True)
class LlmFlags(LlmOptions, CommandOptions):
    """The flags of `llm`."""


def main(argv: Sequence[str] | None = None, prog: str = "trainer-ext llm") -> None:
    """Do one job."""
    flags = read_options(LlmFlags, argv, prog, __doc__)
    settle(flags)
    try:
        from trainer_ext.data.llm.run import run  # needs the extra

        run(flags)
    except ModuleNotFoundError as error:
        # Any other module that is missing is an error of ours, and not an extra to install.
        if error.name not in ("httpx2", "openai", "pydantic"):
            raise
        raise UserError(f"{error.name} is not installed: pip install -e .[llm]") from None
    except KeyboardInterrupt:
        # Replies cost money: say that they are not lost.
        raise Interrupted(
            "interrupted; replies so far are in the cache: the same command goes on"
        ) from None
