"""The numbers that describe the layers of a model, read as llama.cpp reads them (load_hparams in llama-model.cpp)."""

from dataclasses import dataclass

from supervisor.domain.models.gguf_head import ARRAY, GgufError, GgufHead

__all__ = ["Hyperparameters"]

MAX_LAYERS = 512  # LLAMA_MAX_LAYERS


@dataclass(frozen=True, slots=True)
class Hyperparameters:
    """Access to the keys of one architecture."""

    head: GgufHead
    architecture: str

    def key(self, name: str) -> str:
        """Return the full name of a key."""
        return f"{self.architecture}.{name}"

    def need(self, name: str) -> int:
        """Return a positive number.

        Raises:
            GgufError: the key is missing, or llama.cpp does not read its value; the message names the key.
        """
        value = self.head.number(self.key(name))
        if not value:
            message = f"its key {self.key(name)} is missing or no positive number"
            raise GgufError(message)
        return value

    def get(self, name: str, default: int = 0) -> int:
        """Return a number, or the default where the key is missing.

        Raises:
            GgufError: llama.cpp does not read the value.
        """
        value = self.head.number(self.key(name))
        return default if value is None else value

    def per_layer(self, name: str, layers: int) -> tuple[int, ...] | None:
        """Return a number for each layer, from one number for all or from a list; None: the key is missing.

        Raises:
            GgufError: the list has not one item for each layer, or llama.cpp does not read its items.
        """
        value = self.head.values.get(self.key(name))
        if value is None:
            return None
        if value.kind != ARRAY:
            return (self.get(name),) * layers
        if value.count != layers:
            message = f"its key {self.key(name)} has {value.count} items for {layers} layers"
            raise GgufError(message)
        return self.head.numbers(self.key(name))

    def experts_used(self) -> int:
        """Return the largest number of experts that compute a token in any layer; 0: the model has none.

        Raises:
            GgufError: there are more than the model has, where llama.cpp aborts.
        """
        used = max(self.per_layer("expert_used_count", self.layers) or (0,))
        # llama.cpp makes a plain model of one of Hunyuan's with one expert.
        if used > self.get("expert_count") and not self.architecture.startswith("hunyuan"):
            message = f"its key {self.key('expert_used_count')} says {used}, and there are fewer experts"
            raise GgufError(message)
        return used

    @property
    def layers(self) -> int:
        """Number of layers.

        Raises:
            GgufError: the number is missing or not possible.
        """
        layers = self.need("block_count")
        if layers > MAX_LAYERS:
            message = f"its key {self.key('block_count')} says {layers}; llama.cpp reads at most {MAX_LAYERS} layers"
            raise GgufError(message)
        return layers
