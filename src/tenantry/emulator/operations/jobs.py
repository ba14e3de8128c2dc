"""Owns import and export jobs: lists that are read from files, metrics and insights that are written to them.

Leaves where the files are to `emulator.files`: `s3://bucket/key` is a file `bucket/key` of a folder on this machine.
"""

import csv
import io
import json
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

from tenantry.emulator.calls import Call, Params, Result
from tenantry.emulator.coverage import partly
from tenantry.emulator.errors import SesError, bad_request, not_found
from tenantry.emulator.files import FileError
from tenantry.emulator.operations.contacts import ContactOperations
from tenantry.emulator.operations.insights import InsightOperations
from tenantry.emulator.records import Contact, Job, Suppressed

RECORDS_MAX = 100_000
JOBS_MAX = 1_000
EXPORTED_DEFAULT = 1_000
_NAMES = {"METRICS_DATA": "MetricsDataSource", "MESSAGE_INSIGHTS": "MessageInsightsDataSource"}


class JobOperations(ContactOperations, InsightOperations):
    """Make, look up and cancel jobs; a job is done when it is made (imports) or first looked at (exports)."""

    @partly("read from a file of the folder given by --files, at once; at most 100,000 records")
    def create_import_job(self, params: Params, call: Call) -> Result:
        target, source = params["ImportDestination"], params["ImportDataSource"]
        if len(target) != 1:
            raise bad_request("ImportDestination names exactly one list.")
        if contacts := target.get("ContactListDestination"):
            self.contact_list(contacts["ContactListName"])
        job = self._new_job(self.import_jobs, params, call)
        try:
            rows = list(islice(_records(self.files.read(source["S3Url"]), source["DataFormat"]), RECORDS_MAX + 1))
            if len(rows) > RECORDS_MAX:
                raise FileError(f"The file has more than {RECORDS_MAX} records.")
        except FileError as error:
            job.status, job.found = "FAILED", {"FailureInfo": {"ErrorMessage": str(error)}}
            return {"JobId": job.id}
        failed = sum(not self._take(row, target, call) for row in rows)
        job.status = "COMPLETED"
        job.found = {"ProcessedRecordsCount": len(rows), "FailedRecordsCount": failed}
        job.found["CompletedTimestamp"] = call.now
        return {"JobId": job.id}

    def get_import_job(self, params: Params, call: Call) -> Result:
        job = _job(self.import_jobs, params)
        return {"JobId": job.id, **job.given, "JobStatus": job.status, "CreatedTimestamp": job.created_at, **job.found}

    def list_import_jobs(self, params: Params, call: Call) -> Result:
        wanted = params.get("ImportDestinationType", "")
        member = {"SUPPRESSION_LIST": "SuppressionListDestination", "CONTACT_LIST": "ContactListDestination"}.get(
            wanted
        )

        def is_wanted(job: Job) -> bool:
            return member is None or member in job.given["ImportDestination"]

        shown, token = self.import_jobs.page(params, is_wanted)
        names = ("ProcessedRecordsCount", "FailedRecordsCount")
        rows = [
            {
                "JobId": job.id,
                "ImportDestination": job.given["ImportDestination"],
                "JobStatus": job.status,
                "CreatedTimestamp": job.created_at,
                **{name: job.found[name] for name in names if name in job.found},
            }
            for job in shown
        ]
        return {"ImportJobs": rows, "NextToken": token}

    @partly("written when the job is first looked at, to the folder given by --files or to a URL of this server")
    def create_export_job(self, params: Params, call: Call) -> Result:
        if len(params["ExportDataSource"]) != 1:
            raise bad_request("ExportDataSource names exactly one source.")
        if self.profile.vdm["VdmEnabled"] != "ENABLED":
            raise bad_request("VDM is not enabled for this account (PutAccountVdmAttributes).")
        return {"JobId": self._new_job(self.export_jobs, params, call).id}

    def get_export_job(self, params: Params, call: Call) -> Result:
        job = self._exported(_job(self.export_jobs, params), call)
        found = {name: each for name, each in job.found.items() if name != "body"}
        target = {**job.given["ExportDestination"]}
        if job.status == "COMPLETED" and "S3Url" not in target:
            target["S3Url"] = f"{call.endpoint}/_local/exports/{job.id}"
        return {
            "JobId": job.id,
            "ExportSourceType": _source_of(job),
            "JobStatus": job.status,
            "ExportDestination": target,
            "ExportDataSource": job.given["ExportDataSource"],
            "CreatedTimestamp": job.created_at,
            **found,
        }

    def list_export_jobs(self, params: Params, call: Call) -> Result:
        kind, status = params.get("ExportSourceType"), params.get("JobStatus")

        def is_wanted(job: Job) -> bool:
            return kind in (None, _source_of(job)) and status in (None, self._exported(job, call).status)

        shown, token = self.export_jobs.page(params, is_wanted)
        rows = [
            {
                "JobId": job.id,
                "ExportSourceType": _source_of(job),
                "JobStatus": self._exported(job, call).status,
                "CreatedTimestamp": job.created_at,
                "CompletedTimestamp": job.found.get("CompletedTimestamp"),
            }
            for job in shown
        ]
        return {"ExportJobs": rows, "NextToken": token}

    def cancel_export_job(self, params: Params, call: Call) -> Result:
        job = _job(self.export_jobs, params)
        if job.status != "CREATED":
            raise bad_request(f"The job is {job.status} and cannot be cancelled.")
        job.status, job.found = "CANCELLED", {"CompletedTimestamp": call.now}
        return None

    def export_body(self, job_id: str) -> bytes | None:
        """Return what an export job has written, or None."""
        job = self.export_jobs.get(job_id)
        return job.found.get("body") if job else None

    def _new_job(self, jobs: dict[str, Job], params: Params, call: Call) -> Job:
        if len(jobs) >= JOBS_MAX:
            raise SesError("LimitExceededException", f"There are {JOBS_MAX} jobs already.")
        job = Job(self.new_uuid(), dict(params), call.now)
        jobs[job.id] = job
        return job

    def _take(self, row: Mapping[str, Any], target: Mapping[str, Any], call: Call) -> bool:
        address = row.get("emailAddress")
        if not isinstance(address, str) or "@" not in address or len(address) > 320:
            return False
        if suppression := target.get("SuppressionListDestination"):
            if suppression["SuppressionListImportAction"] == "DELETE":
                if address in self.suppressed:
                    del self.suppressed[address]
                return True
            reason = row.get("reason", "BOUNCE")
            if reason not in ("BOUNCE", "COMPLAINT"):
                return False
            self.suppressed[address] = Suppressed(address, reason, call.now)
            return True
        return self._take_contact(address, row, target["ContactListDestination"], call)

    def _take_contact(self, address: str, row: Mapping[str, Any], target: Mapping[str, Any], call: Call) -> bool:
        found = self.contact_list(target["ContactListName"])
        if target["ContactListImportAction"] == "DELETE":
            if address.lower() in found.contacts:
                del found.contacts[address.lower()]
            return True
        given = row.get("topicPreferences")
        rows = given if isinstance(given, list) else []
        preferences = {
            str(each.get("topicName")): str(each.get("subscriptionStatus")) for each in rows if isinstance(each, dict)
        }
        if not preferences.keys() <= found.topics.keys() or not set(preferences.values()) <= {"OPT_IN", "OPT_OUT"}:
            return False
        attributes = row.get("attributesData")
        text = attributes if isinstance(attributes, str) or attributes is None else json.dumps(attributes)
        unsubscribed = str(row.get("unsubscribeAll", "")).lower() == "true"
        found.contacts[address.lower()] = Contact(address, call.now, call.now, preferences, unsubscribed, text)
        return True

    def _exported(self, job: Job, call: Call) -> Job:
        if job.status != "CREATED":
            return job
        source, target = job.given["ExportDataSource"], job.given["ExportDestination"]
        if metrics := source.get("MetricsDataSource"):
            rows = [*self._metric_rows(metrics)]
        else:
            rows = [*self._insight_rows(source["MessageInsightsDataSource"], call.now)]
        body = _written(rows, target["DataFormat"])
        job.status, job.found = "COMPLETED", {"CompletedTimestamp": call.now}
        job.found["Statistics"] = {"ProcessedRecordsCount": len(rows), "ExportedRecordsCount": len(rows)}
        if url := target.get("S3Url"):
            try:
                self.files.write(url, body)
            except FileError as error:
                job.status = "FAILED"
                job.found["FailureInfo"] = {"ErrorMessage": str(error)}
        else:
            job.found["body"] = body
        return job

    def _metric_rows(self, source: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        start, end = source["StartDate"].timestamp(), source["EndDate"].timestamp()
        choices = {name: values or ["*"] for name, values in source["Dimensions"].items()}
        for metric in source["Metrics"]:
            for place in _products(choices):
                series = self.vdm.series(metric["Name"], place, start, end)
                sends = dict(self.vdm.series("SEND", place, start, end))
                for at, count in series:
                    is_rate = metric.get("Aggregation") == "RATE"
                    value = count / sends[at] if is_rate and sends.get(at) else count
                    yield {"Timestamp": at, "Metric": metric["Name"], **place, "Value": value}

    def _insight_rows(self, source: Mapping[str, Any], now: float) -> Iterator[dict[str, Any]]:
        start, end = source["StartDate"].timestamp(), source["EndDate"].timestamp()
        most, include, exclude = (
            source.get("MaxResults", EXPORTED_DEFAULT),
            source.get("Include"),
            source.get("Exclude"),
        )
        count = 0
        for record in reversed(self.ledger.messages):
            if count >= most or record.at < start:
                return
            if record.at > end:
                continue
            for row in self.insights_of(record, now)["Insights"]:
                facts = _facts(record, row)
                if count < most and _fits(facts, include, True) and not _fits(facts, exclude, False):
                    count += 1
                    yield {"MessageId": record.message_id, "Timestamp": record.at, **facts}


def _facts(record: Any, row: Mapping[str, Any]) -> dict[str, Any]:
    kinds = [_kind(event) for event in row["Events"]]
    engagement = [kind for kind in kinds if kind in ("OPEN", "CLICK")]
    delivery = [kind for kind in kinds if kind not in ("OPEN", "CLICK")]
    return {
        "FromEmailAddress": record.source,
        "Destination": row["Destination"],
        "Subject": record.subject or "",
        "Isp": row["Isp"],
        "TenantName": record.tenant or "",
        "LastDeliveryEvent": delivery[-1] if delivery else "",
        "LastEngagementEvent": engagement[-1] if engagement else "",
    }


def _kind(event: Mapping[str, Any]) -> str:
    bounce = (event["Details"] or {}).get("Bounce")
    return f"{bounce['BounceType']}_BOUNCE" if bounce else str(event["Type"])


def _fits(facts: Mapping[str, Any], filters: Mapping[str, Any] | None, default: bool) -> bool:
    if not filters:
        return default
    return all(facts[name] in values for name, values in filters.items())


def _products(choices: Mapping[str, list[str]]) -> Iterator[dict[str, str]]:
    places: list[dict[str, str]] = [{}]
    for name, values in choices.items():
        places = [{**place, name: value} for place in places for value in values[:10]]
    yield from places[:100]


def _source_of(job: Job) -> str:
    return next(kind for kind, name in _NAMES.items() if name in job.given["ExportDataSource"])


def _job(jobs: Mapping[str, Job], params: Params) -> Job:
    if found := jobs.get(params["JobId"]):
        return found
    raise not_found(f"Job <{params['JobId'][:128]}> does not exist.")


def _records(body: bytes, form: str) -> Iterator[dict[str, Any]]:
    """Read a file of records: CSV with or without a heading, or JSON, one object a line or one list of all."""
    try:
        text = body.decode("utf-8-sig")
        if form == "CSV":
            rows = csv.reader(io.StringIO(text))
            for number, row in enumerate(rows):
                if row and not (number == 0 and row[0].strip().lower() == "emailaddress"):
                    yield {"emailAddress": row[0].strip(), **({"reason": row[1].strip()} if len(row) > 1 else {})}
        else:
            documents = (
                json.loads(text)
                if text.lstrip().startswith("[")
                else map(json.loads, filter(str.strip, text.splitlines()))
            )
            for each in documents:
                yield each if isinstance(each, dict) else {}
    except (ValueError, RecursionError, csv.Error) as error:
        raise FileError(f"The file is no {form} in UTF-8: {error}") from None


def _written(rows: list[dict[str, Any]], form: str) -> bytes:
    if form == "JSON":
        return "".join(f"{json.dumps(row)}\n" for row in rows).encode()
    text = io.StringIO()
    if rows:
        writer = csv.DictWriter(text, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return text.getvalue().encode()
