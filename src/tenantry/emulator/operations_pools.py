"""Owns the operations on dedicated IP pools and their addresses.

Leaves which pool a message leaves by to `operations_sending`.
"""

import re

from tenantry.emulator.errors import SesError, already_exists, bad_request
from tenantry.emulator.state import Call, Params, Pool, Result, State, page, tags_of

_NAME = re.compile(r"[a-z0-9_-]{1,64}")
POOLS_MAX = 50
IPS_OF_A_NEW_POOL = 2  # real ones are leased by a support case; here they come warmed, so that mail can leave at once


class PoolOperations(State):
    """Create, read and delete dedicated IP pools."""

    def create_dedicated_ip_pool(self, params: Params, call: Call) -> Result:
        name, mode = params["PoolName"], params.get("ScalingMode", "STANDARD")
        if not _NAME.fullmatch(name):
            raise bad_request(
                f"Invalid pool name <{name}>: 1 to 64 lower-case letters, digits, '_' and '-' are allowed."
            )
        if name in self.pools:
            raise already_exists(f"Dedicated IP pool <{name}> already exists.")
        if len(self.pools) >= POOLS_MAX:
            raise SesError("LimitExceededException", f"There are {POOLS_MAX} dedicated IP pools already.")
        ips = [self._new_ip() for _ in range(IPS_OF_A_NEW_POOL if mode == "STANDARD" else 0)]
        self.pools[name] = Pool(name, self.options.arn("dedicated-ip-pool", name), mode, tags_of(params), ips)
        return None

    def get_dedicated_ip_pool(self, params: Params, call: Call) -> Result:
        found = self.pool(params["PoolName"])
        return {"DedicatedIpPool": {"PoolName": found.name, "ScalingMode": found.scaling_mode}}

    def list_dedicated_ip_pools(self, params: Params, call: Call) -> Result:
        shown, token = page(self.pools, params)
        return {"DedicatedIpPools": shown, "NextToken": token}

    def delete_dedicated_ip_pool(self, params: Params, call: Call) -> Result:
        found = self.pool(params["PoolName"])
        users = [each.name for each in self.sets.values() if _uses(each.options, found.name)]
        if users:
            raise bad_request(f"Pool <{found.name}> is used by configuration sets [{', '.join(users)}].")
        del self.pools[found.name]
        return None

    def get_dedicated_ips(self, params: Params, call: Call) -> Result:
        wanted = params.get("PoolName")
        pools = [self.pool(wanted)] if wanted else list(self.pools.values())
        homes = {ip: pool.name for pool in pools for ip in pool.ips}
        shown, token = page(homes, params)
        rows = [{"Ip": ip, "WarmupStatus": "DONE", "WarmupPercentage": 100, "PoolName": homes[ip]} for ip in shown]
        return {"DedicatedIps": rows, "NextToken": token}

    def _new_ip(self) -> str:
        # 198.18.0.0/15 is set aside for tests (RFC 2544), so no address here is anybody's.
        number = next(self.ip_numbers)
        return f"198.18.{number // 256}.{number % 256}"


def _uses(options: dict[str, dict[str, str]], pool: str) -> bool:
    return options.get("DeliveryOptions", {}).get("SendingPoolName") == pool
