"""STS, Organizations, Service Quotas and Support beside the local SES: how an account is reached, made and enlarged."""

from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.emulator.neighbours.around import ACCOUNT, REGION, Around, around


@pytest.fixture
def world() -> Iterator[Around]:
    with around(still=True, max_24_hour_send=50_000.0, max_send_rate=14.0) as made:
        yield made


def refused(call: Any, **params: Any) -> str:
    with pytest.raises(ClientError) as error:
        call(**params)
    return str(error.value.response["Error"]["Code"])


def session(world: Around, account_id: str) -> dict[str, str]:
    """Assume a role in another account; return what a client takes as its keys."""
    role = f"arn:aws:iam::{account_id}:role/OrganizationAccountAccessRole"
    given = world.client("sts").assume_role(RoleArn=role, RoleSessionName="tenantry")["Credentials"]
    return {
        "aws_access_key_id": given["AccessKeyId"],
        "aws_secret_access_key": given["SecretAccessKey"],
        "aws_session_token": given["SessionToken"],
    }


def test_a_new_account_is_made_reached_and_its_own(world: Around) -> None:
    """Organizations makes an account, STS gives credentials for it, and what is made with them is in that account alone."""
    organizations = world.client("organizations")
    asked = organizations.create_account(Email="cell@acme.example", AccountName="cell-2")["CreateAccountStatus"]
    assert asked["State"] == "IN_PROGRESS"
    world.hands.now += 2
    done = organizations.describe_create_account_status(CreateAccountRequestId=asked["Id"])["CreateAccountStatus"]
    assert done["State"] == "SUCCEEDED"
    account_id = done["AccountId"]
    assert [each["Id"] for each in organizations.list_accounts()["Accounts"]] == [ACCOUNT, account_id]
    keys = session(world, account_id)
    whose = world.client("sts", **keys).get_caller_identity()
    assert whose["Account"] == account_id
    assert whose["Arn"] == f"arn:aws:sts::{account_id}:assumed-role/OrganizationAccountAccessRole/tenantry"
    assert world.client("sts").get_caller_identity()["Account"] == ACCOUNT
    world.client("sesv2", **keys).create_tenant(TenantName="there")
    assert world.client("sesv2").list_tenants()["Tenants"] == []
    assert (
        world.client("sesv2", **keys).get_tenant(TenantName="there")["Tenant"]["TenantArn"].split(":")[4] == account_id
    )
    assert world.client("sesv2", "eu-west-1", **keys).list_tenants()["Tenants"] == []


def test_a_topic_of_one_account_tells_a_queue_of_another(world: Around) -> None:
    """Subscriptions cross accounts and Regions, as a central feed needs it."""
    world.client("organizations").create_account(Email="x@acme.example", AccountName="x")
    world.hands.now += 2
    account_id = world.client("organizations").list_accounts()["Accounts"][1]["Id"]
    keys = session(world, account_id)
    world.client("sqs", "eu-west-1", **keys).create_queue(QueueName="far")
    sns = world.client("sns")
    arn = sns.create_topic(Name="t")["TopicArn"]
    far = f"arn:aws:sqs:eu-west-1:{account_id}:far"
    sns.subscribe(TopicArn=arn, Protocol="sqs", Endpoint=far, Attributes={"RawMessageDelivery": "true"})
    sns.publish(TopicArn=arn, Message="over there")
    sqs = world.client("sqs", "eu-west-1", **keys)
    url = sqs.get_queue_url(QueueName="far")["QueueUrl"]
    assert sqs.receive_message(QueueUrl=url)["Messages"][0]["Body"] == "over there"


def test_roles_lead_only_to_accounts_that_exist(world: Around) -> None:
    """A role in an unknown account is denied, a malformed one invalid; a second account needs another address."""
    sts, organizations = world.client("sts"), world.client("organizations")
    role = {"RoleArn": "arn:aws:iam::999999999999:role/x", "RoleSessionName": "x-1"}
    assert refused(sts.assume_role, **role) == "AccessDenied"
    assert refused(sts.assume_role, RoleArn="arn:aws:iam::1:role/xxxxx", RoleSessionName="x-1") == "ValidationError"
    organizations.create_account(Email="x@acme.example", AccountName="x")
    second = organizations.create_account(Email="X@acme.example", AccountName="y")["CreateAccountStatus"]
    assert (second["State"], second["FailureReason"]) == ("FAILED", "EMAIL_ALREADY_EXISTS")
    for number in range(8):
        organizations.create_account(Email=f"{number}@acme.example", AccountName="z")
    last = organizations.list_create_account_status(States=["FAILED"])["CreateAccountStatuses"]
    assert [each.get("FailureReason") for each in last] == ["EMAIL_ALREADY_EXISTS"]
    full = organizations.create_account(Email="full@acme.example", AccountName="z")["CreateAccountStatus"]
    assert full["FailureReason"] == "ACCOUNT_LIMIT_EXCEEDED"
    nothing = {"CreateAccountRequestId": "car-0123456789abcdef"}
    assert refused(organizations.describe_create_account_status, **nothing) == "CreateAccountStatusNotFoundException"


def test_quota_requests_are_recorded(world: Around) -> None:
    """The quotas are those of the account; a request for more stays open, and a second one is refused."""
    quotas = world.client("service-quotas")
    found = {each["QuotaCode"]: each["Value"] for each in quotas.list_service_quotas(ServiceCode="ses")["Quotas"]}
    assert found == {"L-804C8AE8": 50_000.0, "L-CDEF9B6B": 14.0}
    rate = {"ServiceCode": "ses", "QuotaCode": "L-CDEF9B6B"}
    assert refused(quotas.request_service_quota_increase, **rate, DesiredValue=10.0) == "IllegalArgumentException"
    asked = quotas.request_service_quota_increase(**rate, DesiredValue=200.0)["RequestedQuota"]
    assert (asked["Status"], asked["DesiredValue"]) == ("CASE_OPENED", 200.0)
    again = refused(quotas.request_service_quota_increase, **rate, DesiredValue=300.0)
    assert again == "ResourceAlreadyExistsException"
    history = quotas.list_requested_service_quota_change_history_by_quota(**rate)["RequestedQuotas"]
    assert [each["Id"] for each in history] == [asked["Id"]]
    assert quotas.get_requested_service_quota_change(RequestId=asked["Id"])["RequestedQuota"] == history[0]
    assert refused(quotas.get_service_quota, ServiceCode="ses", QuotaCode="L-0") == "NoSuchResourceException"
    (kept,) = world.admin("requests")["quota_increases"]
    assert (kept["account_id"], kept["code"], kept["wanted"]) == (ACCOUNT, "L-CDEF9B6B", 200.0)
    world.admin(f"requests/{asked['Id']}", {"status": "APPROVED"})
    assert quotas.get_service_quota(**rate)["Quota"]["Value"] == 200.0
    assert world.client("sesv2").get_account()["SendQuota"]["MaxSendRate"] == 200.0


def test_support_cases_are_kept_with_every_word(world: Around) -> None:
    """A case is opened, written to, read and resolved; an unknown one is told."""
    support = world.client("support")
    case_id = support.create_case(
        subject="SES sending quota",
        communicationBody="Please raise it.",
        serviceCode="service-ses",
        severityCode="high",
    )["caseId"]
    support.add_communication_to_case(caseId=case_id, communicationBody="Figures follow.")
    (case,) = support.describe_cases(caseIdList=[case_id])["cases"]
    assert (case["subject"], case["severityCode"], case["status"]) == ("SES sending quota", "high", "opened")
    words = [each["body"] for each in case["recentCommunications"]["communications"]]
    assert words == ["Figures follow.", "Please raise it."]
    (kept,) = world.admin("requests")["support_cases"]
    assert [each["body"] for each in kept["letters"]] == words[::-1]
    assert support.resolve_case(caseId=case_id)["finalCaseStatus"] == "resolved"
    assert support.describe_cases()["cases"] == []
    assert len(support.describe_cases(includeResolvedCases=True)["cases"]) == 1
    assert refused(support.describe_cases, caseIdList=["case-none"]) == "CaseIdNotFound"
    assert refused(support.describe_trusted_advisor_checks, language="en") == "UnsupportedOperation"


def test_regions_are_apart(world: Around) -> None:
    """The same names in another Region are other things."""
    world.queue("q")
    assert world.client("sqs", "eu-west-1").list_queues(QueueNamePrefix="q").get("QueueUrls", []) == []
    assert world.client("sns", "eu-west-1").create_topic(Name="t")["TopicArn"].split(":")[3] == "eu-west-1"
    assert world.client("sns", REGION).create_topic(Name="t")["TopicArn"].split(":")[3] == REGION
