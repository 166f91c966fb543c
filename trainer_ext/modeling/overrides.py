"""`--config_overrides`: values of the encoder's config, given as text."""

from transformers import PretrainedConfig

from trainer_ext.errors import UserError, did_you_mean

LAYERS = "num_hidden_layers"


def override_config(
    config: PretrainedConfig,
    overrides: str | None,
    pretrained: bool = False,
) -> None:
    """Set `name=value,...` (as the examples of transformers write them) in `config`.

    Source of dropping the top layers: Sajjad et al. (arXiv:2004.03844).

    Raises:
        UserError: for a name the config does not have, a value it refuses, or, with `pretrained`, anything but dropout
            and fewer layers: pretrained weights keep their shape.
    """
    for item in (overrides or "").split(","):
        if item:
            set_value(config, item, pretrained)


def set_value(config: PretrainedConfig, item: str, pretrained: bool) -> None:
    """Set one `name=value`."""
    name, equals, value = (part.strip() for part in item.partition("="))
    if not equals or not hasattr(config, name):
        raise UserError(
            f"config_overrides: {item!r} is not a name=value of a {config.model_type} config"
            f"{did_you_mean(name, vars(config))}"
        )
    if pretrained and "dropout" not in name and name != LAYERS:
        raise UserError(
            f"config_overrides: {item!r}: only dropout and {LAYERS} of a pretrained encoder can be set"
        )
    before = getattr(config, name)
    try:
        config.update_from_string(f"{name}={value}")
    except ValueError as error:
        raise UserError(f"config_overrides: {error}") from error
    if pretrained and name == LAYERS and not 1 <= config.num_hidden_layers <= before:
        raise UserError(f"config_overrides: {item!r}: the pretrained encoder has {before} layers")
