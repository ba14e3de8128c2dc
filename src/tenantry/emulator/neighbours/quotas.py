"""Owns Service Quotas for SES: what the quotas are, and requests to raise them, recorded until somebody decides.

Leaves the quotas themselves to the options of the account. Nobody decides by itself: a request stays open.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from tenantry.emulator.calls import Call, Params, Result
from tenantry.emulator.neighbours.place import Place, page_of, refused

SERVICE, SERVICE_NAME = "ses", "Amazon Simple Email Service (SES)"
DAILY, RATE = "L-804C8AE8", "L-CDEF9B6B"
NAMES: Mapping[str, str] = {DAILY: "Sending quota", RATE: "Sending rate"}
DEFAULTS: Mapping[str, float] = {DAILY: 200.0, RATE: 1.0}  # the sandbox
UNLIMITED = 1e9
PAGE = 100
OPEN = frozenset({"PENDING", "CASE_OPENED"})


@dataclass(slots=True)
class QuotaRequest:
    """One request to raise a quota."""

    id: str
    case_id: str
    code: str
    wanted: float
    asked_at: float
    requester: str
    status: str = "CASE_OPENED"


class ServiceQuotas:
    """The quotas of SES in one place; `limits` returns their values now, None for one that is not limited."""

    def __init__(self, place: Place, limits: Callable[[], Mapping[str, float | None]]) -> None:
        self.place = place
        self.requests: dict[str, QuotaRequest] = {}
        self._limits = limits

    def list_services(self, params: Params, call: Call) -> Result:
        return {"Services": [{"ServiceCode": SERVICE, "ServiceName": SERVICE_NAME}]}

    def list_service_quotas(self, params: Params, call: Call) -> Result:
        _check_service(params)
        return {"Quotas": [self._quota(code) for code in NAMES]}

    def list_aws_default_service_quotas(self, params: Params, call: Call) -> Result:
        _check_service(params)
        return {"Quotas": [{**self._quota(code), "Value": DEFAULTS[code]} for code in NAMES]}

    def get_service_quota(self, params: Params, call: Call) -> Result:
        return {"Quota": self._quota(_code(params))}

    def get_aws_default_service_quota(self, params: Params, call: Call) -> Result:
        code = _code(params)
        return {"Quota": {**self._quota(code), "Value": DEFAULTS[code]}}

    def request_service_quota_increase(self, params: Params, call: Call) -> Result:
        code, wanted = _code(params), params["DesiredValue"]
        if wanted <= self._value(code):
            message = f"You must provide a quota value greater than the current quota value of {self._value(code)}."
            raise refused("IllegalArgumentException", message)
        if any(each.code == code and each.status in OPEN for each in self.requests.values()):
            message = "Only one open service quota increase request is allowed per quota."
            raise refused("ResourceAlreadyExistsException", message)
        made = QuotaRequest(
            id=self.place.new_hex(40),
            case_id=str(self.place.random.randrange(10**14, 10**15)),
            code=code,
            wanted=wanted,
            asked_at=call.now,
            requester=call.key_id,
        )
        self.requests[made.id] = made
        return {"RequestedQuota": self._shown(made)}

    def get_requested_service_quota_change(self, params: Params, call: Call) -> Result:
        if found := self.requests.get(params["RequestId"]):
            return {"RequestedQuota": self._shown(found)}
        raise refused("NoSuchResourceException", f"There is no request {params['RequestId']}.")

    def list_requested_service_quota_change_history(self, params: Params, call: Call) -> Result:
        return self._history(params)

    def list_requested_service_quota_change_history_by_quota(self, params: Params, call: Call) -> Result:
        _code(params)
        return self._history(params)

    def _history(self, params: Params) -> Result:
        found = [
            each.id
            for each in self.requests.values()
            if params.get("ServiceCode", SERVICE) == SERVICE
            and params.get("QuotaCode") in (None, each.code)
            and params.get("Status") in (None, each.status)
        ]
        page = page_of(found, params.get("NextToken"), params.get("MaxResults", PAGE))
        if page is None:
            raise refused("InvalidPaginationTokenException", "Invalid input was provided.")
        return {"RequestedQuotas": [self._shown(self.requests[name]) for name in page[0]], "NextToken": page[1]}

    def _value(self, code: str) -> float:
        value = self._limits()[code]
        return UNLIMITED if value is None else value

    def _quota(self, code: str) -> dict[str, Any]:
        return {
            "ServiceCode": SERVICE,
            "ServiceName": SERVICE_NAME,
            "QuotaArn": self.place.arn("servicequotas", f"{SERVICE}/{code}"),
            "QuotaCode": code,
            "QuotaName": NAMES[code],
            "Value": self._value(code),
            "Unit": "None",
            "Adjustable": True,
            "GlobalQuota": False,
        }

    def _shown(self, request: QuotaRequest) -> dict[str, Any]:
        return {
            "Id": request.id,
            "CaseId": request.case_id,
            "ServiceCode": SERVICE,
            "ServiceName": SERVICE_NAME,
            "QuotaCode": request.code,
            "QuotaName": NAMES[request.code],
            "DesiredValue": request.wanted,
            "Status": request.status,
            "Created": request.asked_at,
            "LastUpdated": request.asked_at,
            "Requester": request.requester,
            "QuotaArn": self.place.arn("servicequotas", f"{SERVICE}/{request.code}"),
            "GlobalQuota": False,
            "Unit": "None",
        }


def _check_service(params: Params) -> None:
    if params["ServiceCode"] != SERVICE:
        raise refused("NoSuchResourceException", f"This local Service Quotas knows {SERVICE} alone.")


def _code(params: Params) -> str:
    _check_service(params)
    code: str = params["QuotaCode"]
    if code not in NAMES:
        raise refused("NoSuchResourceException", f"There is no quota {code}; known are {', '.join(NAMES)}.")
    return code
