"""llama-cpp-python in one process: a greedy loop over its low-level bindings, timed, and nothing of ours in it.

Run by the runtime image's own Python (`benchmarks.peers.inprocess`), which has little of the standard library.
Arguments: where the bindings lie, and what to do, as JSON. Prints tokens per second from the first generated token
to the last.
"""

import json
import posix
import sys
import time

sys.path.insert(0, sys.argv[1])

# Installed in the image only, so a type checker outside it does not find it.
import llama_cpp.llama_cpp as bindings  # type: ignore[import-not-found]


def main() -> None:
    """Load, compute one token to warm up, generate, and print the rate."""
    job = json.loads(sys.argv[2])
    # Before threads exist: they inherit it.
    posix.sched_setaffinity(0, job["cpus"])
    bindings.llama_backend_init()
    model_parameters = bindings.llama_model_default_params()
    model_parameters.use_extra_bufts = job["repack"]
    model = bindings.llama_model_load_from_file(job["model"].encode("utf-8"), model_parameters)
    parameters = bindings.llama_context_default_params()
    parameters.n_ctx = job["context_tokens"]
    parameters.n_batch = parameters.n_ubatch = min(job["batch_tokens"], job["context_tokens"])
    parameters.n_threads = parameters.n_threads_batch = job["threads"]
    context = bindings.llama_init_from_model(model, parameters)
    vocabulary = bindings.llama_model_get_vocab(model)
    sampler = bindings.llama_sampler_init_greedy()

    prompt = job["prompt"].encode("utf-8")
    tokens = (bindings.llama_token * parameters.n_batch)()
    count = bindings.llama_tokenize(vocabulary, prompt, len(prompt), tokens, len(tokens), True, True)
    _decode(context, tokens, 1)
    bindings.llama_memory_clear(bindings.llama_get_memory(context), True)
    _decode(context, tokens, count)
    times_ns = []
    while True:
        tokens[0] = bindings.llama_sampler_sample(sampler, context, -1)
        times_ns.append(time.monotonic_ns())
        if len(times_ns) == job["tokens"]:
            break
        if bindings.llama_vocab_is_eog(vocabulary, tokens[0]):
            sys.exit("the model ended its answer early")
        _decode(context, tokens, 1)
    sys.stdout.write(json.dumps((len(times_ns) - 1) / ((times_ns[-1] - times_ns[0]) / 1e9)))


def _decode(context: object, tokens: object, count: int) -> None:
    if bindings.llama_decode(context, bindings.llama_batch_get_one(tokens, count)) != 0:
        sys.exit("llama_decode failed")


if __name__ == "__main__":
    main()
