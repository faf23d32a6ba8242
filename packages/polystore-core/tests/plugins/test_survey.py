"""The survey of plugins, which people read."""

import pytest

from polystore_core.plugins import discovery

from .samples import Install


def test_survey_reports_states(install: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    for distribution, name, options in (
        ("acme-fine", "fine", {}),
        ("acme-off", "off", {}),
        ("acme-broken", "broken", {"manifest": "import nowhere"}),
        ("acme-needy", "needy", {"requires": ("nowhere",)}),
        ("acme-old", "old", {"api": 0}),
        ("acme-two", "two", {}),
        ("zeta-two", "two", {}),
        ("acme-both", "both", {}),
        ("zeta-both", "both", {}),
    ):
        install(distribution, name, **options)
    monkeypatch.setenv("POLYSTORE_DISABLE", "off")
    states = {
        f"{s.distribution}:{s.name}": (s.state, s.why)
        for s in discovery.survey({"both": "zeta-both"})
        if s.distribution.startswith(("acme-", "zeta-"))
    }
    assert {name: state for name, (state, _) in states.items()} == {
        "acme-fine:fine": "ok",
        "acme-off:off": "disabled",
        "acme-broken:broken": "broken",
        "acme-needy:needy": "missing",
        "acme-old:old": "broken",
        "acme-two:two": "conflicting",
        "zeta-two:two": "conflicting",
        "acme-both:both": "ignored",
        "zeta-both:both": "ok",
    }
    for name, message in {
        "acme-fine:fine": "",
        "acme-off:off": "POLYSTORE_DISABLE='off'",
        "acme-broken:broken": "No module named 'nowhere'",
        "acme-needy:needy": "pip install 'acme-needy'",
        "acme-old:old": "plugin API 0",
        "acme-two:two": "declared by acme-two and by zeta-two",
        "acme-both:both": "zeta-both is preferred",
    }.items():
        assert message in states[name][1]


def test_survey_describes_plugin(install: Install) -> None:
    install("acme-raw", "raw")
    (state,) = (state for state in discovery.survey() if state.name == "raw")
    assert state == discovery.PluginState(
        kind="backend",
        name="raw",
        distribution="acme-raw",
        version="2.5",
        state="ok",
        summary="fine",
    )
