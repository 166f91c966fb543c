"""A teacher that runs beside the student in training, and whose layers the student's are compared with."""

import json
import logging
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from trainer_ext.arguments.distillation import DistillationArguments
from trainer_ext.arguments.groups import Arguments
from trainer_ext.arguments.students import LAYERS as STUDENTS
from trainer_ext.data.preprocessing.plain_checkpoint import is_plain
from trainer_ext.data.preprocessing.tokenize import reset_settings
from trainer_ext.errors import UserError
from trainer_ext.files import read_json, share_weights
from trainer_ext.inference.folder import WEIGHTS, read_pipeline
from trainer_ext.inference.loading import model_names
from trainer_ext.modeling import EncoderWithHead
from trainer_ext.modeling.build import check_positions
from trainer_ext.modeling.layer_sizes import NARROWABLE, Block, blocks_of, evenly
from trainer_ext.modeling.session import load_checkpoint
from trainer_ext.objectives.layer_distillation import (
    ATTENTION,
    HIDDEN,
    hidden_distance,
    relation_divergence,
    scaled_products,
    score_distance,
)

if TYPE_CHECKING:
    from trainer_ext.training.trainer import CustomTrainer

PROJECTIONS = "layer_projections.safetensors"
INPUTS = ("input_ids", "attention_mask", "token_type_ids")
# What two tokenizers must have in common for the same ids to be the same pieces of the same texts.
TOKENIZER_PARTS = ("model", "added_tokens", "normalizer", "pre_tokenizer", "post_processor")

logger = logging.getLogger(__name__)


def load_layer_teacher(
    args: Arguments, tokenizer: PreTrainedTokenizerBase
) -> EncoderWithHead | None:
    """Return the teacher whose layers are read; None if no term needs them.

    Raises:
        UserError: for several models, an export, an encoder without layers, or another tokenizer than the student's.
    """
    objective = args.objective
    if not objective.compares_layers:
        return None
    names = model_names(objective.teacher or ())
    if len(names) > 1:
        raise UserError(
            f"{objective.layer_flag} compares layers with those of one teacher, but there are {len(names)}"
        )
    folder = Path(names[0])
    read_pipeline(folder)  # refuses what is no model
    if is_plain(read_json(folder / "config.json")) or not (folder / WEIGHTS).is_file():
        raise UserError(
            f"{objective.layer_flag} reads the layers of a checkpoint of train.py, which teacher {folder} is not"
        )
    teacher = load_checkpoint(folder, args.model.trust_remote_code)
    if teacher.config.encoder.model_type.removesuffix("_encoder") in STUDENTS:
        raise UserError(f"{objective.layer_flag}: teacher {folder} has no layers to learn from")
    check_same_tokenizer(folder, tokenizer, objective.layer_flag)
    check_positions(teacher.config.encoder, args.data.max_length)
    teacher.requires_grad_(False)
    return teacher.eval()


def check_same_tokenizer(folder: Path, tokenizer: PreTrainedTokenizerBase, flag: str) -> None:
    """Raise `UserError` unless a teacher's tokenizer makes the student's tokens."""
    # Loaded as the student's was, which may change what its file says.
    own = parts_of(AutoTokenizer.from_pretrained(folder))
    others = parts_of(tokenizer)
    for part in TOKENIZER_PARTS:
        if own.get(part) != others.get(part):
            sizes = f"{len(AutoTokenizer.from_pretrained(folder))} and {len(tokenizer)} pieces"
            raise UserError(
                f"{flag} compares tokens one by one, but teacher {folder} has another tokenizer than the student "
                f"(other {part}; {sizes})"
            )


def parts_of(tokenizer: PreTrainedTokenizerBase) -> dict[str, Any]:
    """Return what tokenizer.json says, without what the last call left in it."""
    backend = tokenizer.backend_tokenizer
    reset_settings(backend)
    parts: dict[str, Any] = json.loads(backend.to_str())
    return parts


class LayerProjections(nn.Module):
    """Linear maps from the student's states to the teacher's width, learned beside the student.

    A part of the model while it is trained, so that its gradients are cleared, clipped, shared and averaged like all
    others; but not of what is saved: they are of no use to the student.

    Source: TinyBERT, W_h in eq. 8 (one for all layers) and W_e in eq. 9.

    Args:
        student, teacher: widths.
    """

    def __init__(self, student: int, teacher: int):
        super().__init__()
        self.hidden = nn.Parameter(torch.empty(teacher, student))
        self.embeddings = nn.Parameter(torch.empty(teacher, student))
        for weight in (self.hidden, self.embeddings):
            nn.init.xavier_uniform_(weight)

    def _save_to_state_dict(self, *args: Any, **kwargs: Any) -> None:
        """Save nothing with the model."""

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        """Load nothing from a model."""


class LayerTeacher:
    """Measures, for each token of a batch, how far a student's layers are from those of its teacher.

    Args:
        teacher: frozen, in evaluation mode.
        student: is given `layer_projections` if its width is not the teacher's.
        layer_map: the teacher's layer for each of the student's, from 0; None: evenly, the last to the last.
        compares_hidden, compares_attention: what is measured.

    Raises:
        UserError: for a map that does not fit the layers, and for encoders whose attention is not known.
    """

    def __init__(
        self,
        teacher: EncoderWithHead,
        student: EncoderWithHead,
        layer_map: Sequence[int] | None,
        compares_hidden: bool,
        compares_attention: bool,
    ):
        self.teacher = teacher
        self.student = student
        self.compares_hidden = compares_hidden
        self.compares_attention = compares_attention
        self.projections: LayerProjections | None = None
        check_has_layers(student)
        self.layer_map = checked_map(layer_map, depth_of(student), depth_of(teacher))
        if compares_attention:
            for model in (student, teacher):
                check_attention(model)
        widths = [model.config.encoder.hidden_size for model in (student, teacher)]
        if compares_hidden and widths[0] != widths[1]:
            self.projections = LayerProjections(*widths)
            # The model puts it on its device, and trains it.
            student.layer_projections = self.projections

    def to(self, device: torch.device) -> None:
        """Move the teacher, and what is learned beside the student."""
        self.teacher.to(device)  # type: ignore[arg-type]  # hidden by the wrapper of transformers
        if self.projections is not None:
            self.projections.to(device)

    def measure(
        self,
        inputs: dict[str, Any],
        states: tuple[Tensor, ...],
        passes: int,
    ) -> dict[str, Tensor]:
        """Return (passes, B, L) for each term by its name, the mean over the layers that are compared.

        Args:
            inputs: of the batch, each text once.
            states: of the student: its embeddings and after each layer, (passes * B, L, width).
            passes: over the batch.
        """
        features = {name: inputs[name] for name in INPUTS if name in inputs}
        with torch.no_grad():
            of_teacher = self.teacher(**features, output_hidden_states=True).hidden_states
        own = [state.unflatten(0, (passes, -1)) for state in states]
        measured = {}
        if self.compares_hidden:
            measured[HIDDEN] = self._hidden(own, of_teacher)
        if self.compares_attention:
            measured[ATTENTION] = self._attention(own, of_teacher, inputs["attention_mask"])
        return measured

    def _hidden(self, own: Sequence[Tensor], of_teacher: Sequence[Tensor]) -> Tensor:
        """Return the distances of the embeddings and of each layer's states, their mean."""
        distances = [self._distance("embeddings", own[0], of_teacher[0])]
        for number, layer in enumerate(self.layer_map):
            distances.append(self._distance("hidden", own[number + 1], of_teacher[layer + 1]))
        return torch.stack(distances).mean(dim=0)

    def _distance(self, name: str, own: Tensor, of_teacher: Tensor) -> Tensor:
        """Return the distance of two states; the student's goes through the projection of this name first."""
        # In float32: squares of large states overflow in half precision.
        own = own.float()
        if self.projections is not None:
            own = own @ getattr(self.projections, name).float().T
        return hidden_distance(own, of_teacher.float())

    def _attention(
        self,
        own: Sequence[Tensor],
        of_teacher: Sequence[Tensor],
        mask: Tensor,
    ) -> Tensor:
        """Return the distances of each layer's attention, their mean."""
        blocks, teacher_blocks = blocks_of(self.student.encoder), blocks_of(self.teacher.encoder)
        distances = []
        for number, layer in enumerate(self.layer_map):
            pair = blocks[number], teacher_blocks[layer]
            # The states before a layer are what its attention reads.
            distances.append(attention_distance(*pair, own[number], of_teacher[layer], mask))
        return torch.stack(distances).mean(dim=0)

    def save(self, folder: Path) -> None:
        """Write what is learned beside the student into a checkpoint."""
        if self.projections is None:
            return
        weights = {name: value.detach() for name, value in self.projections.named_parameters()}
        save_file(weights, folder / PROJECTIONS)
        share_weights(folder)

    @torch.no_grad()
    def load(self, folder: Path) -> None:
        """Read it from a checkpoint, or raise `UserError` if it has none."""
        if self.projections is None:
            return
        path = folder / PROJECTIONS
        if not path.is_file():
            raise UserError(
                f"distill_hidden_weight cannot resume from {folder}: it has no {PROJECTIONS}"
            )
        weights = load_file(path)
        for name, parameter in self.projections.named_parameters():
            parameter.copy_(weights[name])


def add_layer_teacher(
    flags: DistillationArguments,
    trainer: "CustomTrainer",
    teacher: EncoderWithHead | None,
) -> None:
    """Let a trainer compare its model's layers with the teacher's, if there is one; log which with which."""
    if teacher is None:
        return
    trainer.layer_teacher = LayerTeacher(
        teacher,
        trainer.model,
        flags.distill_layer_map,
        compares_hidden=flags.distill_hidden_weight > 0,
        compares_attention=flags.distill_attention_weight > 0,
    )
    trainer.layer_teacher.to(trainer.args.device)
    if trainer.is_world_process_zero():
        learned_from = " ".join(map(str, trainer.layer_teacher.layer_map))
        logger.info("the student's layers learn from the teacher's layers %s", learned_from)


def attention_distance(
    student: Block,
    teacher: Block,
    own: Tensor,
    of_teacher: Tensor,
    mask: Tensor,
) -> Tensor:
    """Return (K, B, L): how far the attention of two layers is apart.

    With as many heads these are compared one by one by their scores (TinyBERT). Otherwise the relations of queries,
    keys and values are, each divided anew into as many heads as both widths allow, and their divergences added up
    (MiniLMv2).

    Args:
        student, teacher: the layers.
        own: (K, B, L, width), what the student's layer reads.
        of_teacher: (B, L, width), what the teacher's reads.
        mask: (B, L).
    """
    projected = projections_of(student, own)
    with torch.no_grad():
        expected = projections_of(teacher, of_teacher)
    if student.heads == teacher.heads:
        scores = scaled_products(projected[0], projected[1], student.heads)
        expected_scores = scaled_products(expected[0], expected[1], teacher.heads)
        return score_distance(scores, expected_scores, mask)
    heads = relation_heads(projected[0].shape[-1], expected[0].shape[-1], teacher.heads)
    divergences = []
    for vectors, expected_vectors in zip(projected, expected, strict=True):
        relation = scaled_products(vectors, vectors, heads)
        expected_relation = scaled_products(expected_vectors, expected_vectors, heads)
        divergences.append(relation_divergence(relation, expected_relation, mask))
    return torch.stack(divergences).sum(dim=0)


def projections_of(block: Block, states: Tensor) -> list[Tensor]:
    """Return queries, keys and values, in float32."""
    return [getattr(block.attention, name)(states).float() for name in block.projections]


def relation_heads(student: int, teacher: int, most: int) -> int:
    """Return the largest number of heads, at most `most`, that divides the widths of all heads of both."""
    common = math.gcd(student, teacher)
    return max(count for count in range(1, most + 1) if common % count == 0)


def depth_of(model: EncoderWithHead) -> int:
    """Return the number of layers of an encoder."""
    depth: int = model.config.encoder.num_hidden_layers
    return depth


def check_has_layers(student: EncoderWithHead) -> None:
    """Raise `UserError` for a student that is no transformer."""
    kind = student.config.encoder.model_type.removesuffix("_encoder")
    if kind in STUDENTS:
        raise UserError(
            f"distill_hidden_weight and distill_attention_weight are for transformers, but a {kind} is none"
        )


def check_attention(model: EncoderWithHead) -> None:
    """Raise `UserError` for an encoder whose queries and keys are not known here."""
    kind = model.config.encoder.model_type
    if kind not in NARROWABLE:
        raise UserError(
            f"distill_attention_weight: the attention of an encoder of the kind {kind} is not known; those that are: "
            f"{', '.join(NARROWABLE)}"
        )


def checked_map(layer_map: Sequence[int] | None, depth: int, teacher_depth: int) -> list[int]:
    """Return the teacher's layer for each of the student's.

    Raises:
        UserError: for another number of them than layers, for one that the teacher does not have, and without a map if
            the student is deeper than its teacher.
    """
    if layer_map is None:
        if depth > teacher_depth:
            raise UserError(
                f"the student has {depth} layers and its teacher {teacher_depth}: say with --distill_layer_map which "
                "each learns from"
            )
        return evenly(teacher_depth, depth)
    shown = " ".join(map(str, layer_map))
    if len(layer_map) != depth:
        raise UserError(
            f"distill_layer_map {shown} names {len(layer_map)} layers, but the student has {depth}"
        )
    if max(layer_map) >= teacher_depth:
        raise UserError(
            f"distill_layer_map {shown}: the teacher has {teacher_depth} layers, counted from 0"
        )
    return list(layer_map)
