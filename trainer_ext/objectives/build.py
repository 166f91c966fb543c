"""The objective that the flags describe."""

from trainer_ext.arguments import ObjectiveArguments
from trainer_ext.errors import UserError
from trainer_ext.objectives.base import Objective, Term
from trainer_ext.objectives.cross_entropy import CrossEntropyTerm
from trainer_ext.objectives.focal import FocalTerm
from trainer_ext.objectives.rdrop import RDropTerm
from trainer_ext.tasks import Task


def build_objective(args: ObjectiveArguments, task: Task) -> Objective:
    """Cross entropy, or Focal Loss with `focal_gamma`; plus R-Drop with `rdrop_alpha`.

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
    return Objective(tuple(terms))
