"""Engine versions as decisions: drift, predecessors, manifests, comparison."""

from dataclasses import replace
from typing import Any

import pytest

from contracts.releases.manifest import ManifestImage, SourceFile
from contracts.releases.reports import CaseFigures, ComparedModel, ComparisonReport, PredecessorFigures
from contracts.verify.release import SignedManifest
from supervisor.domain.errors import EngineError
from supervisor.domain.records.version_comparison import build_case, compare_with_predecessor
from supervisor.domain.records.versions import (
    Content,
    build_manifest,
    choose_images,
    describe_drift,
    find_drift,
    find_predecessor,
)
from tests.releases import HOST, MODEL, VERSION, WHEN, make_comparison, make_figures, make_manifest, make_release

MANIFEST = make_manifest()
OTHER = "sha256:" + "0" * 64


def content(**changes: Any) -> Content:
    """An installation that is exactly what the manifest says."""
    same = Content(
        engine_version=MANIFEST.engine_version,
        files=MANIFEST.source.files,
        images=MANIFEST.images,
        stale_images=frozenset(),
        llama_cpp=MANIFEST.llama_cpp,
        policies=dict(MANIFEST.policies),
        schemas=dict(MANIFEST.schemas),
    )
    return replace(same, **changes)


def image(**changes: Any) -> ManifestImage:
    return MANIFEST.images[0].model_copy(update=changes)


def test_an_installation_of_the_version_does_not_differ() -> None:
    assert find_drift(MANIFEST, content()) == ()
    assert content().source_digest == MANIFEST.source.digest


@pytest.mark.parametrize(
    ("changes", "subject"),
    [
        ({"engine_version": "0.2.0"}, "version"),
        (
            {"files": (MANIFEST.source.files[0], SourceFile(path="policies/power.toml", sha256=OTHER))},
            "policies/power.toml",
        ),
        ({"files": MANIFEST.source.files[:1]}, "policies/power.toml"),
        ({"files": (*MANIFEST.source.files, SourceFile(path="supervisor/x.py", sha256=OTHER))}, "supervisor/x.py"),
        ({"policies": MANIFEST.policies | {"sandbox.toml": OTHER}}, "policies/sandbox.toml"),
        ({"schemas": {}}, "contracts/schemas/trust.json"),
        ({"images": (image(image=OTHER),)}, "runtime image cpu_avx2"),
        ({"images": (image(manifest=OTHER),)}, "files of runtime image cpu_avx2"),
        ({"images": (image(inputs=OTHER),)}, "inputs of runtime image cpu_avx2"),
        ({"llama_cpp": MANIFEST.llama_cpp.model_copy(update={"archive": OTHER})}, "llama.cpp"),
        ({"llama_cpp": None}, "llama.cpp"),
    ],
)
def test_every_difference_is_named(changes: dict[str, Any], subject: str) -> None:
    drifts = find_drift(MANIFEST, content(**changes))
    assert [drift.subject for drift in drifts] == [subject]
    assert drifts[0].expected != drifts[0].found


def test_an_image_that_is_gone_is_a_difference() -> None:
    drifts = find_drift(MANIFEST, content(images=()))
    assert {drift.subject for drift in drifts} == {
        "runtime image cpu_avx2",
        "files of runtime image cpu_avx2",
        "inputs of runtime image cpu_avx2",
    }
    assert {drift.found for drift in drifts} == {"nothing"}


def test_an_image_of_a_backend_outside_the_version_is_no_difference() -> None:
    assert find_drift(MANIFEST, content(images=(*MANIFEST.images, image(backend="cuda", image=OTHER)))) == ()


def test_differences_are_described_in_one_line_with_both_digests() -> None:
    drifts = find_drift(MANIFEST, content(images=(image(image=OTHER),)))
    assert describe_drift(drifts) == (f"runtime image cpu_avx2: expected {MANIFEST.images[0].image}, found {OTHER}")
    files = tuple(SourceFile(path=f"supervisor/{number}.py", sha256=OTHER) for number in range(9))
    many = describe_drift(find_drift(MANIFEST, content(files=(*MANIFEST.source.files, *files))))
    assert many.endswith("; and 1 more")


def release(version: str) -> SignedManifest:
    return make_release(make_manifest(engine_version=version))


def test_the_predecessor_is_the_newest_older_version() -> None:
    releases = [release(version) for version in ("0.10.0", "0.2.0", "0.9.0")]
    assert find_predecessor([], "0.1.0") is None
    assert find_predecessor(releases, "0.1.0") is None
    for version, before in (("0.9.1", "0.9.0"), ("0.11.0", "0.10.0"), ("0.3.0", "0.2.0")):
        found = find_predecessor(releases, version)
        assert found is not None
        assert found.manifest.engine_version == before


def test_a_version_is_released_once() -> None:
    with pytest.raises(EngineError) as caught:
        find_predecessor([release("0.1.0")], "0.1.0")
    assert caught.value.code == "release_exists"


def built(**changes: Any) -> Any:
    given: dict[str, Any] = {
        "commit": MANIFEST.source.commit,
        "backends": ["cpu_avx2"],
        "public_key": MANIFEST.public_key,
        "predecessor": None,
        "validation": MANIFEST.validation,
        "comparison": MANIFEST.comparison,
        "created_at": WHEN,
    }
    return build_manifest(content(), **given | changes)


def test_a_manifest_lists_the_content_of_the_installation() -> None:
    assert built() == MANIFEST
    before = release("0.0.9")
    predecessor = built(predecessor=before).predecessor
    assert (predecessor.engine_version, predecessor.manifest) == ("0.0.9", before.digest)


@pytest.mark.parametrize(
    ("changes", "backends", "named"),
    [
        ({}, ["cpu_avx2", "cuda"], "cuda"),
        ({"stale_images": frozenset({"cpu_avx2"})}, ["cpu_avx2"], "cpu_avx2"),
        ({"images": (), "llama_cpp": None}, ["cpu_avx2"], "cpu_avx2"),
        ({}, [], "any backend"),
    ],
)
def test_a_version_has_an_image_of_its_own_source_for_every_backend(
    changes: dict[str, Any], backends: list[str], named: str
) -> None:
    with pytest.raises(EngineError, match=f"image of {named} was built from this source") as caught:
        choose_images(content(**changes), backends)
    assert caught.value.code == "image_missing"


class TestComparison:
    def test_a_median_is_a_number_that_was_measured(self) -> None:
        speeds = (30.0, 10.0, None, 20.0, 40.0)
        case = build_case("short_answer", "cpu_avx2", [make_figures(tokens_per_sec=speed) for speed in speeds])
        assert case.median.tokens_per_sec == 20.0
        odd = build_case("short_answer", "cpu_avx2", [make_figures(watts_avg=watts) for watts in (3.0, 1.0, 2.0)])
        assert odd.median.watts_avg == 2.0

    def test_figures_that_were_never_measured_have_no_median(self) -> None:
        case = build_case("short_answer", "cpu_avx2", [make_figures(latency_p95_ms=None)])
        assert case.median.latency_p95_ms is None

    def compared(self, ours: CaseFigures, before: ComparisonReport | None = None, **here: Any) -> PredecessorFigures:
        report = before or make_comparison()
        facts: dict[str, Any] = {"host": HOST, "model": MODEL, "workload": report.workload}
        return compare_with_predecessor([ours], before=report, digest=OTHER, **facts | here)

    def case(self, **changes: Any) -> CaseFigures:
        return build_case("short_answer", "cpu_avx2", [make_figures(**changes)])

    def test_ratios_are_this_version_over_the_one_before(self) -> None:
        figures = self.compared(self.case(tokens_per_sec=50.0, latency_p95_ms=15.25, watts_avg=12.0))
        assert (figures.engine_version, figures.comparison, figures.incomparable) == (VERSION, OTHER, ())
        (case,) = figures.cases
        assert case.tokens_per_sec_ratio == 1.25
        assert case.latency_p95_ratio == 0.5
        assert case.watts_avg_ratio == 1.5
        assert case.tokens_per_watt_ratio == 1.0
        assert case.predecessor.tokens_per_sec == 40.0
        assert case.same_output

    def test_a_different_output_is_reported(self) -> None:
        assert not self.compared(self.case(output=OTHER)).cases[0].same_output

    def test_a_figure_that_one_version_lacks_has_no_ratio(self) -> None:
        (case,) = self.compared(self.case(watts_avg=None)).cases
        assert (case.watts_avg_ratio, case.tokens_per_sec_ratio) == (None, 1.0)
        before = make_comparison(cases=(self.case(tokens_per_sec=0.0),))
        assert self.compared(self.case(), before).cases[0].tokens_per_sec_ratio is None

    def test_watts_from_different_sources_are_never_compared(self) -> None:
        (case,) = self.compared(self.case(watts_source="rapl")).cases
        assert (case.watts_avg_ratio, case.tokens_per_watt_ratio) == (None, None)
        assert case.tokens_per_sec_ratio == 1.0

    @pytest.mark.parametrize(
        ("here", "word"),
        [
            ({"host": HOST.model_copy(update={"processor": "another"})}, "machine"),
            ({"host": HOST.model_copy(update={"logical_cpus": 4})}, "machine"),
            ({"model": ComparedModel(name="other", quantization="q4_1", sha256=OTHER)}, "model"),
            ({"workload": OTHER}, "workload"),
        ],
    )
    def test_incomparable_figures_have_a_reason_and_no_ratio(self, here: dict[str, Any], word: str) -> None:
        figures = self.compared(self.case(), **here)
        assert [word in reason for reason in figures.incomparable] == [True]
        assert figures.cases[0].tokens_per_sec_ratio is None
        assert figures.cases[0].predecessor.tokens_per_sec == 40.0

    def test_only_cases_of_both_versions_are_compared(self) -> None:
        other = build_case("long_answer", "cpu_avx2", [make_figures()])
        assert self.compared(other).cases == ()
