"""Encoders whose classes are code of a model's folder or repository, for those who ask for it (--trust_remote_code).

The code's names stand in the `auto_map` of the encoder's config; its files lie beside the config, or in the repository
that the `auto_map` names. Leave is always an argument, never something that a folder says of itself.
"""

from pathlib import Path
from typing import Any

from transformers import CONFIG_MAPPING, AutoConfig, AutoModel, PretrainedConfig, PreTrainedModel
from transformers.dynamic_module_utils import custom_object_save, get_class_from_dynamic_module

from trainer_ext.errors import UserError
from trainer_ext.modeling.configuration import EncoderWithHeadConfig
from trainer_ext.remote_code import WITH_FLAG


def read_config(name: str | Path, trust_remote_code: bool) -> PretrainedConfig:
    """The config of an encoder, or of a checkpoint of ours around one.

    Raises:
        UserError: for an encoder that is code of its own, when that may not be run.
    """
    values, _ = PretrainedConfig.get_config_dict(name)
    encoder = values.get("encoder")
    if values.get("model_type") != EncoderWithHeadConfig.model_type or not isinstance(
        encoder, dict
    ):
        return AutoConfig.from_pretrained(name, trust_remote_code=trust_remote_code)
    code = code_of(encoder, "AutoConfig")
    if code and trust_remote_code:
        values["encoder"] = get_class_from_dynamic_module(code, str(name)).from_dict(encoder)
    elif code and encoder.get("model_type") not in CONFIG_MAPPING:
        raise UserError(
            f"model {name} cannot be loaded: it brings code of its own, which is {WITH_FLAG}"
        )
    config = EncoderWithHeadConfig.from_dict(values)
    config.encoder._name_or_path = str(name)  # where its code lies
    return config


def code_of(encoder: PretrainedConfig | dict[str, Any], auto_class: str) -> str | None:
    """The class that a config names for `AutoConfig` or `AutoModel`, as `file.Class` or `repository--file.Class`."""
    names = (
        encoder.get("auto_map") if isinstance(encoder, dict) else getattr(encoder, "auto_map", None)
    )
    return names.get(auto_class) if isinstance(names, dict) else None


def model_class(encoder: PretrainedConfig, trust_remote_code: bool) -> type[PreTrainedModel]:
    """The class of an encoder.

    Raises:
        UserError: when it is code of its own that may not be run.
    """
    code = code_of(encoder, "AutoModel")
    if code and trust_remote_code:
        return get_class_from_dynamic_module(code, encoder.name_or_path)
    if code and type(encoder) not in AutoModel._model_mapping:
        raise UserError(f"the encoder is code of its own, which is {WITH_FLAG}")
    return AutoModel._model_mapping[type(encoder)]


def save_code(encoder: PreTrainedModel, folder: str | Path) -> None:
    """Copy the files of an encoder's code beside its weights, unless a repository is named for them."""
    for part, auto_class in ((encoder, "AutoModel"), (encoder.config, "AutoConfig")):
        code = code_of(encoder.config, auto_class)
        if code and "--" not in code and type(part).__module__.startswith("transformers_modules."):
            custom_object_save(part, folder)
