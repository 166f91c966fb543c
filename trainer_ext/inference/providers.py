"""Where an ONNX file runs: the best provider that this onnxruntime has, or the one asked for and no other."""

from pathlib import Path

import onnxruntime as ort

from trainer_ext.errors import UserError, describe_error
from trainer_ext.inference.folder import note_once

# Best first: `auto` takes the first that this onnxruntime has and that loads the file.
PROVIDERS = {
    "tensorrt": "TensorrtExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "openvino": "OpenVINOExecutionProvider",
    "cpu": "CPUExecutionProvider",
}
CHOICES = ("auto", *PROVIDERS)
# The oldest onnxruntime that knows the operator Attention of INT8 files. setup.cfg asks for a newer one where it can.
OLDEST = (1, 23)
# Each of these would compute float32 models in less than float32 where the hardware has it, and answer differently
# than was proven: TF32 has 10 bits of mantissa, bfloat16 has 7.
PROVIDER_OPTIONS: dict[str, dict[str, str]] = {
    "cuda": {"use_tf32": "0"},
    "openvino": {
        "device_type": "CPU",
        "load_config": '{"CPU": {"INFERENCE_PRECISION_HINT": "f32"}}',
    },
}


def open_on(
    path: Path,
    options: ort.SessionOptions,
    provider: str,
    dynamic_int8: bool,
) -> tuple[ort.InferenceSession, str]:
    """Load a file on the provider asked for, or with `auto` on the best there is.

    Args:
        path: of the file.
        options: of the session.
        provider: one of `CHOICES`.
        dynamic_int8: whether the file scales activations at run time; only the CPU has such operators.

    Returns:
        The session, and the name of its provider.

    Raises:
        UserError: if the file cannot be loaded, or not on that provider.
    """
    check_provider(provider)
    if dynamic_int8 and provider == "auto":
        note_once("provider cpu: dynamic INT8 runs on CPUs only")
        provider = "cpu"
    if dynamic_int8 and provider != "cpu":
        raise UserError(
            f"provider {provider} cannot run the INT8 model: use model.onnx, or provider cpu"
        )
    if provider == "auto":
        return open_on_best(path, options)
    reason = why_not(provider)
    if reason:
        raise UserError(f"provider {provider} is {reason}")
    return open_session(path, options, provider), provider


def check_provider(provider: str) -> None:
    """Raise `UserError` for a provider that does not exist."""
    if provider not in CHOICES:
        raise UserError(f"provider {provider!r} is not one of {', '.join(CHOICES)}")


def open_on_best(path: Path, options: ort.SessionOptions) -> tuple[ort.InferenceSession, str]:
    """Load a file on the first provider that can run it, and note why none before it was taken."""
    skipped: dict[str, list[str]] = {}
    for name in PROVIDERS:
        reason = why_not(name)
        if not reason:
            try:
                session = open_session(path, options, name)
            except UserError as error:
                # Nothing comes after the CPU: what it says of the file is what the user needs.
                if name == "cpu":
                    raise
                reason = f"not usable: {error}"
            else:
                note_once(choice_note(name, skipped))
                return session, name
        skipped.setdefault(reason, []).append(name)
    raise UserError(f"{path}: onnxruntime has no provider at all: {skipped}")


def choice_note(taken: str, skipped: dict[str, list[str]]) -> str:
    """Say which provider was taken, and why the better ones were not; `skipped` has their names by reason."""
    reasons = []
    for reason, names in skipped.items():
        reasons.append(f"{', '.join(names)} {reason}")
    if not reasons:
        return f"provider {taken}"
    return f"provider {taken}: {'; '.join(reasons)}"


def why_not(name: str) -> str:
    """Return why a provider cannot be taken, as the end of a sentence; empty if it can be tried."""
    available = ort.get_available_providers()
    if PROVIDERS[name] not in available:
        return f"not available: onnxruntime offers {', '.join(available)}"
    return ""


def too_old(version: str) -> str:
    """Return what to do about an onnxruntime that cannot be expected to load an export; empty if it can."""
    major, minor = version.split(".")[:2]
    if (int(major), int(minor)) >= OLDEST:
        return ""
    oldest = ".".join(map(str, OLDEST))
    return f"onnxruntime {version} is older than {oldest}: pip install -U onnxruntime"


def open_session(path: Path, options: ort.SessionOptions, provider: str) -> ort.InferenceSession:
    """Load a file on a provider; `UserError` if that fails, or if onnxruntime takes another one instead."""
    wanted = PROVIDERS[provider]
    try:
        session = ort.InferenceSession(
            str(path),
            options,
            providers=[wanted],
            provider_options=[PROVIDER_OPTIONS.get(provider, {})],
        )
    except Exception as error:  # onnxruntime raises its own types, one per cause
        reason = too_old(ort.__version__) or describe_error(error)
        raise UserError(f"{path} cannot be loaded: {reason}") from error
    # onnxruntime falls back to the CPU without an error when a provider's libraries cannot be loaded.
    if wanted not in session.get_providers():
        raise UserError(
            f"{path}: onnxruntime fell back from {provider} to {', '.join(session.get_providers())}"
        )
    return session
