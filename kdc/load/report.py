"""The result of a load as one HTML page that needs nothing beside it: no script, no other file."""

from collections.abc import Sequence
from html import escape

from kdc.load.result import Json
from kdc.load.svg import Axis, Line, chart, linear, logarithmic, percentiles

_STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; max-width: 900px; margin: 2em auto; padding: 0 1em;
       color: #1b1f24; background: #fff; }
h1 { font-size: 1.5em; margin-bottom: .2em; } h2 { font-size: 1.1em; margin: 1.8em 0 .4em; }
table { border-collapse: collapse; width: 100%; } th { text-align: left; font-weight: 600; }
th, td { padding: .25em .8em .25em 0; border-bottom: 1px solid #d9dee3; }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; }
.warn { background: #fff3d6; border-left: 4px solid #c98a00; padding: .5em .8em; }
.bad { background: #fde4e1; border-left: 4px solid #b3261e; padding: .5em .8em; }
.muted { color: #59636e; }
svg { width: 100%; height: auto; } .plot { fill: #fafbfc; stroke: #c5ccd3; }
.grid { stroke: #e4e8ec; } .line { fill: none; stroke-width: 2; }
.tick { font-size: 11px; fill: #59636e; } .title { font-size: 12px; fill: #1b1f24; }
.mid { text-anchor: middle; } .end { text-anchor: end; }
.legend span { margin-right: 1.4em; } .legend i { display: inline-block; width: 14px; height: 3px;
       margin-right: .45em; vertical-align: middle; }
"""


def render(results: Sequence[tuple[str, Json]]) -> str:
    """Render one result, or several side by side; each with the name it is shown under."""
    names = [name for name, _ in results]
    title = "Load on a Kerberos KDC: " + ", ".join(names)
    parts = [
        '<!doctype html><html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body>",
        f"<h1>{escape(title)}</h1>",
    ]
    for name, result in results:
        parts.append(_setting(name, result))
    parts += [_notices(name, result) for name, result in results]
    parts += ["<h2>In sum</h2>", _summary(results)]
    parts += [_ramp(name, result) for name, result in results if result.get("ramp")]
    parts += ["<h2>Latency by percentile</h2>", _curve(results)]
    parts += ["<h2>Rate over time</h2>", _rates(results)]
    parts += ["<h2>Latency over time</h2>", _latencies(results)]
    parts += ["<h2>How requests ended</h2>", _ends(results)]
    for name, result in results:
        if len(result["by_work"]) > 1:
            parts += [f"<h2>By kind of work: {escape(name)}</h2>", _by_work(result)]
    parts.append(
        '<p class="muted">Latency counts from the time at which a request was due, so a pause of '
        "the server is felt by every request that fell into it. A closed load waits for replies "
        "before it sends: its latencies are not those of clients that come on their own.</p>"
    )
    parts.append("</body></html>\n")
    return "\n".join(parts)


def describe_load(result: Json) -> str:
    """Say in words what a load was."""
    load = result["load"]
    if load["kind"] == "closed":
        return f"closed, {load['window']} outstanding, {load['requests']} requests"
    if load["kind"] == "open":
        return f"open, {load['rate']:g}/s for {load['seconds']:g} s"
    return (
        f"open, {load['from']:g} to {load['to']:g}/s in {load['steps']} steps "
        f"of {load['step_s']:g} s"
    )


def _setting(name: str, result: Json) -> str:
    mix = ", ".join(f"{one['work']}:{one['weight']}" for one in result["mix"])
    return (
        f'<p><b>{escape(name)}</b> <span class="muted">{escape(result["target"])}, realm '
        f"{escape(result['realm'])}, {escape(result['transport'])}, {escape(mix)}, "
        f"{escape(describe_load(result))}, {escape(result['started_at'])}</span></p>"
    )


def _notices(name: str, result: Json) -> str:
    out = []
    if result["generator"]["busy"]:
        share = 100 * result["generator"]["cpu_share"]
        out.append(
            f'<p class="warn">{escape(name)}: the load generator used {share:.0f} % of its core: '
            "what was measured may be the generator.</p>"
        )
    verified = result["verified"]
    if verified["good"] < verified["sampled"]:
        out.append(
            f'<p class="bad">{escape(name)}: {verified["sampled"] - verified["good"]} of '
            f"{verified['sampled']} sampled replies did not verify.</p>"
        )
    if result["stopped"]:
        out.append(f"<p>{escape(name)} ended early: {escape(result['stopped'])}.</p>")
    for one in result.get("thresholds", ()):
        if not one["held"]:
            out.append(f'<p class="bad">{escape(name)}: not {escape(one["condition"])}.</p>')
    return "\n".join(out)


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = "".join(
        f"<th{' class=n' if place else ''}>{escape(text)}</th>" for place, text in enumerate(heads)
    )
    body = "\n".join(
        "<tr>"
        + "".join(
            f"<td{' class=n' if place else ''}>{escape(cell)}</td>"
            for place, cell in enumerate(row)
        )
        + "</tr>"
        for row in rows
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _text(value: object) -> str:
    if value is None:
        return "-"
    return f"{value:,.4g}" if isinstance(value, float) else f"{value:,}"


def _summary(results: Sequence[tuple[str, Json]]) -> str:
    rows: list[list[str]] = []

    def row(head: str, values: Sequence[object]) -> None:
        rows.append([head, *(_text(value) for value in values)])

    all_of = [result for _, result in results]
    row("requests", [r["total"]["requests"] for r in all_of])
    row("tickets", [r["total"]["tickets"] for r in all_of])
    row("tickets per second", [r["total"]["tickets_per_s"] for r in all_of])
    row("without a ticket, %", [r["total"]["errors_percent"] for r in all_of])
    for name in all_of[0]["total"]["latency_ms"]:
        row(f"{name}, ms", [r["total"]["latency_ms"].get(name) for r in all_of])
    if any(r["kdc"] for r in all_of):
        row(
            "tickets per second of the KDC's CPU",
            [r["kdc"]["tickets_per_cpu_s"] if r["kdc"] else None for r in all_of],
        )
    row("generator's share of a core", [r["generator"]["cpu_share"] for r in all_of])
    verified = [r["verified"] for r in all_of]
    rows.append(["replies verified", *(f"{v['good']} of {v['sampled']}" for v in verified)])
    return _table(["", *(name for name, _ in results)], rows)


def _ramp(name: str, result: Json) -> str:
    found = result["ramp"]
    if found["knee"] is None:
        words = "The first step was too much already."
    elif found["ended_by"]:
        words = f"Good up to {found['knee']:g}/s; the next step had {escape(found['ended_by'])}."
    else:
        words = f"Good up to the last step, {found['knee']:g}/s."
    rows = [
        [
            f"{step['rate']:g}",
            _text(step["tickets_per_s"]),
            _text(step["errors_percent"]),
            _text(step["latency_ms"]["p50"]),
            _text(step["latency_ms"]["p99"]),
            _text(step["latency_ms"]["max"]),
            step["met"] or "",
        ]
        for step in found["steps"]
    ]
    heads = ["offered /s", "tickets /s", "errors %", "p50 ms", "p99 ms", "max ms", "too much"]
    return f"<h2>Ramp: {escape(name)}</h2><p>{words}</p>" + _table(heads, rows)


def _time_axis(results: Sequence[tuple[str, Json]]) -> Axis:
    last = max((w["at"] for _, r in results for w in r["windows"]), default=1.0)
    return linear("seconds since the start", max(1.0, last))


def _curve(results: Sequence[tuple[str, Json]]) -> str:
    values = [ms for _, r in results for _, ms in r["curve"] if ms]
    highest = max((p for _, r in results for p, _ in r["curve"] if p < 100), default=99.0)
    lines = [Line(name=name, points=[(p, ms) for p, ms in r["curve"]]) for name, r in results]
    y = logarithmic("milliseconds", min(values, default=0.1), max(values, default=1.0))
    return chart("Latency by percentile", percentiles("percentile", highest), y, lines)


def _rates(results: Sequence[tuple[str, Json]]) -> str:
    lines = []
    for name, r in results:
        for key, dashed in (("offered", True), ("tickets", False), ("errors", False)):
            points = [(w["at"], w[key]) for w in r["windows"]]
            if key != "errors" or any(value for _, value in points):
                lines.append(Line(name=f"{name}: {key}", points=points, dashed=dashed))
    high = max((v for line in lines for _, v in line.points if v is not None), default=1.0)
    return chart("Rate over time", _time_axis(results), linear("per second", high), lines)


def _latencies(results: Sequence[tuple[str, Json]]) -> str:
    lines = [
        Line(name=f"{name}: {key}", points=[(w["at"], w[key]) for w in r["windows"]])
        for name, r in results
        for key in ("p50", "p99")
    ]
    values = [v for line in lines for _, v in line.points if v]
    y = logarithmic("milliseconds", min(values, default=0.1), max(values, default=1.0))
    return chart("Latency over time", _time_axis(results), y, lines)


def _ends(results: Sequence[tuple[str, Json]]) -> str:
    ends = dict.fromkeys(end for _, r in results for end in r["total"]["ends"])
    rows = [[end, *(_text(r["total"]["ends"].get(end, 0)) for _, r in results)] for end in ends]
    return _table(["", *(name for name, _ in results)], rows)


def _by_work(result: Json) -> str:
    rows = [
        [
            part["work"],
            _text(part["requests"]),
            _text(part["tickets_per_s"]),
            _text(part["errors_percent"]),
            _text(part["latency_ms"]["p50"]),
            _text(part["latency_ms"]["p99"]),
        ]
        for part in result["by_work"]
    ]
    return _table(["work", "requests", "tickets /s", "errors %", "p50 ms", "p99 ms"], rows)
