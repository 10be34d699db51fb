"""The text that Prometheus reads."""

from supervisor.domain.exposition import Family, Histogram, Sample, encode_exposition, label_samples
from supervisor.domain.lease_counts import LeaseCounts, Standing


def test_each_name_has_its_kind_and_each_number_its_labels() -> None:
    family = Family("weos_x", "gauge", "Something.", [Sample(2), Sample(0.25, {"b": "2", "a": "1"})])
    assert encode_exposition([family]).decode() == (
        '# HELP weos_x Something.\n# TYPE weos_x gauge\nweos_x 2\nweos_x{a="1",b="2"} 0.25\n'
    )


def test_what_would_end_a_label_is_escaped() -> None:
    text = encode_exposition([Family("x", "gauge", "X.", label_samples("a", {'"\\\n': 1}))]).decode()
    assert text.splitlines()[2] == 'x{a="\\"\\\\\\n"} 1'


def test_a_bucket_counts_all_that_is_at_most_its_bound() -> None:
    histogram = Histogram((0.5, 1.0))
    for value in (0.5, 0.75, 5.0):
        histogram.add(value)
    samples = histogram.samples(policy="p")
    assert [(sample.labels.get("le"), sample.suffix, sample.value) for sample in samples] == [
        ("0.5", "_bucket", 1),
        ("1", "_bucket", 2),
        ("+Inf", "_bucket", 3),
        (None, "_sum", 6.25),
        (None, "_count", 3),
    ]
    assert all(sample.labels["policy"] == "p" for sample in samples)


def test_what_is_leased_waited_for_and_refused_is_counted() -> None:
    counts = LeaseCounts()
    counts.add_refused("queue_full")
    counts.add_granted("default", 0.2)
    standing = Standing(
        cores=4,
        cores_leased=3,
        memory_bytes=100,
        memory_leased_bytes=30,
        running=("default", "default", "exclusive"),
        waiting=("default",),
    )
    text = encode_exposition(counts.families(standing)).decode().splitlines()
    for line in (
        'weos_cores{state="leased"} 3',
        'weos_cores{state="idle"} 1',
        'weos_memory_bytes{state="leased"} 30',
        'weos_memory_bytes{state="idle"} 70',
        'weos_running{policy="default"} 2',
        'weos_running{policy="exclusive"} 1',
        'weos_waiting{policy="default"} 1',
        'weos_refused_total{reason="queue_full"} 1',
        'weos_wait_seconds_bucket{le="0.1",policy="default"} 0',
        'weos_wait_seconds_bucket{le="0.5",policy="default"} 1',
        'weos_wait_seconds_count{policy="default"} 1',
    ):
        assert line in text
