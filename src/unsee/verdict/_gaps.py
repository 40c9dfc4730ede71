"""What a run itself did not test: for its certificate, and for the answer to a person."""

from unsee.nouns import Run


def gaps(run: Run) -> dict[str, list[str]]:
    """Return the audits that its policy wanted and that say nothing, by why; empty lists: none."""
    audits, wanted = run.verdict.get("audits", {}), run.verdict.get("policy", {}).get("margins", {})
    return {
        "not_measured": sorted(wanted.keys() - audits.keys()),
        "no_band": sorted(n for n, x in audits.items() if x["state"] == "unknown"),
        "no_power": sorted(n for n, x in audits.items() if x["power"] is False),
        "too_few_models": [str(why) for why in run.fleet.get("refused", ())],
    }
