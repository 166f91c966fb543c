"""The config of an encoder with a head: everything a fresh process needs to rebuild and use it."""

from typing import Any

from transformers import AutoConfig, PretrainedConfig

OF_THE_ENCODER = ("vocab_size", "max_position_embeddings")


class EncoderWithHeadConfig(PretrainedConfig):
    """Encoder config plus head.

    Args:
        encoder: config (or its dict, with `model_type`) of any `AutoModel` encoder.
        head_shape: shape of the logits of one row, e.g. [10] or [18, 4].
        token_classes: size of a second head on each token's state; 0: no such head.
        pooling: how token states become one vector (`trainer_ext.modeling.pooling`).
        head_dropout: dropout before the head.
        logit_mean, logit_scale: the head's outputs times scale plus mean are the logits (regression: one number per
            target, so that the head starts on the scale of the labels). None: the outputs are the logits.
        multi_sample_dropout: number of dropout masks before the head while training.
        layer_sizes: heads and inner size of each encoder layer, `{"heads": 2, "inner": 256}`, if it was narrowed; None:
            as the encoder's config says. The width of a head stays hidden size / heads of that config.
        ood_classes: how many class means the pooled vector's distance is taken to, a further output; 0: none.
        pipeline: what inference needs beside the weights, as `Pipeline.to_dict` returns it.
    """

    model_type = "encoder_with_head"
    # Whether the weights were trained with the rounding of the INT8 export.
    quantisation_aware = False
    # AutoConfig picks the class by `model_type`; transformers' annotation does not provide for it.
    sub_configs = {"encoder": AutoConfig}  # type: ignore[dict-item]

    def __init__(
        self,
        encoder: PretrainedConfig | dict[str, Any] | None = None,
        head_shape: list[int] | None = None,
        token_classes: int = 0,
        pooling: str = "cls",
        head_dropout: float = 0.1,
        logit_mean: list[float] | None = None,
        logit_scale: list[float] | None = None,
        multi_sample_dropout: int = 1,
        layer_sizes: list[dict[str, int]] | None = None,
        ood_classes: int = 0,
        pipeline: dict[str, Any] | None = None,
        **kwargs: Any,
    ):
        # Those of the encoder, repeated in config.json for who reads it.
        for name in OF_THE_ENCODER:
            kwargs.pop(name, None)
        # transformers builds a config without arguments to find out which values are defaults.
        if encoder is None:
            encoder = AutoConfig.for_model("bert")
        elif isinstance(encoder, dict):
            encoder = AutoConfig.for_model(**encoder)
        self.encoder: PretrainedConfig = encoder
        self.head_shape = list(head_shape or [2])
        self.token_classes = token_classes
        self.pooling = pooling
        self.head_dropout = head_dropout
        self.logit_mean = logit_mean
        self.logit_scale = logit_scale
        self.multi_sample_dropout = multi_sample_dropout
        self.layer_sizes = layer_sizes
        self.ood_classes = ood_classes
        self.pipeline = pipeline or {}
        super().__init__(**kwargs)

    def to_dict(self) -> dict[str, Any]:
        """Return the content of config.json, with the encoder's sizes where tools look for them."""
        content = super().to_dict()
        for name in OF_THE_ENCODER:
            if hasattr(self.encoder, name):
                content[name] = getattr(self.encoder, name)
        return content

    @property
    def hidden_size(self) -> int:
        """Return the width of the encoder's states."""
        width: int = self.encoder.hidden_size
        return width
