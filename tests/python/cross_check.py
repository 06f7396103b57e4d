"""Drives every method of workplane.v1 with a client that this project did not write: stubs as grpcio-tools makes them
from proto/, against a real control plane with an embedded runtime and a real host: in clear, and once more over mutual TLS.

    python cross_check.py WORKPLANE_BINARY

It fails when an answer is not what the contract says, and when a method of the contract was not driven.
"""

import hashlib
import importlib
import re
import subprocess
import sys
import tempfile
import uuid
from pathlib import Path

import grpc

from servers import CONTROL_PLANE_TOKEN, EMBEDDED, HOST, generate_stubs, servers, told

# Methods that are to come: they must say so, each with its reason. One that is served must be driven below instead.
LATER = {
    "RuntimeService": ["RegisterRuntime", "UpdateRuntime", "RemoveRuntime", "SetRuntimeCordon", "WatchRuntimes"],
    "WorkerService": ["WatchWorkers"],
    "ObservationService": ["ObserveWorkers"],
}
SERVICES = {
    "RuntimeService": "runtime_service",
    "HostService": "host_service",
    "WorkerService": "worker_service",
    "TranscriptService": "transcript_service",
    "ObservationService": "observation_service",
    "ConfigBundleService": "config_bundle_service",
}
SECONDS = 30


class Client:
    """Calls by name, over the generated stubs; remembers which methods were called."""

    def __init__(self, channel, token):
        self.metadata = [("authorization", f"Bearer {token}")] if token else []
        self.stubs, self.methods, self.driven = {}, {}, set()
        for service, module in SERVICES.items():
            stubs = importlib.import_module(f"workplane.v1.{module}_pb2_grpc")
            self.stubs[service] = getattr(stubs, f"{service}Stub")(channel)
            descriptor = importlib.import_module(f"workplane.v1.{module}_pb2").DESCRIPTOR.services_by_name[service]
            self.methods[service] = {method.name: method for method in descriptor.methods}

    def request(self, service, method, **fields):
        from google.protobuf import json_format, message_factory

        kind = message_factory.GetMessageClass(self.methods[service][method].input_type)
        return json_format.ParseDict(fields, kind())

    def call(self, service, method, **fields):
        """One call; for a stream an iterator of its messages."""
        self.driven.add((service, method))
        request = self.request(service, method, **fields)
        return getattr(self.stubs[service], method)(request, metadata=self.metadata, timeout=SECONDS)

    def refused(self, service, method, **fields):
        """One call that must fail: its code, its reason, the metadata of that but the call's id, and the paths of bad fields."""
        from google.rpc import error_details_pb2
        from grpc_status import rpc_status

        try:
            answer = self.call(service, method, **fields)
            if self.methods[service][method].server_streaming:
                list(answer)
        except grpc.RpcError as error:
            # It is None where the details in the trailers do not fit the status.
            status = rpc_status.from_call(error)
            check(status is not None, f"{method}: the error has details", error)
            info, bad = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
            for detail in status.details:
                detail.Unpack(info) if detail.Is(info.DESCRIPTOR) else None
                detail.Unpack(bad) if detail.Is(bad.DESCRIPTOR) else None
            check(info.domain == "workplane", f"{method}: the error's domain", info)
            metadata = dict(info.metadata)
            call = metadata.pop("call_id", "")
            check(re.fullmatch("[0-9a-f]{16}", call), f"{method}: the error names its call", call)
            return error.code().name, info.reason, metadata, [field.field for field in bad.field_violations]
        sys.exit(f"{method} was not refused")

    def not_driven(self):
        known = {(service, method) for service, methods in self.methods.items() for method in methods}
        return sorted(known - self.driven)


def check(true, claim, *seen):
    if not true:
        sys.exit(f"not so: {claim}: {seen}")


def name_of(message, field):
    """The name of an enum's value."""
    return message.DESCRIPTOR.fields_by_name[field].enum_type.values_by_number[getattr(message, field)].name


def accepted(answer):
    check(name_of(answer, "state") == "OPERATION_STATE_ACCEPTED", "it is accepted", answer)
    return answer


def fleet(client):
    """Runtimes and hosts, a page at a time."""
    for service, method, items in [("RuntimeService", "ListRuntimes", "runtimes"), ("HostService", "ListHosts", "hosts")]:
        seen, token = [], ""
        while True:
            page = client.call(service, method, page_size=1, page_token=token)
            seen += [item.runtime_id for item in getattr(page, items)]
            token = page.next_page_token
            if not token:
                break
        check(sorted(seen) == sorted([EMBEDDED, HOST]), f"{method} has both, once", seen)
        refused = client.refused(service, method, page_token="x")
        check(refused[:2] == ("INVALID_ARGUMENT", "INVALID_PAGE_TOKEN") and refused[3] == ["page_token"], method, refused)
        refused = client.refused(service, method, page_size=-1)
        check(refused[3] == ["page_size"], method, refused)
    refused = client.refused("RuntimeService", "GetRuntime", runtime_id="nowhere")
    ids = {"runtime_id": "nowhere", "known_runtime_ids": f"{EMBEDDED}, {HOST}"}
    check(refused[:3] == ("NOT_FOUND", "UNKNOWN_RUNTIME", ids), "GetRuntime", refused)
    refused = client.refused("HostService", "GetHost", host_id="nowhere")
    check(refused[:2] == ("NOT_FOUND", "UNKNOWN_HOST"), "GetHost", refused)


def life(client, runtime_id):
    """Two workers of one runtime, from their spawn to their end."""
    found = client.call("RuntimeService", "GetRuntime", runtime_id=runtime_id).runtime
    check(found.runtime_id == runtime_id and found.capabilities.can_spawn_worker, "GetRuntime", found)
    host_id = list(found.host_ids)[0]
    host = client.call("HostService", "GetHost", host_id=host_id).host
    check(host.runtime_id == runtime_id, "GetHost", host)

    spawn = {
        "runtime_id": runtime_id,
        "intent": {"ticket_role": {"ticket_id": "T-1", "role": "TICKET_WORKER_ROLE_CODER"}},
        "initial_input": {"content": "first"},
        "labels": {"check": runtime_id},
        "request_id": str(uuid.uuid4()),
    }
    worker = accepted(client.call("WorkerService", "SpawnWorker", **spawn)).worker
    again = accepted(client.call("WorkerService", "SpawnWorker", **spawn)).worker
    check(again.worker_id == worker.worker_id, "the same request is done once", worker, again)
    reused = client.refused("WorkerService", "SpawnWorker", **(spawn | {"labels": {}}))
    check(reused[:2] == ("ALREADY_EXISTS", "REQUEST_ID_REUSED"), "another request with its id", reused)
    bad = spawn | {"intent": {"ticket_role": {"ticket_id": "T-1", "role": 99}}}
    refused = client.refused("WorkerService", "SpawnWorker", **bad)
    check(refused[0] == "INVALID_ARGUMENT" and refused[3] == ["intent.ticket_role.role"], "a bad field", refused)
    ids = {"runtime_id": runtime_id, "worker_id": worker.worker_id}

    sent = accepted(client.call("WorkerService", "SendInput", **ids, content="second", request_id=str(uuid.uuid4())))
    check(sent.worker_id == worker.worker_id and sent.event_id > 0, "SendInput", sent)
    cursor = until_heard(client, ids, ["first", "second"])

    got = client.call("WorkerService", "GetWorker", **ids).worker
    check(got.labels["check"] == runtime_id and name_of(got, "state") == "WORKER_STATE_RUNNING", "GetWorker", got)
    listed = client.call("WorkerService", "ListWorkers", labels={"check": runtime_id}, states=["WORKER_STATE_RUNNING"])
    check([one.worker_id for one in listed.workers] == [worker.worker_id], "ListWorkers", listed)
    points = client.call("WorkerService", "ListConnectPoints", **ids).connect_points
    check("stream_proxy" in [point.kind for point in points], "ListConnectPoints", points)

    page = accepted(client.call("TranscriptService", "GetTranscript", **ids, limit=1))
    check(len(page.items) == 1 and page.next_start == 1, "GetTranscript", page)
    refused = client.refused("TranscriptService", "GetTranscript", **ids, limit=257)
    check(refused[:2] == ("INVALID_ARGUMENT", "LIMIT_TOO_LARGE") and refused[3] == ["limit"], "GetTranscript", refused)

    stopped = accepted(client.call("WorkerService", "StopWorker", **ids, reason="enough"))
    check(stopped.event_id > sent.event_id, "StopWorker answers when the end is durable", stopped)
    items = []
    for batch in client.call("TranscriptService", "StreamTranscript", **ids, follow=True):
        items += list(batch.items)
    check([item.sequence for item in items] == list(range(1, len(items) + 1)), "StreamTranscript has no gap", items)
    check(sorted(item.content for item in items) == ["first", "first", "second", "second"], "StreamTranscript", items)
    resumed(client, ids, cursor, stopped.event_id)
    late = client.call("WorkerService", "SendInput", **ids, content="too late")
    check(name_of(late, "state") == "OPERATION_STATE_REJECTED", "an ended worker takes no input", late)
    check("worker_not_running" in [one.code for one in late.diagnostics], "and it is said why", late)

    other = accepted(client.call("WorkerService", "SpawnWorker", **(spawn | {"request_id": str(uuid.uuid4())}))).worker
    accepted(client.call("WorkerService", "CancelWorker", runtime_id=runtime_id, worker_id=other.worker_id))
    got = client.call("WorkerService", "GetWorker", runtime_id=runtime_id, worker_id=other.worker_id).worker
    check(name_of(got, "state") == "WORKER_STATE_CANCELLED", "CancelWorker", got)
    running = accepted(client.call("WorkerService", "SpawnWorker", **(spawn | {"request_id": "kept" + runtime_id}))).worker
    alive = {"runtime_id": runtime_id, "worker_id": running.worker_id}
    refused = client.call("WorkerService", "DeleteWorker", **alive)
    check("worker_running" in [one.code for one in refused.diagnostics], "a live worker is not deleted", refused)
    for _ in range(2):
        accepted(client.call("WorkerService", "DeleteWorker", **alive, force=True, request_id="delete" + runtime_id))
    gone = client.refused("WorkerService", "GetWorker", **alive)
    check(gone[:3] == ("NOT_FOUND", "UNKNOWN_WORKER", alive), "DeleteWorker", gone)

    lines = accepted(client.call("WorkerService", "SpawnWorker", **(spawn | {"request_id": str(uuid.uuid4())}))).worker
    refused = client.call("WorkerService", "InterruptWorker", runtime_id=runtime_id, worker_id=lines.worker_id)
    check(name_of(refused, "state") == "OPERATION_STATE_UNSUPPORTED", "lines have no turns", refused)
    accepted(client.call("WorkerService", "StopWorker", runtime_id=runtime_id, worker_id=lines.worker_id))
    turns(client, spawn | {"profile": {"builtin": "builtin:agent"}, "request_id": str(uuid.uuid4())})
    questions(client, spawn | {"profile": {"builtin": "builtin:asking"}, "request_id": str(uuid.uuid4())})

    unknown = client.refused("WorkerService", "GetWorker", runtime_id=runtime_id, worker_id="worker-none")
    expected = {"runtime_id": runtime_id, "worker_id": "worker-none"}
    check(unknown[:3] == ("NOT_FOUND", "UNKNOWN_WORKER", expected), "GetWorker", unknown)


def turns(client, spawn):
    """An agent's turn: what it is at, and how it is interrupted."""
    spawn.pop("initial_input", None)
    worker = accepted(client.call("WorkerService", "SpawnWorker", **spawn)).worker
    ids = {"runtime_id": worker.runtime_id, "worker_id": worker.worker_id}
    none = accepted(client.call("WorkerService", "InterruptWorker", **ids))
    check([one.code for one in none.diagnostics] == ["worker_not_in_turn"] and not none.event_id, "no turn", none)
    frames = client.call("ObservationService", "ObserveWorker", **ids)
    next(frames)
    accepted(client.call("WorkerService", "SendInput", **ids, content="wait", request_id=str(uuid.uuid4())))
    told = []
    for response in frames:
        frame = response.frame
        if frame.WhichOneof("payload") == "activity_changed":
            told.append((name_of(frame.activity_changed, "activity"), frame.activity_changed.detail))
        if told[-1:] == [("WORKER_ACTIVITY_BUSY", "answering")]:
            break
    check(told[0] == ("WORKER_ACTIVITY_BUSY", "working"), "activity_changed", told)
    got = client.call("WorkerService", "GetWorker", **ids).worker
    check((name_of(got, "activity"), got.activity_detail) == told[-1], "GetWorker says what it is at", got)
    interrupt = {**ids, "request_id": "interrupt" + worker.worker_id}
    done = accepted(client.call("WorkerService", "InterruptWorker", **interrupt))
    ended = next(response.frame for response in frames if response.frame.WhichOneof("payload") == "turn_ended")
    check(ended.turn_ended.reason == "cancelled", "InterruptWorker", ended)
    check(done.event_id == ended.sequence and not done.diagnostics, "it answers when the turn has ended", done)
    again = client.call("WorkerService", "InterruptWorker", **interrupt)
    check(again == done, "a repeat has the first answer", again)
    frames.cancel()
    accepted(client.call("WorkerService", "StopWorker", **ids))


def questions(client, spawn):
    """An agent that asks for leave, and who answers it."""
    spawn.pop("initial_input", None)
    worker = accepted(client.call("WorkerService", "SpawnWorker", **spawn)).worker
    ids = {"runtime_id": worker.runtime_id, "worker_id": worker.worker_id}
    check(not client.call("WorkerService", "ListApprovals", **ids).approvals, "nothing is asked", ids)
    frames = client.call("ObservationService", "ObserveWorker", **ids)
    next(frames)
    accepted(client.call("WorkerService", "SendInput", **ids, content="ask", request_id=str(uuid.uuid4())))
    kind = lambda frame: frame.WhichOneof("payload")
    asked = next(response.frame for response in frames if kind(response.frame) == "approval_requested")
    listed = client.call("WorkerService", "ListApprovals", **ids).approvals
    check(list(listed) == [asked.approval_requested.approval], "ListApprovals", listed, asked)
    [approval] = listed
    check((approval.approval_id, approval.title) == ("approval-1", "Write file 1"), "Approval", approval)
    options = [(option.option_id, option.label, option.kind) for option in approval.options]
    check(options == [("allow_once",) * 3, ("reject_once",) * 3], "ApprovalOption", options)
    check(approval.turn_id and approval.requested_at.seconds > 0, "its turn and its time", approval)
    got = client.call("WorkerService", "GetWorker", **ids).worker
    check(name_of(got, "activity") == "WORKER_ACTIVITY_WAITING", "it waits", got)
    answer = {**ids, "approval_id": "approval-1", "decision": "allow_once", "request_id": "answer" + worker.worker_id}
    refused = client.refused("WorkerService", "AnswerApproval", **(answer | {"decision": "perhaps"}))
    check(refused[:2] == ("INVALID_ARGUMENT", "INVALID_REQUEST") and refused[3] == ["decision"], "no option", refused)
    refused = client.refused("WorkerService", "AnswerApproval", **(answer | {"approval_id": "approval-2"}))
    check(refused[:3] == ("NOT_FOUND", "UNKNOWN_APPROVAL", {**ids, "approval_id": "approval-2"}), "unknown", refused)
    given = accepted(client.call("WorkerService", "AnswerApproval", **answer))
    check(given.approval_id == "approval-1", "AnswerApproval", given)
    settled = next(response.frame for response in frames if kind(response.frame) == "approval_settled")
    said = settled.approval_settled
    check((said.approval_id, said.option_id, said.caller) == ("approval-1", "allow_once", "check"), "settled", said)
    check(settled.sequence == given.event_id, "its event", settled, given)
    check(client.call("WorkerService", "AnswerApproval", **answer) == given, "a repeat has the first answer", given)
    late = client.call("WorkerService", "AnswerApproval", **(answer | {"request_id": str(uuid.uuid4())}))
    check(name_of(late, "state") == "OPERATION_STATE_REJECTED" and not late.event_id, "the first answer counts", late)
    check("approval_settled" in [one.code for one in late.diagnostics], "and it is said why", late)
    item = next(response.frame for response in frames if kind(response.frame) == "item_appended")
    check(item.item_appended.item.content == "allow_once", "the agent has heard it", item)
    frames.cancel()
    accepted(client.call("WorkerService", "StopWorker", **ids))


def until_heard(client, ids, words):
    """Observes a worker until it has answered all of this; the cursor there."""
    waiting, last = set(words), 0
    stream = client.call("ObservationService", "ObserveWorker", **ids, start="OBSERVE_START_BEGINNING")
    for n, answer in enumerate(stream):
        frame, kind = answer.frame, answer.frame.WhichOneof("payload")
        check((kind == "snapshot") == (n == 0), "the first frame, and no other, is a snapshot", frame)
        if kind in ("output_delta", "activity_changed", "diagnostic", "heartbeat", "snapshot"):
            continue
        check(frame.sequence == last + 1, "no gap and no repeat", last, frame)
        last = frame.sequence
        if kind == "item_appended" and frame.item_appended.item.role == 2:
            waiting.discard(frame.item_appended.item.content)
        if not waiting:
            stream.cancel()
            return frame.cursor
    sys.exit("the stream ended before all was said")


def resumed(client, ids, cursor, end):
    """From a cursor to the end, and bad cursors."""
    frames = [answer.frame for answer in client.call("ObservationService", "ObserveWorker", **ids, cursor=cursor)]
    check(frames[-1].WhichOneof("payload") == "end" and frames[-1].sequence == end, "the last frame is the end", frames)
    changed = cursor[:-1] + ("A" if cursor[-1] != "A" else "B")
    refused = client.refused("ObservationService", "ObserveWorker", **ids, cursor=changed)
    check(refused[:2] == ("INVALID_ARGUMENT", "CURSOR_MALFORMED"), "a changed cursor", refused)


def bundles(client, runtime_id):
    """A bundle whose digest is computed here, by acceptance.md alone."""
    parts = [
        ("id", "bundle-1"), ("revision", "rev-1"), ("workspace_id", "local:test"), ("created_at", "2026-06-26T00:00:00Z"),
        ("provenance.source", "workspace-server-test"), ("provenance.detail", ""),
        ("profile", "builtin", "builtin:coder", "Coder"), ("declaration", "capability_grant", "read", "capability:read"),
    ]  # fmt: skip
    lines = sorted("\0".join(part).encode() for part in parts)
    digest = hashlib.sha256(b"".join(line + b"\n" for line in lines)).hexdigest()
    check(digest == "593afc87d7904886f71f8c7e1a3752ff15f09c527b33a6e56b44aa2413651238", "the vector", digest)
    metadata = {part[0]: part[1] for part in parts[:4]} | {"provenance": {"source": "workspace-server-test"}}
    bundle = {
        "metadata": metadata,
        "profiles": [{"selector": {"builtin": "builtin:coder"}, "label": "Coder"}],
        "declarations": [
            {"kind": "DECLARATION_KIND_CAPABILITY_GRANT", "name": "read", "reference": "capability:read"}
        ],
    }
    synced = accepted(client.call("ConfigBundleService", "SyncConfigBundle", runtime_id=runtime_id, bundle=bundle))
    check(synced.availability.reference.digest == digest, "the server's digest is ours", synced)
    reference = {"id": "bundle-1", "digest": digest}
    accepted(client.call("ConfigBundleService", "CheckConfigBundle", runtime_id=runtime_id, reference=reference))
    missing = {"id": "bundle-2", "digest": digest}
    checked = client.call("ConfigBundleService", "CheckConfigBundle", runtime_id=runtime_id, reference=missing)
    check(name_of(checked, "state") == "OPERATION_STATE_REJECTED", "a bundle that is not there", checked)
    listed = client.call("ConfigBundleService", "ListConfigBundles", runtime_id=runtime_id).bundles
    check([(one.id, one.digest) for one in listed] == [("bundle-1", digest)], "ListConfigBundles", listed)
    accepted(client.call("ConfigBundleService", "RemoveConfigBundle", runtime_id=runtime_id, reference=reference))
    listed = client.call("ConfigBundleService", "ListConfigBundles", runtime_id=runtime_id).bundles
    check(not listed, "a bundle that was removed", listed)


def later(client):
    """What is to come says so."""
    for service, methods in LATER.items():
        for method in methods:
            refused = client.refused(service, method)
            check(refused[:2] == ("UNIMPLEMENTED", "NOT_YET"), f"{method} is to come; if it has, drive it", refused)


def drive(channel):
    """Everything there is, on one channel."""
    stranger = Client(channel, None).refused("RuntimeService", "ListRuntimes")
    check(stranger[:2] == ("UNAUTHENTICATED", "UNAUTHENTICATED"), "without a token", stranger)
    client = Client(channel, CONTROL_PLANE_TOKEN)
    fleet(client)
    for runtime_id in (EMBEDDED, HOST):
        life(client, runtime_id)
        bundles(client, runtime_id)
    later(client)
    check(not client.not_driven(), "every method of workplane.v1 is driven", client.not_driven())
    return len(client.driven)


def over_tls(binary, directory, address):
    """What a client with and without a certificate comes to."""
    read = lambda name: (directory / "tls" / name).read_bytes()
    port = address.rsplit(":", 1)[1]
    ours = grpc.ssl_channel_credentials(read("ca.pem"), read("ada.key"), read("ada.pem"))
    with grpc.secure_channel(f"localhost:{port}", ours) as channel:
        driven = drive(channel)
    for shown in ([], [read("host-a.key"), read("host-a.pem")]):
        credentials = grpc.ssl_channel_credentials(read("ca.pem"), *shown)
        with grpc.secure_channel(f"localhost:{port}", credentials) as channel:
            try:
                Client(channel, CONTROL_PLANE_TOKEN).call("RuntimeService", "ListRuntimes")
                sys.exit(f"a token opened it, with {len(shown)} files of no client")
            except grpc.RpcError as error:
                check(error.code() == grpc.StatusCode.UNAVAILABLE, "the handshake is refused", error)
    # The command line, as it is told there.
    (directory / "tokens").touch(mode=0o600)
    (directory / "tokens").write_text(CONTROL_PLANE_TOKEN)
    command = told("call-over-tls").replace("workplane", str(Path(binary).resolve()), 1).replace(":7400", f":{port}")
    said = subprocess.run(["bash", "-euc", command], cwd=directory, capture_output=True, text=True)
    check(said.returncode == 0 and HOST in said.stdout, "the command line is let in", said)
    return driven


def main(binary):
    with tempfile.TemporaryDirectory() as directory:
        sys.path.insert(0, generate_stubs(Path(directory)))
        in_clear, secured = Path(directory, "in-clear"), Path(directory, "secured")
        in_clear.mkdir()
        with servers(binary, in_clear, secured=False) as address, grpc.insecure_channel(address) as channel:
            print(f"{drive(channel)} methods driven")
        secured.mkdir()
        with servers(binary, secured, secured=True) as address:
            print(f"{over_tls(binary, secured, address)} methods driven over TLS, with a certificate and a token")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    try:
        main(sys.argv[1])
    except grpc.RpcError as error:
        sys.exit(f"{error.code().name}: {error.details()}")
