"""The configuration: what it accepts that it had better not."""

from collections.abc import Iterator

from kdc.cli.checks.finding import Finding, Patient, ok, warn

MAX_SENSIBLE_SKEW_S = 900


def check_configuration(patient: Patient) -> Iterator[Finding]:
    """List weak forms that are on and limits that are off."""
    config, origins = patient.config, patient.loaded.origins
    yield ok("configuration.file", f"{patient.folder.kdc_toml} is good: realm {config.realm}")
    weak = config.weak_forms()
    for name in weak:
        origin = origins[name]
        yield warn(
            "configuration.weak_forms",
            f"a weak form is accepted: {name} ({origin})",
            f"{name} = false in kdc.toml, as soon as no client needs it",
        )
    if not weak:
        yield ok("configuration.weak_forms", "no weak form is accepted")
    if not config.lockout_threshold:
        yield warn(
            "configuration.lockout",
            "passwords may be guessed without end (lockout_threshold is 0)",
            "lockout_threshold = 10 in kdc.toml",
        )
    if config.clockskew_s > MAX_SENSIBLE_SKEW_S:
        yield warn(
            "configuration.clockskew",
            f"clients may be {config.clockskew_s} s off, and replays are remembered for as long",
            'clockskew = "5m" in kdc.toml, and set the clocks',
        )
    if config.roca_policy != "block":
        yield warn(
            "configuration.roca",
            "keys from the faulty TPM generator of CVE-2017-15361 may log on",
            'roca_policy = "block" in kdc.toml, once such keys are replaced',
        )
