"""Code that a model's folder or repository brings along: it runs only for those who ask for it."""

from trainer_ext.errors import describe_error

NOT_HERE = "not run here"
WITH_FLAG = "run only with --trust_remote_code"


def why_not_loaded(error: Exception, code_is: str) -> str:
    """Return in one line why transformers does not load a model.

    If it asks for permission to run the model's code, its advice names an argument that our users do not have.
    """
    if "trust_remote_code" in str(error):
        return f"it brings code of its own, which is {code_is}"
    return describe_error(error)
