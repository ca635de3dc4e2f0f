"""A client that was generated from the document backs up and restores.

Arguments: the API's URL, the file of its CA, the agent's name, the directory to
back up, the one to restore into. The operator's token is in TOKEN.
"""

import os
import sys
import uuid

import httpx
from strongroom_client import AuthenticatedClient
from strongroom_client.api.jobs import show_job
from strongroom_client.api.policies import apply_policies, run_policy
from strongroom_client.api.restores import restore_snapshot
from strongroom_client.models import ApplyRequest, JobState, RestoreRequest, RunRequest

url, ca, agent, source, target = sys.argv[1:]
client = AuthenticatedClient(
    base_url=url,
    token=os.environ["TOKEN"],
    verify_ssl=ca,
    # Longer than the API is asked to wait.
    timeout=httpx.Timeout(60),
    raise_on_unexpected_status=True,
)


def end(job):
    """The job once it has ended."""
    while job.state not in (JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED):
        job = show_job.sync(job.id, client=client, wait=30, since=job.revision)
    assert job.state == JobState.SUCCEEDED, job
    return job


policy = f"""
[[policy]]
name = "generated"
agents = {{ names = ["{agent}"] }}
source = {{ files = {{ paths = ["{source}"] }} }}
store = "primary"
"""
applied = apply_policies.sync(client=client, body=ApplyRequest(toml=policy))
assert [change.action for change in applied.changes] == ["create"], applied

key = str(uuid.uuid4())
started = [
    run_policy.sync_detailed("generated", client=client, body=RunRequest(), idempotency_key=key)
    for _ in range(2)
]
first, again = (answer.parsed.jobs for answer in started)
assert [job.id for job in first] == [job.id for job in again], started
assert started[0].headers["location"].endswith(first[0].id), started
snapshot = end(first[0]).snapshot

request = RestoreRequest.from_dict(
    {"snapshot": snapshot, "agent": agent, "target": {"directory": {"directory": target}}}
)
restore = restore_snapshot.sync(client=client, body=request)
end(restore)
