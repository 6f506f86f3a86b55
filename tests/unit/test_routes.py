"""Which sinks a finding goes to."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from kmwatch.core.model import Mode, Severity
from kmwatch.pipeline import Router, Wants
from tests.support.findings import finding

RULES = ["KMW-001", "KMW-005", "KMW-022"]
rules = st.frozensets(st.sampled_from(RULES))
wants = st.builds(Wants, st.sampled_from(Severity), st.none() | rules, rules)


@given(st.dictionaries(st.sampled_from("abc"), wants), st.sampled_from(Severity), st.sampled_from(RULES))
def test_a_sink_gets_what_is_severe_enough_and_of_its_detections(
    sinks: dict[str, Wants], severity: Severity, rule: str
) -> None:
    routed = Router(sinks).route(replace(finding(), severity=severity, rule=rule)).sinks
    for name, want in sinks.items():
        expected = severity >= want.floor and (want.only is None or rule in want.only) and rule not in want.without
        assert (name in routed) is expected


def test_a_finding_goes_to_several_sinks_in_the_order_of_the_configuration() -> None:
    sinks = {"b": Wants(), "a": Wants(Severity.CRITICAL), "c": Wants(only=frozenset({"KMW-001"}))}
    assert Router(sinks).route(finding()).sinks == ("b", "c")


def test_a_finding_in_shadow_goes_nowhere() -> None:
    assert Router({"a": Wants()}).route(replace(finding(), mode=Mode.SHADOW)).sinks == ()
