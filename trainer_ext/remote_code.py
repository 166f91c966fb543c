"""Code that a model's folder or repository brings along: run only for those who ask for it."""

NOT_HERE = "not run here"
WITH_FLAG = "run only with --trust_remote_code"
LONGEST = 300  # characters of a library's message


def why_not_loaded(error: Exception, code_is: str) -> str:
    """One line for what transformers says of a model that it does not load.

    Where it asks for leave to run the model's code, its advice is an argument that our users do not have.
    """
    if "trust_remote_code" in str(error):
        return f"it brings code of its own, which is {code_is}"
    return reason_of(error)


def reason_of(error: Exception) -> str:
    """The message in one line; of those that are one word (KeyError), and of empty ones, the type as well."""
    text = " ".join(str(error).split())[:LONGEST]
    return text if " " in text else f"{type(error).__name__} {text}".strip()
