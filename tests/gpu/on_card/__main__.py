"""Prove on a card what only a card can prove, without a container engine: `make test-gpu`.

Nothing of the card is set. Every proof writes its result as a file when it ends; a proof that fails does not end the
others. The exit status is 0 where there is no card (`skipped`: nothing is proved) or where every proof was made.
"""

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from supervisor.adapters.home import default_home
from supervisor.domain.power.meter import MissingMeter
from tests.gpu.on_card.bench import Bench
from tests.gpu.on_card.card import describe_card, find_card
from tests.gpu.on_card.compile import BUILD
from tests.gpu.on_card.find_shape import find_shape
from tests.gpu.on_card.prove_energy import prove_energy
from tests.gpu.on_card.prove_locks import describe_all, prove_closed, prove_locks, record_confined, record_plain
from tests.gpu.on_card.prove_logits import prove_logits
from tests.gpu.on_card.prove_speed import describe_offload, prove_speed, prove_vmm
from tests.gpu.on_card.prove_tokens import prove_tokens

UNPROVED = (
    "tokens on a card, the calls that its locks must let through, joules by its counter, its speed and what virtual "
    "memory management costs"
)
# What is measured after the locks needs so long; the locks' longest part ends before.
AFTER_LOCKS_S = 90


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    home = default_home()
    bindings = next(home.glob("cache/sources/*/llama_cpp"), home / "cache" / "sources" / "none")
    model = next(home.glob("models/*/model.gguf"), home / "models" / "none")
    parser.add_argument(
        "--build", type=Path, default=BUILD, help="llama.cpp for the card, see tests.gpu.on_card.compile"
    )
    parser.add_argument("--bindings", type=Path, default=bindings, help="the pinned source archive's package llama_cpp")
    parser.add_argument("--model", type=Path, default=model, help="a model file that the processor can run too")
    parser.add_argument("--library-path", default="", help="where CUDA's libraries lie, with colons between")
    parser.add_argument("--output", type=Path, default=Path("build/gpu/results"))
    parser.add_argument("--limit-s", type=float, default=540.0, help="seconds after which no proof begins any more")
    parser.add_argument("--only", default="", help="proofs by name, with commas between; empty: all")
    parser.add_argument("--rehearse", action="store_true", help="without a card: everything else, proving nothing")
    return parser.parse_args()


class Results:
    """A file for each proof, and a summary."""

    def __init__(self, output: Path, limit_s: float, only: str) -> None:
        self._output = output
        self._began = time.monotonic()
        self.deadline = self._began + limit_s
        self._only = set(filter(None, only.split(",")))
        self.summary: dict[str, str] = {}
        output.mkdir(parents=True, exist_ok=True)

    def write(self, name: str, value: object) -> None:
        """Write a result."""
        text = json.dumps(value, indent=1, ensure_ascii=False, default=str)
        (self._output / f"{name}.json").write_text(text + "\n", encoding="utf-8")

    def prove(self, name: str, proof: Callable[[], object]) -> object:
        """Make a proof and write its result, or why there is none."""
        if self._only and name not in self._only:
            return None
        if time.monotonic() > self.deadline:
            self.summary[name] = "not begun: no time was left"
            return None
        began = time.monotonic()
        value: object = None
        try:
            value = proof()
            said = "made"
        except Exception as error:  # noqa: BLE001 - told in the results; the next proof begins
            said = f"failed: {type(error).__name__}: {error}"
            self.write(f"{name}-fault", traceback.format_exc())
        self.summary[name] = said
        print(f"{name}: {said}, {time.monotonic() - began:.1f} s", flush=True)  # noqa: T201 - for the person who waits
        if value is not None:
            self.write(name, value)
        return value


def _interpreter() -> Path:
    own = Path(sys.executable).resolve()
    # Root's home is closed to the sandbox's user.
    return next((path for path in (own, Path("/usr/bin/python3").resolve()) if not path.is_relative_to("/root")), own)


def _prove_all(bench: Bench, results: Results, output: Path) -> None:
    results.prove("offload", lambda: describe_offload(bench))
    results.prove("tokens", lambda: prove_tokens(bench))
    results.prove("logits", lambda: prove_logits(bench))
    results.prove("energy", lambda: prove_energy(bench, output))
    recorded = [record_plain(bench)]
    results.prove("shape", lambda: find_shape(bench, recorded[0].recording))
    recorded += record_confined(bench)
    results.prove("calls", lambda: describe_all(recorded))
    locks = results.prove("locks", lambda: prove_locks(bench, recorded, results.deadline - AFTER_LOCKS_S))
    if isinstance(locks, dict):
        results.prove("closed", lambda: prove_closed(bench, recorded, locks["beyond_lock_one"]))
    results.prove("speed", lambda: prove_speed(bench))
    results.prove("vmm", lambda: prove_vmm(bench))


def main() -> int:
    """Find the card, make the proofs, and return the exit status."""
    options = _arguments()
    results = Results(options.output, options.limit_s, options.only)
    card = find_card()
    if isinstance(card, MissingMeter):
        results.write("summary", {"outcome": "skipped", "reason": card.reason, "unproved": UNPROVED})
        print(f"There is no NVIDIA card here ({card.reason}), so unproved stay: {UNPROVED}.")  # noqa: T201 - as above
        return 0
    missing = [str(path) for path in (options.build, options.bindings, options.model) if not path.exists()]
    if missing or os.geteuid() != 0:
        reason = f"these are not there: {', '.join(missing)}" if missing else "a sandbox's shape is made by root"
        print(f"{card.name}: nothing is proved, because {reason}; docs/cuda.md says what to do", file=sys.stderr)  # noqa: T201
        return 1
    before = describe_card(card)
    with tempfile.TemporaryDirectory(prefix="on-card-") as work:
        Path(work).chmod(0o755)
        model = Path(work, "model.gguf")
        shutil.copyfile(options.model, model)
        model.chmod(0o444)
        vmm = options.build / "vmm"
        bench = Bench(
            work=Path(work),
            model=model,
            libraries=options.build / "lib",
            vmm_libraries=vmm if vmm.is_dir() else None,
            bindings=options.bindings,
            python=_interpreter(),
            library_path=tuple(filter(None, options.library_path.split(":"))),
            card=card,
            is_rehearsal=options.rehearse,
        )
        try:
            _prove_all(bench, results, options.output)
        finally:
            time.sleep(1)
            after = describe_card(card)
            same = before["state"] == after["state"]
            results.write("card", {"card": before, "state_after": after["state"], "is_as_it_was": same})
            made = same and all(said == "made" for said in results.summary.values())
            outcome = "rehearsed: nothing is proved" if options.rehearse else ("proved" if made else "incomplete")
            results.write(
                "summary",
                {
                    "outcome": outcome,
                    "at": datetime.now(UTC).isoformat(timespec="seconds"),
                    "card": before["name"],
                    "driver": before["driver"],
                    "proofs": results.summary,
                    "card_is_as_it_was": same,
                },
            )
    card.close()
    return 0 if made else 1


if __name__ == "__main__":
    sys.exit(main())
