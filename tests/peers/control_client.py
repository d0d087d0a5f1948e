"""The generated Python client at work: a device is enrolled, gets a model, is listed; what is sent twice is done once.

Run by `control.py`, which has generated `outpost_control_client` from the control plane's own description.
"""

import os
import ssl
import subprocess
import tempfile
import uuid

from outpost_control_client import AuthenticatedClient, Client
from outpost_control_client.api.catalogue import list_catalogue
from outpost_control_client.api.codes import create_code
from outpost_control_client.api.devices import assign, list_devices, set_site, show_assignment, show_device
from outpost_control_client.api.enrol import enrol
from outpost_control_client.models import Assignment, EnrolRequest, Error, Site, WantedCode

URL, TOKEN, AUTHORITY = (os.environ[f"OUTPOST_{name}"] for name in ("URL", "TOKEN", "AUTHORITY"))


def certificate_request(folder):
    """As a device makes it: a key of its own on P-256, and a request that it signs."""
    key, request = f"{folder}/key.pem", f"{folder}/request.pem"
    quiet = {"check": True, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    subprocess.run(["openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", key], **quiet)
    subprocess.run(["openssl", "req", "-new", "-key", key, "-subj", "/CN=device", "-out", request], **quiet)
    with open(request, encoding="ascii") as file:
        return file.read()


def main():
    trust = ssl.create_default_context(cafile=AUTHORITY)
    operator = AuthenticatedClient(base_url=URL, token=TOKEN, verify_ssl=trust, timeout=60)
    key = str(uuid.uuid4())
    first, again = (
        create_code.sync(client=operator, body=WantedCode(device="till-7"), idempotency_key=key) for _ in range(2)
    )
    assert first.code == again.code, "the same key is the same code"
    with tempfile.TemporaryDirectory() as folder:
        request = EnrolRequest(
            code=first.code, certificate_request=certificate_request(folder), audit_key="till-7+00000000+AA", agent="0.1.0"
        )
    identity = enrol.sync(client=Client(base_url=URL, verify_ssl=trust, timeout=60), body=request)
    assert identity.device == "till-7" and "BEGIN CERTIFICATE" in identity.certificate, identity

    names = [device.device for device in list_devices.sync(client=operator).entries]
    assert names == ["till-7"], names
    target = next(target for target in list_catalogue.sync(client=operator).entries if target.facts["kind"] == "variant")
    model = target.facts["model"]["model"]
    known = show_assignment.sync_detailed("till-7", client=operator)
    tag = known.headers["etag"]
    wanted = Assignment(model=model, minimum_context_tokens=128)
    assigned = assign.sync("till-7", client=operator, body=wanted, if_match=tag)
    assert assigned.assignment.model == model and assigned.desired_version > 0, assigned
    late = assign.sync_detailed("till-7", client=operator, body=wanted, if_match=tag)
    assert late.status_code == 412 and isinstance(late.parsed, Error), late
    set_site.sync("till-7", client=operator, body=Site(site="store-12"))
    shown = show_device.sync("till-7", client=operator)
    assert (shown.site, shown.assignment.model) == ("store-12", model), shown
    # A page of one, and none after it.
    page = list_devices.sync(client=operator, limit=1, where="site = store-12")
    assert [device.device for device in page.entries] == ["till-7"] and page.next_ is None, page
    stranger = list_devices.sync_detailed(client=AuthenticatedClient(base_url=URL, token="no", verify_ssl=trust))
    assert stranger.status_code == 401 and stranger.parsed.error.code == "unauthenticated", stranger
    print("client: enrolled, assigned, listed")


main()
