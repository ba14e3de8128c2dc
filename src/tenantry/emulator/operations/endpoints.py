"""Owns the operations on multi-region endpoints, which are kept; and what SES's deliverability dashboard says.

Leaves sending through an endpoint to the sending operations.
"""

from tenantry.emulator.calls import Call, Params, Result
from tenantry.emulator.coverage import partly, refused
from tenantry.emulator.errors import SesError, already_exists, bad_request, not_found, unsupported
from tenantry.emulator.records import Endpoint
from tenantry.emulator.state import State, tags_of

ENDPOINTS_MAX = 100
NO_PANEL = "measured in real mailboxes of a panel, which is not here"


class EndpointOperations(State):
    """Create, read and delete multi-region endpoints; the dashboard's settings."""

    @partly("kept and READY at once; what is sent through it is sent in the Region that was called")
    def create_multi_region_endpoint(self, params: Params, call: Call) -> Result:
        name, own = params["EndpointName"], self.options.region
        regions = [route["Region"] for route in params["Details"]["RoutesDetails"]]
        if len(regions) != 1 or regions[0] == own:
            raise bad_request("Details must name exactly one Region other than the primary one.")
        if name in self.endpoints:
            raise already_exists(f"Multi-region endpoint <{name}> already exists.")
        if len(self.endpoints) >= ENDPOINTS_MAX:
            raise SesError("LimitExceededException", f"There are {ENDPOINTS_MAX} multi-region endpoints already.")
        endpoint_id = f"{self.random.getrandbits(40):010x}.{self.random.getrandbits(12):03x}"
        arn = self.options.arn("multi-region-endpoint", name)
        made = Endpoint(name, endpoint_id, arn, [own, *regions], call.now, tags_of(params))
        self.endpoints[name] = made
        return {"Status": "READY", "EndpointId": endpoint_id}

    def get_multi_region_endpoint(self, params: Params, call: Call) -> Result:
        found = self._endpoint(params["EndpointName"])
        return {
            "EndpointName": found.name,
            "EndpointId": found.id,
            "Routes": [{"Region": region} for region in found.regions],
            "Status": "READY",
            "CreatedTimestamp": found.created_at,
            "LastUpdatedTimestamp": found.created_at,
        }

    def list_multi_region_endpoints(self, params: Params, call: Call) -> Result:
        shown, token = self.endpoints.page(params)
        rows = [
            {
                "EndpointName": each.name,
                "Status": "READY",
                "EndpointId": each.id,
                "Regions": each.regions,
                "CreatedTimestamp": each.created_at,
                "LastUpdatedTimestamp": each.created_at,
            }
            for each in shown
        ]
        return {"MultiRegionEndpoints": rows, "NextToken": token}

    def delete_multi_region_endpoint(self, params: Params, call: Call) -> Result:
        del self.endpoints[self._endpoint(params["EndpointName"]).name]
        return {"Status": "DELETING"}

    def _endpoint(self, name: str) -> Endpoint:
        if found := self.endpoints.get(name):
            return found
        raise not_found(f"Multi-region endpoint <{name}> does not exist.")

    @partly("the settings are kept; nothing is measured by them")
    def put_deliverability_dashboard_option(self, params: Params, call: Call) -> Result:
        domains = params.get("SubscribedDomains", [])
        for each in domains:
            self.identity(each.get("Domain", ""))
        self.profile.dashboard = {"DashboardEnabled": params["DashboardEnabled"], "ActiveSubscribedDomains": domains}
        return None

    def get_deliverability_dashboard_options(self, params: Params, call: Call) -> Result:
        status = "ACTIVE" if self.profile.dashboard["DashboardEnabled"] else "DISABLED"
        return {**self.profile.dashboard, "AccountStatus": status}

    @partly("no list knows these addresses: every report is empty")
    def get_blacklist_reports(self, params: Params, call: Call) -> Result:
        for name in params["BlacklistItemNames"]:
            if name not in self.ips:
                raise not_found(f"<{name[:64]}> is no dedicated IP address of this account.")
        return {"BlacklistReport": {name: [] for name in params["BlacklistItemNames"]}}

    @refused(NO_PANEL)
    def create_deliverability_test_report(self, params: Params, call: Call) -> Result:
        raise unsupported("CreateDeliverabilityTestReport")

    @refused(NO_PANEL)
    def get_deliverability_test_report(self, params: Params, call: Call) -> Result:
        raise unsupported("GetDeliverabilityTestReport")

    @refused(NO_PANEL)
    def list_deliverability_test_reports(self, params: Params, call: Call) -> Result:
        raise unsupported("ListDeliverabilityTestReports")

    @refused(NO_PANEL)
    def get_domain_deliverability_campaign(self, params: Params, call: Call) -> Result:
        raise unsupported("GetDomainDeliverabilityCampaign")

    @refused(NO_PANEL)
    def list_domain_deliverability_campaigns(self, params: Params, call: Call) -> Result:
        raise unsupported("ListDomainDeliverabilityCampaigns")

    @refused(NO_PANEL)
    def get_domain_statistics_report(self, params: Params, call: Call) -> Result:
        raise unsupported("GetDomainStatisticsReport")
