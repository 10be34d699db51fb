"""A model in llama.cpp, through the low-level bindings of llama-cpp-python."""

import ctypes
from collections.abc import Sequence

# Part of the image only, so a type checker outside it finds nothing.
import llama_cpp.llama_cpp as bindings  # type: ignore[import-not-found]

from runner.constraint import Constraint
from runner.events import ModelInfo
from runner.failures import decode_error, refusal_error
from runner.llama_log import silence, words_of_failure
from runner.prompt import Renderer, SpecialToken
from runner.protocol import Grammar, RunnerError, Sampling, Setup
from runner.system_info import parse_cpu_features

__all__ = ["LlamaModel"]

# The window that llama.cpp's own tools penalise repetition in (common_params_sampling.penalty_last_n).
PENALTY_WINDOW_TOKENS = 64
TEXT_BYTES_MAX = 256
TEMPLATE_KEY = b"tokenizer.chat_template"
# The supervisor reads no longer template out of a file's head either, and none that is not UTF-8.
TEMPLATE_BYTES_MAX = 1 << 20
# A text has at most one token a byte, and what a tokenizer puts around it.
TOKENS_AROUND_TEXT = 8
SPECIAL_ATTRIBUTES = (
    bindings.LLAMA_TOKEN_ATTR_UNKNOWN | bindings.LLAMA_TOKEN_ATTR_CONTROL | bindings.LLAMA_TOKEN_ATTR_USER_DEFINED
)


class LlamaModel:
    """A model and one context; every buffer is allocated by the constructor and `warm_up`."""

    def __init__(self, setup: Setup) -> None:
        """Load the model and allocate the context.

        Raises:
            RunnerError: model_load_failed, context_failed or out_of_memory.
        """
        silence()
        bindings.llama_backend_init()
        self.context_tokens = setup.context_tokens
        self._model = self._load_model(setup)
        self._vocab = bindings.llama_model_get_vocab(self._model)
        self._context = self._new_context(setup)
        self._batch_tokens = min(setup.batch_tokens, setup.context_tokens)
        self._batch = bindings.llama_batch_init(self._batch_tokens, 0, 1)
        self._piece_buffer = ctypes.create_string_buffer(TEXT_BYTES_MAX)
        self._position = 0
        self._sampler = None
        self._constraint: Constraint | None = None
        self.renderer = self._load_renderer()

    def _load_model(self, setup: Setup) -> object:
        parameters = bindings.llama_model_default_params()
        parameters.use_extra_bufts = setup.repack
        # Mapped, so that executions of one model share its pages; whole, so that no page comes from a
        # second open of the file later.
        parameters.load_mode = bindings.LLAMA_LOAD_MODE_MMAP
        parameters.lazy_mode = bindings.LLAMA_LAZY_MODE_OFF

        def load() -> object:
            return bindings.llama_model_load_from_file(setup.model_path.encode("utf-8"), parameters)

        model = load()
        if not model:
            raise refusal_error("model_load_failed", words_of_failure(load))
        if bindings.llama_model_has_encoder(model) or not bindings.llama_model_has_decoder(model):
            message = "the model is not a decoder-only language model"
            raise RunnerError("model_load_failed", message)
        return model

    def _new_context(self, setup: Setup) -> object:
        parameters = bindings.llama_context_default_params()
        parameters.n_ctx = setup.context_tokens
        parameters.n_batch = parameters.n_ubatch = min(setup.batch_tokens, setup.context_tokens)
        parameters.n_seq_max = 1
        # Only the last position of a prompt is sampled from.
        parameters.n_outputs_max = 1
        parameters.n_threads = parameters.n_threads_batch = setup.threads
        # A sliding window needs no full-size cache where nothing is ever rolled back.
        parameters.swa_full = False
        parameters.no_perf = True

        def create() -> object:
            return bindings.llama_init_from_model(self._model, parameters)

        context = create()
        if not context:
            raise refusal_error("context_failed", words_of_failure(create))
        return context

    def _load_renderer(self) -> Renderer | None:
        """Load the template engine where the model file carries a template that is UTF-8."""
        # The file's own: llama_model_chat_template names a template of llama.cpp's where some files carry none.
        size = bindings.llama_model_meta_val_str(self._model, TEMPLATE_KEY, ctypes.create_string_buffer(1), 1)
        if not 0 < size <= TEMPLATE_BYTES_MAX:
            return None
        buffer = ctypes.create_string_buffer(size + 1)
        bindings.llama_model_meta_val_str(self._model, TEMPLATE_KEY, buffer, len(buffer))
        try:
            template = buffer.value.decode("utf-8")
        except UnicodeDecodeError:
            return None
        # Only here: the engine takes some milliseconds and megabytes, which other models do without.
        from runner.templates import ChatRenderer  # noqa: PLC0415

        bos, eos = bindings.llama_vocab_bos(self._vocab), bindings.llama_vocab_eos(self._vocab)
        return ChatRenderer(template, self._vocabulary_text(bos), self._vocabulary_text(eos))

    def _vocabulary_text(self, token_id: int) -> str:
        if token_id < 0:
            return ""
        text: bytes = bindings.llama_vocab_get_text(self._vocab, token_id)
        return text.decode("utf-8", "replace")

    def warm_up(self) -> None:
        """Compute one token and forget it, so that every thread runs and every page is in place.

        Raises:
            RunnerError: decode_failed or out_of_memory.
        """
        self.decode(max(0, bindings.llama_vocab_bos(self._vocab)))
        bindings.llama_memory_clear(bindings.llama_get_memory(self._context), True)
        self._position = 0

    def model_info(self) -> ModelInfo:
        """Return what the model file says of itself."""
        buffer = ctypes.create_string_buffer(TEXT_BYTES_MAX)
        bindings.llama_model_meta_val_str(self._model, b"general.architecture", buffer, TEXT_BYTES_MAX)
        architecture = buffer.value.decode("utf-8", "replace")
        bindings.llama_model_desc(self._model, buffer, TEXT_BYTES_MAX)
        description = buffer.value.decode("utf-8", "replace")
        context_length = bindings.llama_model_n_ctx_train(self._model)
        return ModelInfo(architecture, context_length, description, self.renderer is not None)

    def cpu_features(self) -> list[str]:
        """Return what the loaded build uses."""
        return parse_cpu_features(bindings.llama_print_system_info().decode("ascii", "replace"))

    @property
    def beginning(self) -> int | None:
        """The token that the model's input begins with, or None."""
        return self._token_if(bindings.llama_vocab_get_add_bos(self._vocab), bindings.llama_vocab_bos(self._vocab))

    @property
    def ending(self) -> int | None:
        """The token that the model's input ends with where it is not a chat, or None."""
        return self._token_if(bindings.llama_vocab_get_add_eos(self._vocab), bindings.llama_vocab_eos(self._vocab))

    def _token_if(self, wanted: bool, token_id: int) -> int | None:
        return token_id if wanted and token_id >= 0 else None

    def tokenize(self, text: str, parse_special: bool) -> list[int]:
        """Return a text's tokens, without those that the model puts at the beginning or end of its input."""
        data = text.encode("utf-8")
        room = len(data) + TOKENS_AROUND_TEXT
        buffer = (bindings.llama_token * room)()
        count: int = bindings.llama_tokenize(self._vocab, data, len(data), buffer, room, False, parse_special)
        tokens: list[int] = buffer[: max(0, count)]
        return tokens

    def special_token(self, token_id: int) -> SpecialToken | None:
        """Return what is special about a token, or None."""
        attributes = bindings.llama_vocab_get_attr(self._vocab, token_id)
        if not attributes & SPECIAL_ATTRIBUTES:
            return None
        return SpecialToken(
            token_id,
            self._piece(token_id, is_special=True).decode("utf-8", "replace"),
            is_control=not attributes & bindings.LLAMA_TOKEN_ATTR_USER_DEFINED,
            strips_left=bool(attributes & bindings.LLAMA_TOKEN_ATTR_LSTRIP),
            strips_right=bool(attributes & bindings.LLAMA_TOKEN_ATTR_RSTRIP),
        )

    def prefill(self, tokens: Sequence[int]) -> None:
        """Process the prompt in batches; only its last token yields logits."""
        for start in range(0, len(tokens), self._batch_tokens):
            self._compute(tokens[start : start + self._batch_tokens], start + self._batch_tokens >= len(tokens))

    def decode(self, token_id: int) -> None:
        """Process a generated token."""
        self._compute((token_id,), True)

    def _compute(self, tokens: Sequence[int], wants_logits: bool) -> None:
        batch = self._batch
        batch.n_tokens = len(tokens)
        for index, token_id in enumerate(tokens):
            batch.token[index] = token_id
            batch.pos[index] = self._position + index
            batch.n_seq_id[index] = 1
            batch.seq_id[index][0] = 0
            batch.logits[index] = 0
        batch.logits[len(tokens) - 1] = wants_logits
        status = bindings.llama_decode(self._context, batch)
        if status != 0:
            raise decode_error(status)
        self._position += len(tokens)

    def constrain(self, grammar: Grammar) -> None:
        """Let the answer match a grammar.

        Raises:
            RunnerError: grammar_invalid.
        """
        self._constraint = Constraint(
            self._vocab, grammar, lambda token_id: not self.is_end(token_id) and not self.piece(token_id)
        )

    def start_sampling(self, sampling: Sampling, seed: int, prompt_tokens: Sequence[int]) -> None:
        """Build the chain: penalties, then greedy, or top-k, top-p, min-p, temperature and a seeded draw."""
        chain = bindings.llama_sampler_chain_init(bindings.llama_sampler_chain_default_params())
        for sampler in self._samplers(sampling, seed):
            bindings.llama_sampler_chain_add(chain, sampler)
        # The prompt counts as text already said, as in llama-server.
        for token_id in prompt_tokens[-PENALTY_WINDOW_TOKENS:]:
            bindings.llama_sampler_accept(chain, token_id)
        self._sampler = chain

    def _samplers(self, sampling: Sampling, seed: int) -> list[object]:
        samplers = []
        if sampling.repeat_penalty != 1.0:
            vocabulary_tokens = bindings.llama_vocab_n_tokens(self._vocab)
            samplers.append(
                bindings.llama_sampler_init_penalties(
                    vocabulary_tokens, PENALTY_WINDOW_TOKENS, sampling.repeat_penalty, 0.0, 0.0
                )
            )
        if sampling.temperature == 0.0:
            return [*samplers, bindings.llama_sampler_init_greedy()]
        if sampling.top_k > 0:
            samplers.append(bindings.llama_sampler_init_top_k(sampling.top_k))
        if sampling.top_p < 1.0:
            samplers.append(bindings.llama_sampler_init_top_p(sampling.top_p, 1))
        if sampling.min_p > 0.0:
            samplers.append(bindings.llama_sampler_init_min_p(sampling.min_p, 1))
        samplers.append(bindings.llama_sampler_init_temp(sampling.temperature))
        return [*samplers, bindings.llama_sampler_init_dist(seed)]

    def sample(self) -> int:
        """Choose the next token from the logits of the last position.

        Raises:
            RunnerError: grammar_invalid.
        """
        if self._constraint is not None:
            return self._constraint.sample(self._sampler, self._context)
        token_id: int = bindings.llama_sampler_sample(self._sampler, self._context, -1)
        return token_id

    def is_end(self, token_id: int) -> bool:
        """Return whether the model ends its answer with this token."""
        return bool(bindings.llama_vocab_is_eog(self._vocab, token_id))

    def piece(self, token_id: int) -> bytes:
        """Return a token's bytes; control tokens have none."""
        return self._piece(token_id, is_special=False)

    def _piece(self, token_id: int, *, is_special: bool) -> bytes:
        size = bindings.llama_token_to_piece(
            self._vocab, token_id, self._piece_buffer, len(self._piece_buffer), 0, is_special
        )
        if size < 0:
            # The longest token of the vocabulary sets the size, once.
            self._piece_buffer = ctypes.create_string_buffer(-size)
            return self._piece(token_id, is_special=is_special)
        return self._piece_buffer.raw[:size]
