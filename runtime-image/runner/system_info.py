"""What llama.cpp says of the build and the processor: "CPU : SSE3 = 1 | AVX2 = 1 | ... | OPENMP = 1 | "."""

__all__ = ["parse_cpu_features"]


def parse_cpu_features(system_info: str) -> list[str]:
    """Return the names that are on, sorted; the build's own, such as OPENMP, among them."""
    pairs = (part.rpartition(":")[2].partition("=") for part in system_info.split("|"))
    return sorted(name.strip() for name, _, value in pairs if value.strip() == "1")
