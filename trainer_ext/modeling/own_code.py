"""Encoders whose classes are code of a model's folder or repository, for those who ask for it (--trust_remote_code).

The code's names are in the `auto_map` of the encoder's config; its files are beside the config, or in the repository
that the `auto_map` names. Permission is always an argument, never something that a folder claims for itself.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transformers import CONFIG_MAPPING, AutoConfig, AutoModel, PretrainedConfig, PreTrainedModel
from transformers.dynamic_module_utils import custom_object_save, get_class_from_dynamic_module

from trainer_ext.errors import UserError
from trainer_ext.modeling.configuration import EncoderWithHeadConfig
from trainer_ext.remote_code import WITH_FLAG


def is_checkpoint(name: str | Path) -> bool:
    """Return whether a folder, or a model on the hub, is a checkpoint of ours."""
    values, _ = PretrainedConfig.get_config_dict(name)
    return is_ours(values)


def is_ours(values: Mapping[str, Any]) -> bool:
    """Return whether the content of a config.json describes a checkpoint of ours."""
    return bool(values.get("model_type") == EncoderWithHeadConfig.model_type)


def read_config(name: str | Path, trust_remote_code: bool) -> PretrainedConfig:
    """Return the config of an encoder, or of a checkpoint of ours around one.

    Raises:
        UserError: for an encoder that is code of its own, if that may not be run.
    """
    values, _ = PretrainedConfig.get_config_dict(name)
    encoder = values.get("encoder")
    if not is_ours(values) or not isinstance(encoder, dict):
        found: PretrainedConfig = AutoConfig.from_pretrained(
            name, trust_remote_code=trust_remote_code
        )
        return found
    code = code_of(encoder, "AutoConfig")
    if code and trust_remote_code:
        config_class: type[PretrainedConfig] = get_class_from_dynamic_module(code, str(name))
        values["encoder"] = config_class.from_dict(encoder)
    elif code and encoder.get("model_type") not in CONFIG_MAPPING:
        raise UserError(
            f"model {name} cannot be loaded: it brings code of its own, which is {WITH_FLAG}"
        )
    config: EncoderWithHeadConfig = EncoderWithHeadConfig.from_dict(values)
    # transformers looks for the encoder's code there.
    config.encoder._name_or_path = str(name)
    return config


def code_of(encoder: PretrainedConfig | dict[str, Any], auto_class: str) -> str | None:
    """Return the class that a config names for `AutoConfig` or `AutoModel`, or None.

    It is `file.Class` of the same folder, or `repository--file.Class`.
    """
    values = encoder if isinstance(encoder, dict) else vars(encoder)
    names = values.get("auto_map")
    return names.get(auto_class) if isinstance(names, dict) else None


def model_class(encoder: PretrainedConfig, trust_remote_code: bool) -> type[PreTrainedModel]:
    """Return the class of an encoder.

    Raises:
        UserError: if it is code of its own that may not be run.
    """
    code = code_of(encoder, "AutoModel")
    if code and trust_remote_code:
        own_class: type[PreTrainedModel] = get_class_from_dynamic_module(
            code, str(encoder.name_or_path)
        )
        return own_class
    known: dict[type[PretrainedConfig], Any] = AutoModel._model_mapping
    if code and type(encoder) not in known:
        raise UserError(f"the encoder is code of its own, which is {WITH_FLAG}")
    known_class: type[PreTrainedModel] = known[type(encoder)]
    return known_class


def save_code(encoder: PreTrainedModel, folder: str | Path) -> None:
    """Copy the files of an encoder's code beside its weights, unless they are in a repository."""
    for part, auto_class in ((encoder, "AutoModel"), (encoder.config, "AutoConfig")):
        code = code_of(encoder.config, auto_class)
        is_in_folder = code is not None and "--" not in code
        # The class may also be one that transformers has, under the same name.
        if is_in_folder and type(part).__module__.startswith("transformers_modules."):
            custom_object_save(part, folder)
