"""The best values of some flags of a recipe: Optuna proposes, a process trains, the validation rows decide."""
