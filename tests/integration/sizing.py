"""Let llama.cpp make models from heads alone, and a context of each; what it says goes to a file beside the head.

    python sizing.py CONTEXT_TOKENS BATCH_TOKENS NAME...

Runs inside the runtime image, sent there as text. Nothing of a model's size is allocated (`no_alloc`). Each head has a
process of its own, since llama.cpp ends the process where it does not like one.
"""

import ctypes
import os
import sys

sys.path.insert(0, "/opt/weos/lib")

import llama_cpp.llama_cpp as bindings  # type: ignore[import-not-found] # part of the image only

LIBRARIES = "/opt/weos/lib/llama_cpp/lib"
HEADS = "/heads"
STDERR = 2


class _Reading(ctypes.Structure):
    """gguf.h, struct gguf_init_params."""

    _fields_ = (("no_alloc", ctypes.c_bool), ("context", ctypes.c_void_p))


def _make(path: str, context_tokens: int, batch_tokens: int) -> None:
    gguf = ctypes.CDLL(f"{LIBRARIES}/libggml-base.so.0")
    gguf.gguf_init_from_file.restype = ctypes.c_void_p
    gguf.gguf_init_from_file.argtypes = (ctypes.c_char_p, _Reading)
    llama = ctypes.CDLL(f"{LIBRARIES}/libllama.so")
    parameters = bindings.llama_model_default_params()
    parameters.no_alloc = True
    llama.llama_model_init_from_user.restype = ctypes.c_void_p
    llama.llama_model_init_from_user.argtypes = (
        *(ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p),
        type(parameters),
    )
    bindings.llama_backend_init()
    head = gguf.gguf_init_from_file(path.encode(), _Reading(True, None))
    model = llama.llama_model_init_from_user(head, None, None, parameters)
    if not model:
        return
    # As the runner makes its context (runtime-image/runner/model.py).
    wanted = bindings.llama_context_default_params()
    wanted.n_ctx = context_tokens
    wanted.n_batch = wanted.n_ubatch = batch_tokens
    wanted.n_seq_max = wanted.n_outputs_max = 1
    wanted.swa_full = False
    bindings.llama_init_from_model(model, wanted)


def main() -> None:
    """Give every head a process."""
    context_tokens, batch_tokens = map(int, sys.argv[1:3])
    for name in sys.argv[3:]:
        child = os.fork()
        if child == 0:
            log = os.open(f"{HEADS}/{name}.log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
            os.dup2(log, STDERR)
            _make(f"{HEADS}/{name}", context_tokens, batch_tokens)
            os._exit(0)
        os.waitpid(child, 0)


if __name__ == "__main__":
    main()
