"""Quantize the mounted model into the one file that the container may write, with llama.cpp's own quantizer.

Its words are lines on standard output, and the exit status says whether it has finished.
"""

import _thread
import ctypes
import os
from collections.abc import Sequence

# Part of the image only, so a type checker outside it finds nothing.
import llama_cpp.llama_cpp as bindings  # type: ignore[import-not-found]

__all__ = ["main"]

STDIN_FD = 0
STDOUT_FD = 1
STDERR_FD = 2
EXIT_REFUSED = 1
EXIT_ABANDONED = 2


def _end_with_input() -> None:
    # The command that started this holds the other end: when it is killed, there is nobody to take the result.
    while os.read(STDIN_FD, 1):
        pass
    os._exit(EXIT_ABANDONED)


def main(arguments: Sequence[str]) -> int:
    """Quantize, and return the exit status.

    Args:
        arguments: the model's path, the result's path, the number of the file type (`enum llama_ftype`) and the number
            of threads.
    """
    source, target, file_type, threads = arguments
    # llama.cpp writes its words to standard error.
    os.dup2(STDOUT_FD, STDERR_FD, inheritable=False)
    _thread.start_new_thread(_end_with_input, ())
    bindings.llama_backend_init()
    parameters = bindings.llama_model_quantize_default_params()
    parameters.ftype = int(file_type)
    parameters.nthread = int(threads)
    # From a quantized model too; the supervisor has said what that costs.
    parameters.allow_requantize = True
    status = bindings.llama_model_quantize(source.encode("utf-8"), target.encode("utf-8"), ctypes.byref(parameters))
    return 0 if status == 0 else EXIT_REFUSED
