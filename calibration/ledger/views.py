"""The ledger in SQL: which decision and which verdict of an event count, and what follows from the two.

all_decisions, all_verdicts, rejected    the tables as they are
decisions                                one row an event
verdicts                                 the verdict of each event that counts, and how many there were
outcomes                                 readings with a verdict
audits                                   drawn audits, with or without a verdict

The rules
---------
*Repeated decisions.* The last decision on an event counts. Repetitions within eight days are settled when they are
written; for later ones `decisions` takes the newest `decided_at`.

*Contradicting verdicts.* The verdict with the last `given_at` counts, and of two at the same moment the one that is
later on the topic. The others stay in `all_verdicts`; `verdicts.given` counts them, and `verdicts.contradicted` says
whether their labels differ, where "cannot tell" is a label, too.

*Withdrawn verdicts.* Where the verdict that counts was taken back by its reviewer, the event has none until the next:
it is in neither `verdicts` nor `outcomes`, and an audit is one that nobody has answered.

*Late verdicts.* A verdict carries everything that calibration needs of its decision. So it counts at once, whether its
decision has arrived in the ledger, comes later, or has been let go; and it counts under the time of the decision.

*Which decision a verdict is about.* The one that it carries: signals, label, draw and versions of an outcome are those
that were before the person, even where the event was decided again since. Columns that only the decision has
(`probability`, `low`, `high`, `route`, `constrained`, `uploader_id`) are null where that was another decision.

*Cannot tell* (`verdict_label` is null). Never right, never a label to learn from: `cannot_tell` is true and `correct`
is false. Fitting leaves these rows out. Where the event was drawn for an audit, it counts as wrong: a sample that drops
what people find hard would make the rest look better than what passes.

*Drawn, but not answered.* Missing: in `audits` with `wrong` null. Never right.

*Propensity.* The probability with which an event like this came before a person: 1 for what goes to review anyway,
drawn or not, and the rate of the draw for what would have passed. A verdict on something that passed undrawn came by
no draw at all: its propensity is null, and it is no use for estimates. `audit_propensity` is the rate where an audit
was drawn, else null.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import gettempdir

import duckdb

from calibration.ledger.tables import Tables

_READING = """taxonomy, source, parse_status, verbal_confidence, label_probability, label_margin, label_entropy,
    label_mass, agreement, reason, audit_drawn, audit_rate, audit_floor, would_pass, model, prompt, decoder, calibrator,
    policy, gate, decided_at"""

_OF_VERDICT = ", ".join(f"v.{name.strip()}" for name in _READING.split(",") if name.strip() != "would_pass")

VIEWS = {
    "decisions": """
        SELECT * FROM all_decisions
        QUALIFY row_number() OVER (PARTITION BY event_id ORDER BY decided_at DESC, "offset" DESC) = 1""",
    "verdicts": """
        SELECT * FROM (
            SELECT *, count(*) FILTER (withdrawn IS NOT TRUE) OVER event AS given,
                min(coalesce(label, '')) OVER event <> max(coalesce(label, '')) OVER event AS contradicted
            FROM all_verdicts
            WINDOW event AS (PARTITION BY event_id)
            QUALIFY row_number() OVER (PARTITION BY event_id ORDER BY given_at DESC, "offset" DESC) = 1
        ) WHERE withdrawn IS NOT TRUE""",
    "outcomes": f"""
        SELECT v.event_id, v.decided_label AS label, v.label AS verdict_label,
            v.label IS NULL AS cannot_tell,
            coalesce(v.label = v.decided_label, FALSE) AS correct,
            CASE
                WHEN v.audit_drawn IS NULL OR NOT v.would_pass THEN 1.0
                WHEN v.audit_drawn AND v.audit_rate > 0.0 THEN v.audit_rate
            END AS propensity,
            CASE WHEN v.audit_drawn AND v.audit_rate > 0.0 THEN v.audit_rate END AS audit_propensity,
            coalesce(v.would_pass, FALSE) AS would_pass, v.blind, {_OF_VERDICT},
            d.probability, d.low, d.high, d.route, d.constrained, d.uploader_id,
            v.reviewer, v.seconds_spent, v.given, v.contradicted, v.given_at
        FROM verdicts v
        LEFT JOIN decisions d ON d.event_id = v.event_id AND d.decided_at = v.decided_at AND d.gate = v.gate""",  # noqa: S608 - our own words only
    "audits": f"""
        SELECT event_id, label, verdict_label, cannot_tell, NOT correct AS wrong, TRUE AS answered,
            audit_rate AS propensity, probability, {_READING}, given_at
        FROM outcomes WHERE audit_drawn
        UNION ALL BY NAME
        SELECT event_id, label, NULL AS verdict_label, NULL AS cannot_tell, NULL AS wrong, FALSE AS answered,
            audit_rate AS propensity, probability, {_READING}, NULL AS given_at
        FROM decisions d
        WHERE audit_drawn AND NOT EXISTS (SELECT 1 FROM verdicts v WHERE v.event_id = d.event_id)""",  # noqa: S608 - our own words only
}


def connect(tables: Tables, since: datetime | None = None) -> duckdb.DuckDBPyConnection:
    """A connection with the views over the tables as they were opened.

    Args:
        since: leave out files of earlier days. Rows from then on are as if all were there: what a decision or verdict
            is replaced by is never more than a clock's error earlier.
    """
    days = None
    if since is not None:
        days = f"day >= '{(since.astimezone(UTC) - timedelta(days=1)).date().isoformat()}'"
    connection = duckdb.connect(config={"python_enable_replacements": False})
    connection.execute("SET TimeZone = 'UTC'")
    connection.execute(f"SET temp_directory = '{Path(gettempdir(), 'tidegate-ledger')}'")
    connection.register("all_decisions", tables.decisions.dataset(days))
    connection.register("all_verdicts", tables.verdicts.dataset(days))
    connection.register("rejected", tables.rejected.dataset())
    for name, query in VIEWS.items():
        connection.execute(f"CREATE TEMP VIEW {name} AS {query}")
    connection.execute("SET enable_external_access = FALSE")  # a query is about the ledger, and changes no file
    return connection
