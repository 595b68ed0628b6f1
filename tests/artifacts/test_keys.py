"""Keys: builders and parsers are inverse, no two artifacts share a key, and none leaves its prefix."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenlang_async_storage import S3InvalidRequestError, artifacts
from greenlang_async_storage.artifacts import (
    BronzeKey,
    CalculationKey,
    FactorsKey,
    GoldKey,
    LandingKey,
    ModelKey,
    ReportKey,
    SilverKey,
    bronze_key,
    calculation_key,
    factors_key,
    gold_key,
    landing_key,
    manifest_key,
    metrics_key,
    model_key,
    parse_bronze_key,
    parse_calculation_key,
    parse_factors_key,
    parse_gold_key,
    parse_landing_key,
    parse_model_key,
    parse_report_key,
    parse_silver_key,
    report_key,
    silver_key,
)
from greenlang_async_storage.artifacts._segments import SEGMENT

segments = st.from_regex(SEGMENT, fullmatch=True)
extensions = st.from_regex(r"[a-z0-9][a-z0-9_]{0,15}", fullmatch=True)
days = st.dates(min_value=date(1, 1, 2))
moments = st.datetimes(
    min_value=datetime(2, 1, 1),  # noqa: DTZ001  # the zone is drawn too
    max_value=datetime(9998, 1, 1),  # noqa: DTZ001  # as above
    timezones=st.sampled_from([UTC, timezone(timedelta(hours=5, minutes=30)), timezone(timedelta(hours=-9))]),
)
hashes = st.binary(max_size=4).map(lambda data: hashlib.sha256(data).hexdigest())
filenames = st.text(min_size=1, max_size=60).filter(lambda name: _is_filename(name))


def _is_filename(name: str) -> bool:
    try:
        landing_key("t", "u", name)
    except ValueError:
        return False
    return True


@given(segments, segments, segments, days)
def test_calculation_keys_go_both_ways(app: str, tenant: str, name: str, day: date) -> None:
    """What a key was made of comes back, and nothing else does."""
    key = calculation_key(app, tenant, name, day)
    assert parse_calculation_key(key) == CalculationKey(app, day, tenant, name)
    assert key == f"silver/{app}/calculations/{day.isoformat().replace('-', '/')}/{tenant}/{name}.json"


@given(segments, segments, moments, hashes, extensions)
def test_report_keys_go_both_ways(kind: str, tenant: str, moment: datetime, digest: str, ext: str) -> None:
    """The time is kept to the microsecond, in UTC, whatever zone it was given in."""
    key = report_key(kind, tenant, moment, digest, ext)
    parsed = parse_report_key(key)
    assert parsed == ReportKey(kind, tenant, moment.astimezone(UTC), digest[:8], ext)
    assert report_key(kind, tenant, parsed.generated_at, parsed.content_hash, ext) == key


@given(segments, segments, segments, extensions)
def test_model_keys_go_both_ways(app: str, name: str, version: str, ext: str) -> None:
    """Metrics and manifest lie beside the data."""
    key = model_key(app, name, version, ext)
    assert parse_model_key(key) == ModelKey(app, name, version, ext)
    folder = key.rpartition("/")[0]
    assert metrics_key(app, name, version) == f"{folder}/metrics.json"
    assert manifest_key(app, name, version) == f"{folder}/manifest.json"


@given(segments, segments)
def test_factors_keys_go_both_ways(source: str, version: str) -> None:
    """Source and version come back."""
    assert parse_factors_key(factors_key(source, version)) == FactorsKey(source, version)


@given(segments, segments, segments, days, filenames)
def test_zone_keys_go_both_ways(a: str, b: str, c: str, day: date, filename: str) -> None:
    """Landing, bronze, silver and gold; file names of any script."""
    assert parse_landing_key(landing_key(a, b, filename)) == LandingKey(a, b, filename)
    assert parse_bronze_key(bronze_key(a, b, c, day)) == BronzeKey(a, day, b, c)
    assert parse_silver_key(silver_key(a, b, c, a)) == SilverKey(a, b, c, a)
    assert parse_gold_key(gold_key(a, b, c)) == GoldKey(a, b, c)


@given(st.lists(st.tuples(segments, segments, segments, days), min_size=2, max_size=2, unique=True))
def test_no_two_calculations_share_a_key(parts: list[tuple[str, str, str, date]]) -> None:
    """Other values, another key; and no tenant's prefix begins another's."""
    first, second = (calculation_key(*values) for values in parts)
    assert first != second
    prefix = first.rpartition("/")[0] + "/"
    assert second.startswith(prefix) == (
        parts[0][0] == parts[1][0] and parts[0][1] == parts[1][1] and parts[0][3] == parts[1][3]
    )


BUILDERS: list[tuple[str, Any]] = [
    ("application", lambda bad: calculation_key(bad, "t", "c", date(2026, 1, 1))),
    ("tenant", lambda bad: calculation_key("a", bad, "c", date(2026, 1, 1))),
    ("calculation", lambda bad: calculation_key("a", "t", bad, date(2026, 1, 1))),
    ("report type", lambda bad: report_key(bad, "t", datetime.now(UTC), "0" * 64)),
    ("report tenant", lambda bad: report_key("r", bad, datetime.now(UTC), "0" * 64)),
    ("format", lambda bad: report_key("r", "t", datetime.now(UTC), "0" * 64, bad)),
    ("hash", lambda bad: report_key("r", "t", datetime.now(UTC), bad)),
    ("model", lambda bad: model_key("a", bad, "1", "pkl")),
    ("version", lambda bad: model_key("a", "m", bad, "pkl")),
    ("extension", lambda bad: model_key("a", "m", "1", bad)),
    ("source", lambda bad: factors_key(bad, "1")),
    ("upload", lambda bad: landing_key("t", bad, "f.csv")),
    ("filename", lambda bad: landing_key("t", "u", bad)),
    ("name", lambda bad: bronze_key("a", "t", bad, date(2026, 1, 1))),
    ("domain", lambda bad: silver_key("a", bad, "t", "n")),
    ("metric", lambda bad: gold_key("d", bad, "l")),
]
HOSTILE = [
    "",
    ".",
    "..",
    "../t2",
    "a/b",
    "/a",
    "a/",
    "\\",
    "a\\b",
    "a\nb",
    "a\x00",
    "\ud800",
    "a\u202eb",
    "x" * 300,
]


@pytest.mark.parametrize("bad", HOSTILE, ids=ascii)
@pytest.mark.parametrize(("what", "build"), BUILDERS, ids=[name for name, _ in BUILDERS])
def test_nothing_leads_out_of_a_prefix(what: str, build: Any, bad: str) -> None:
    """No separator, dot segment, control character or over-long value gets into a key."""
    with pytest.raises(S3InvalidRequestError) as caught:
        build(bad)
    assert isinstance(caught.value, ValueError)
    assert caught.value.remedy


@given(st.text(max_size=80))
def test_any_text_is_a_whole_segment_or_refused(text: str) -> None:
    """A key always has exactly the segments of its form."""
    for build in (build for _, build in BUILDERS):
        try:
            key = build(text)
        except ValueError:
            continue
        assert not {".", "..", ""} & set(key.split("/"))
        assert key.count("/") == build("abcdef12").count("/")


@given(st.text(max_size=120))
def test_parsers_refuse_what_builders_would_not_make(text: str) -> None:
    """Arbitrary text is no key."""
    for name in artifacts.__all__:
        if name.startswith("parse_"):
            with pytest.raises(S3InvalidRequestError):
                getattr(artifacts, name)(text)


@pytest.mark.parametrize(
    ("parse", "key"),
    [
        (parse_calculation_key, "silver/a/calculations/2026/02/30/t/c.json"),
        (parse_calculation_key, "silver/a/calculations/2026/2/3/t/c.json"),
        (parse_calculation_key, "silver/a/calculations/2026/02/03/t/c.json\n"),
        (parse_calculation_key, "silver/a/calculations/2026/02/03/t/x/c.json"),
        (parse_calculation_key, "silver/a/calculations/٢٠٢٦/02/03/t/c.json"),
        (parse_report_key, "reports/e/2026/03/t/2026-02-03T103000.000000Z_00000000.pdf"),
        (parse_report_key, "reports/e/2026/02/t/2026-02-03T253000.000000Z_00000000.pdf"),
        (parse_report_key, "reports/e/2026/02/t/2026-02-03T10:30:00_0000000.pdf"),
        (parse_model_key, "models/a/m/1/metrics.json"),
        (parse_model_key, "models/a/m/1/model.tar.gz"),
        (parse_landing_key, "landing/t/u/.."),
    ],
)
def test_near_misses_are_no_keys(parse: Any, key: str) -> None:
    """Dates that do not exist, digits of other scripts, trailing line ends."""
    with pytest.raises(S3InvalidRequestError):
        parse(key)


def test_older_report_keys_are_read_as_utc() -> None:
    """Keys with colons in their time, with and without a fraction."""
    found = parse_report_key("reports/emissions/2026/02/t1/2026-02-03T10:30:00.000005_0a1b2c3d.xlsx")
    moment = datetime(2026, 2, 3, 10, 30, 0, 5, tzinfo=UTC)
    assert found == ReportKey("emissions", "t1", moment, "0a1b2c3d", "xlsx", legacy=True)
    whole = parse_report_key("reports/emissions/2026/02/t1/2026-02-03T10:30:00_0a1b2c3d.pdf")
    assert whole.generated_at == moment.replace(microsecond=0)


def test_times_need_a_zone() -> None:
    """A naive time is refused where a key is made; a day is taken in UTC."""
    naive = datetime(2026, 2, 3)  # noqa: DTZ001  # what is refused
    with pytest.raises(S3InvalidRequestError, match="no time zone"):
        report_key("r", "t", naive, "0" * 64)
    with pytest.raises(S3InvalidRequestError, match="no time zone"):
        calculation_key("a", "t", "c", naive)
    late = datetime(2026, 2, 3, 23, tzinfo=timezone(timedelta(hours=-5)))
    assert "/2026/02/04/" in calculation_key("a", "t", "c", late)


def test_values_of_other_types_are_mistakes() -> None:
    """No number or date becomes part of a key by accident."""
    bad: Any = 5
    calls: list[Callable[[], object]] = [
        lambda: calculation_key("a", bad, "c", date(2026, 1, 1)),
        lambda: calculation_key("a", "t", bad, date(2026, 1, 1)),
        lambda: calculation_key("a", "t", "c", bad),
        lambda: landing_key("t", "u", bad),
        lambda: report_key("r", "t", bad, "0" * 64),
        lambda: parse_model_key(bad),
        lambda: model_key("a", "m", "1", bad),
    ]
    for call in calls:
        with pytest.raises(TypeError):
            call()
