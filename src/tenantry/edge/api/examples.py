"""Owns one believable example of each answer, as the OpenAPI document shows it; leaves the shapes to `shapes`."""

from __future__ import annotations

from collections.abc import Mapping

_AT = "2026-01-31T12:00:00Z"
_NUMBER = "01948c1f7a3e7b0c9d2f4e6a8b0c1d2e"
_TENANT, _CELL, _STREAM, _PAUSE, _VERDICT, _MESSAGE = (
    f"{prefix}_{_NUMBER}" for prefix in ("ten", "cell", "str", "pau", "ver", "msg")
)
_PLACE = {"tenant_id": _TENANT, "cell_id": _CELL}

_TENANT_OUT = {
    "id": _TENANT, "name": "acme", "cell_id": _CELL, "account": "123456789012", "labels": {"unit": "retail"}, "created_at": _AT,
}  # fmt: skip
_STREAM_OUT = {
    "id": _STREAM, **_PLACE, "pool_id": f"pool_{_NUMBER}", "name": "marketing", "class": "marketing", "policy": "standard",
    "is_default": False, "created_at": _AT, "provisioned_at": _AT, "limit": None, "ramp_stage": None, "cohort": 0,
}  # fmt: skip
_IDENTITY_OUT = {
    "id": f"idn_{_NUMBER}", **_PLACE, "name": "acme.example", "dkim": "byodkim", "status": "pending", "created_at": _AT,
    "verified_at": None,
    "records": [
        {"type": "TXT", "name": "s1._domainkey.acme.example", "value": "p=MIIB…", "purpose": "dkim", "status": "PENDING"}
    ],
}  # fmt: skip
_KEY_OUT = {
    "id": f"key_{_NUMBER}", "tenant_id": _TENANT, "scopes": ["read", "send"], "created_at": _AT, "revoked_at": None,
}  # fmt: skip
_TEMPLATE_OUT = {"name": "welcome", "version": 3, "subject": "Welcome, {{name}}", "created_at": _AT, "changed_at": _AT}
_SUMMARY_OUT = {
    "id": _MESSAGE, "tenant_id": _TENANT, "stream_id": _STREAM, "stream": "transactional", "state": "handed", "hold": None,
    "subject": "Your order", "from": "Acme <hello@acme.example>", "tags": {"campaign": "autumn"}, "accepted_at": _AT,
    "due_at": None, "ses_id": None, "possible_duplicate": False, "reason": None,
    "recipients": [
        {"address": "ann@example.com", "kind": "to", "standing": "delivered", "facts": ["handed", "delivered"]}
    ],
}  # fmt: skip
_VERDICT_OUT = {
    "id": _VERDICT, "stream_id": _STREAM, "kind": "bounce", "action": "pause", "cohort": 0, "block_start": 0, "block_size": 100,
    "n": 90, "x": 18, "rate": 0.2, "line": 0.05, "log_e": 9.1, "bar": 1000.0, "policy": "standard",
    "words": "18 of 90 recipients bounced (20 %) …", "at": _AT, "acted_at": _AT, "pause_id": _PAUSE,
}  # fmt: skip

EXAMPLES: Mapping[str, Mapping[str, object]] = {
    "AcceptedOut": {
        "id": _MESSAGE, "stream": "transactional", "state": "accepted", "accepted_at": _AT, "suppressed": [], "hold": None,
    },
    "BatchOut": {
        "results": [
            {"id": _MESSAGE, "stream": "transactional", "state": "accepted", "accepted_at": _AT, "suppressed": [], "hold": None},
            {
                "state": "refused",
                "error": {"code": "no_recipients", "message": "A message needs a recipient …", "field": "messages[1].to"},
            },
        ]
    },
    "TenantOut": _TENANT_OUT,
    "StreamOut": _STREAM_OUT,
    "IdentityOut": _IDENTITY_OUT,
    "MadeTenantOut": {"tenant": _TENANT_OUT, "streams": [_STREAM_OUT], "identity": _IDENTITY_OUT},
    "SuppressionOut": {"address": "ann@example.com", "cause": "bounce", "stream": None, "created_at": _AT},
    "SuppressedOut": {
        "new": 1, "left_out": [{"index": 1, "code": "invalid_address", "message": "Give an address like name@example.com …"}],
    },
    "RemovedOut": {"removed": 1},
    "TemplateSummaryOut": _TEMPLATE_OUT,
    "TemplateOut": {**_TEMPLATE_OUT, "text": "Hello {{name}}", "html": None},
    "PreviewOut": {"subject": "Welcome, Ann", "text": "Hello Ann", "html": None},
    "KeyOut": _KEY_OUT,
    "MadeKeyOut": {**_KEY_OUT, "secret": "shown this once"},
    "MessageSummaryOut": _SUMMARY_OUT,
    "MessageOut": {
        **_SUMMARY_OUT,
        "timeline": [
            {"at": _AT, "what": "accepted", "recipients": [], "detail": {}},
            {"at": "2026-01-31T12:00:00.020Z", "what": "claimed", "recipients": [], "detail": {"attempt": "1"}},
        ],
    },
    "VerdictOut": _VERDICT_OUT,
    "ReputationOut": {
        "stream_id": _STREAM, "stream": "marketing", "cohort": 0, "handed": 400, "bounced": 48, "bounce_rate": 0.12,
        "bounce_bounds": [0.08, 0.17], "reporting": 380, "complained": 0, "complaint_rate": 0.0, "complaint_bounds": [0.0, 0.014],
        "limit": None, "ramp_stage": None, "policy": "standard", "verdicts": [_VERDICT_OUT],
    },
    "DayOut": {
        "stream_id": _STREAM, "cohort": 0, "day": "2026-01-31", "provider": "microsoft", "handed": 400, "reporting": 400,
        "bounced": 3, "complained": 0,
    },
    "CountCheckOut": {"recipients": 400, "counts": 9, "differences": []},
    "PolicyOut": {"name": "mine", "version": 1, "acts": True, "text": "policy: mine\nlines:\n  - counts: bounce\n    line: 5%\n"},
    "BacktestOut": {
        "policy": "mine", "days": 28, "streams": 12,
        "found": [
            {
                "stream_id": _STREAM, "tenant": "acme", "stream": "marketing", "policy": "mine", "in_force": "standard",
                "throttled_at": _AT, "paused_at": _AT, "words": "18 of 90 recipients bounced (20 %) …",
                "before": 90, "after": 4000, "bad_before": 18, "bad_after": 790, "wrong": False,
            }
        ],
    },
    "PauseOut": {
        "id": _PAUSE, "scope_kind": "stream", "scope_id": _STREAM, "author": "guard", "reason": "18 of 90 recipients bounced …",
        "state": "fenced", "opened_at": _AT, "local_at": _AT, "fenced_at": _AT, "ended_at": None, "end_reason": None,
        "verdict_id": _VERDICT,
    },
    "HeldOut": {"tenant_id": _TENANT, "stream_id": _STREAM, "messages": 40, "recipients": 42, "oldest_at": _AT},
    "DecisionOut": {"messages": 40},
    "PoolOut": {"id": f"pool_{_NUMBER}", "cell_id": _CELL, "name": "tier-a", "kind": "standard"},
    "CellOut": {
        "id": _CELL, "name": "main", "region": "eu-central-1", "rate_per_second": 14.0, "quota_24h": 50000.0, "sent_24h": 12.0,
        "sending_enabled": True, "enforcement": "HEALTHY", "seen_at": _AT,
    },
    "ChangeOut": {
        "action": "create", "kind": "configuration_set", "name": f"tenantry-{_NUMBER}", "urgency": "onboard", "differs": [],
        "attributes": {},
    },
    "WaitsOut": {
        "stream_id": _STREAM, "stream": "marketing", "tenant_id": _TENANT, "tenant": "acme", "accepted": 120,
        "states": {"waiting": 20, "handed": 100}, "oldest_waiting_at": _AT, "wait_p50_seconds": 0.02, "wait_p99_seconds": 0.3,
    },
    "ExplanationOut": {
        "id": _MESSAGE, "kind": "message", "summary": "It waits because the guard paused its stream at 2026-01-31 12:00:00 UTC.",
        "sentences": ["The guard paused the stream …"], "see": [_STREAM, _PAUSE],
    },
    "FindingOut": {
        "level": "error", "check": "feed_blind", "what": "Cell main hands mail over and hears nothing of it",
        "why": "Without events nobody learns of bounces and complaints, and the guard stops nobody.",
        "do": "Look whether a worker runs and whether SES's events reach the queue that it reads.",
    },
}  # fmt: skip
