"""The architectures of the pinned llama.cpp (LLM_ARCH_NAMES in src/llama-arch.cpp), by what they yield.

A new version of llama.cpp brings new names; a test holds this list against the runtime image.
"""

__all__ = ["NO_TEXT", "TEXT"]

_TEXT = (
    "afmoe apertus arcee arctic arwkv7 baichuan bailingmoe bailingmoe2 bailingmoe3 bitnet bloom chameleon chatglm "
    "codeshell cogvlm cohere2 cohere2moe command-r dbrx deci deepseek deepseek2 deepseek2-ocr deepseek32 deepseek4 "
    "dots1 dots3note ernie4_5 ernie4_5-moe exaone exaone-moe exaone4 falcon falcon-h1 gemma gemma2 gemma3 gemma3n "
    "gemma4 glm-dsa glm4 glm4moe glm5-next gpt-oss gpt2 gptneox granite granite_swa granitehybrid granitemoe "
    "graniteswitch grok grovemoe hrm_text hunyuan-dense hunyuan-moe hunyuan_vl hy_v3 hy_v4 internlm2 jais jais2 "
    "jamba kimi-k3 kimi-linear laguna lfm2 lfm2moe llama llama4 maincoder mamba mamba2 maple mellum mimo2 minicpm "
    "minicpm3 minimax-01 minimax-m2 minimax-m3 mistral3 mistral4 mpt muse-glimmer nanbeige nemotron nemotron_h "
    "nemotron_h_moe olmo olmo2 olmoe openelm orion paddleocr pangu-embedded phi2 phi3 phimoe plamo plamo2 plamo3 "
    "plm qwen qwen2 qwen2moe qwen2vl qwen3 qwen35 qwen35moe qwen3moe qwen3next qwen3vl qwen3vlmoe qwen4exp refact "
    "rwkv6 rwkv6qwen2 rwkv7 seed_oss smallthinker smollm3 spark2_5 stablelm starcoder starcoder2 step35 talkie "
    "xverse"
)
# Architectures that generate text, token by token.
TEXT = frozenset(_TEXT.split())

_EMBEDDING = "it is an embedding model, which yields no text; add a model that generates text"
_DIFFUSION = (
    "it is a diffusion model, which fills in all tokens at once; this engine runs models that generate one token after "
    "the other"
)
_SPEECH = "it is part of a speech model, which yields sound and no text; add a model that generates text"
_DRAFT = "it is a draft model, which only guesses for another model; add the model that it belongs to"
_GROUPS = {
    "bert eurobert gemma-embedding jina-bert-v2 jina-bert-v3 llama-embed modern-bert neo-bert nomic-bert "
    "nomic-bert-moe t5encoder": _EMBEDDING,
    "dream llada llada-moe rnd1": _DIFFUSION,
    "pockettts qwen3tts wavtokenizer-dec": _SPEECH,
    "dflash eagle3 gemma4-assistant": _DRAFT,
    "clip": "it is a multimodal projector, not a language model; add the language model that it belongs to",
    "t5": "it is an encoder-decoder model; this engine runs decoder-only models",
}
# Architectures that llama.cpp knows and that generate no text here: what they are, and what to do.
NO_TEXT = {name: why for names, why in _GROUPS.items() for name in names.split()}
