"""The objective that the flags describe."""

from trainer_ext.arguments import ObjectiveArguments
from trainer_ext.errors import UserError
from trainer_ext.objectives.base import Objective, Term
from trainer_ext.objectives.cross_entropy import CrossEntropyTerm
from trainer_ext.objectives.focal import FocalTerm
from trainer_ext.objectives.joint import SlotTerm
from trainer_ext.objectives.rdrop import RDropTerm
from trainer_ext.tasks import Task


def build_objective(args: ObjectiveArguments, task: Task) -> Objective:
    """Cross entropy, or Focal Loss with `focal_gamma`; plus R-Drop with `rdrop_alpha`.

    For intents and slots the same terms on both heads, those on the slots times `slot_loss_weight`.

    Raises:
        UserError: when `focal_alpha` has neither one value nor one per class.
    """
    classes = len(task.label_space.classes)
    if args.focal_alpha and len(args.focal_alpha) not in (1, classes):
        raise UserError(f"focal_alpha has {len(args.focal_alpha)} values, but there are {classes} classes")
    main: Term = FocalTerm(args.focal_gamma, args.focal_alpha) if args.focal_gamma else CrossEntropyTerm()
    terms = [(1.0, main)]
    if args.rdrop_alpha:
        terms.append((args.rdrop_alpha, RDropTerm()))
    if task.token_classes and args.slot_loss_weight:
        terms += [(args.slot_loss_weight * weight, SlotTerm(term)) for weight, term in terms]
    return Objective(tuple(terms))
