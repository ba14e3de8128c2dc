"""Owns AWS Support as far as cases go: opened, written to, read, resolved; recorded until a person looks.

Leaves answers to people: nobody writes back here.
"""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from tenantry.emulator.calls import Call, Params, Result
from tenantry.emulator.neighbours.place import Place, page_of, refused

SERVICE = {
    "code": "service-ses",
    "name": "Simple Email Service (SES)",
    "categories": [
        {"code": "sending-limits", "name": "Sending limits"},
        {"code": "general-guidance", "name": "General guidance"},
    ],
}
SEVERITIES = {
    "low": "Low",
    "normal": "Normal",
    "high": "High",
    "urgent": "Urgent",
    "critical": "Critical",
}
PAGE = 100
BODY_MAX = 8_000


@dataclass(slots=True)
class Letter:
    """One communication of a case."""

    body: str
    author: str
    at: float


@dataclass(slots=True)
class Case:
    """A support case as it was opened, and what was written since."""

    id: str
    display_id: str
    given: dict[str, Any]
    author: str
    opened_at: float
    letters: list[Letter] = field(default_factory=list)
    status: str = "opened"


class Support:
    """The support cases of one place."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.cases: dict[str, Case] = {}

    def create_case(self, params: Params, call: Call) -> Result:
        body = params["communicationBody"]
        if not body or len(body) > BODY_MAX:
            raise refused("ValidationException", f"communicationBody must have 1 to {BODY_MAX} characters.")
        if params.get("severityCode", "low") not in SEVERITIES:
            raise refused("ValidationException", f"Invalid severity code: {params['severityCode']}")
        year = datetime.fromtimestamp(call.now, UTC).year
        case_id = f"case-{self.place.account_id}-local-{year}-{self.place.new_hex(16)}"
        display_id = str(self.place.random.randrange(10**9, 10**10))
        given = {name: value for name, value in params.items() if name != "communicationBody"}
        self.cases[case_id] = Case(
            case_id, display_id, given, call.key_id, call.now, [Letter(body, call.key_id, call.now)]
        )
        return {"caseId": case_id}

    def describe_cases(self, params: Params, call: Call) -> Result:
        wanted, resolved = params.get("caseIdList"), params.get("includeResolvedCases", False)
        for case_id in wanted or ():
            self._case(case_id)
        found = [
            each.id
            for each in self.cases.values()
            if (not wanted or each.id in wanted)
            and params.get("displayId") in (None, each.display_id)
            and (each.status != "resolved" or resolved)
        ]
        page = page_of(found, params.get("nextToken"), params.get("maxResults", PAGE))
        if page is None:
            raise refused("ValidationException", "nextToken is not valid.")
        with_letters = params.get("includeCommunications", True)
        shown = [_shown(self.cases[case_id], with_letters=with_letters) for case_id in page[0]]
        return {"cases": shown, "nextToken": page[1]}

    def add_communication_to_case(self, params: Params, call: Call) -> Result:
        case = self._case(params.get("caseId", ""))
        case.letters.append(Letter(params["communicationBody"], call.key_id, call.now))
        case.status = "reopened" if case.status == "resolved" else case.status
        return {"result": True}

    def describe_communications(self, params: Params, call: Call) -> Result:
        case = self._case(params["caseId"])
        return {"communications": [_letter(case, each) for each in reversed(case.letters)]}

    def resolve_case(self, params: Params, call: Call) -> Result:
        case = self._case(params.get("caseId", ""))
        before, case.status = case.status, "resolved"
        return {"initialCaseStatus": before, "finalCaseStatus": case.status}

    def describe_services(self, params: Params, call: Call) -> Result:
        wanted = params.get("serviceCodeList")
        return {"services": [SERVICE] if not wanted or SERVICE["code"] in wanted else []}

    def describe_severity_levels(self, params: Params, call: Call) -> Result:
        return {"severityLevels": [{"code": code, "name": name} for code, name in SEVERITIES.items()]}

    def _case(self, case_id: str) -> Case:
        if found := self.cases.get(case_id):
            return found
        raise refused("CaseIdNotFound", f"The requested caseId {case_id[:100]} could not be located.")


def _shown(case: Case, *, with_letters: bool) -> dict[str, Any]:
    given = case.given
    shown: dict[str, Any] = {
        "caseId": case.id,
        "displayId": case.display_id,
        "subject": given["subject"],
        "status": case.status,
        "serviceCode": given.get("serviceCode", "general-info"),
        "categoryCode": given.get("categoryCode", "using-aws"),
        "severityCode": given.get("severityCode", "low"),
        "submittedBy": case.author,
        "timeCreated": _time(case.opened_at),
        "ccEmailAddresses": given.get("ccEmailAddresses", []),
        "language": given.get("language", "en"),
    }
    if with_letters:
        letters = [_letter(case, each) for each in reversed(case.letters[-5:])]
        shown["recentCommunications"] = {"communications": letters}
    return shown


def _letter(case: Case, letter: Letter) -> dict[str, Any]:
    return {"caseId": case.id, "body": letter.body, "submittedBy": letter.author, "timeCreated": _time(letter.at)}


def _time(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
