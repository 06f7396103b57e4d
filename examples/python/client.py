"""Spawns a worker, says something to it, and prints what it answers.

    python client.py [--endpoint HOST:PORT] [--token-file FILE] [--runtime ID] [--profile NAME] TEXT

The stubs are generated from proto/ (README.md has the command).
"""

import argparse
import sys
import uuid

import grpc

from workplane.v1 import input_pb2, observation_pb2, observation_service_pb2, observation_service_pb2_grpc
from workplane.v1 import operation_pb2, profile_pb2, spawn_pb2, transcript_pb2, worker_service_pb2, worker_service_pb2_grpc

ASSISTANT = transcript_pb2.TRANSCRIPT_ROLE_ASSISTANT
SECONDS = 30


def main() -> int:
    arguments = parse()
    metadata = []
    if arguments.token_file:
        # A line is `name token` or only `token`.
        with open(arguments.token_file, encoding="ascii") as file:
            metadata.append(("authorization", f"Bearer {file.readline().split()[-1]}"))
    with grpc.insecure_channel(arguments.endpoint) as channel:
        workers = worker_service_pb2_grpc.WorkerServiceStub(channel)
        observations = observation_service_pb2_grpc.ObservationServiceStub(channel)
        worker = spawn(workers, metadata, arguments)
        print(f"spawned {worker.worker_id}")
        try:
            # The first input goes in with the spawn; observed from the beginning, its answer cannot be missed.
            answer = first_answer(observations, metadata, worker)
            print(f"it answers: {answer}")
        finally:
            stop = worker_service_pb2.StopWorkerRequest(
                runtime_id=worker.runtime_id, worker_id=worker.worker_id, request_id=new_id()
            )
            workers.StopWorker(stop, metadata=metadata, timeout=SECONDS)
    return 0


def spawn(workers, metadata, arguments):
    # With an id of our own the same request can be sent again when its outcome is not known.
    request = worker_service_pb2.SpawnWorkerRequest(
        runtime_id=arguments.runtime,
        intent=spawn_pb2.SpawnIntent(workspace_companion=spawn_pb2.WorkspaceCompanion()),
        profile=profile_pb2.ProfileSelector(builtin=arguments.profile),
        initial_input=input_pb2.WorkerInput(content=arguments.text),
        request_id=new_id(),
    )
    response = workers.SpawnWorker(request, metadata=metadata, timeout=SECONDS)
    if response.state != operation_pb2.OPERATION_STATE_ACCEPTED:
        reasons = ", ".join(f"{diagnostic.code}: {diagnostic.message}" for diagnostic in response.diagnostics)
        sys.exit(f"the worker was not spawned: {reasons}")
    return response.worker


def first_answer(observations, metadata, worker) -> str:
    request = observation_service_pb2.ObserveWorkerRequest(
        runtime_id=worker.runtime_id, worker_id=worker.worker_id, start=observation_pb2.OBSERVE_START_BEGINNING
    )
    for response in observations.ObserveWorker(request, metadata=metadata, timeout=SECONDS):
        frame = response.frame
        kind = frame.WhichOneof("payload")
        if kind == "item_appended" and frame.item_appended.item.role == ASSISTANT:
            return frame.item_appended.item.content
        if kind == "end":
            sys.exit("the worker has ended and did not answer")
    sys.exit("the stream has ended")


def new_id() -> str:
    return str(uuid.uuid4())


def parse():
    parser = argparse.ArgumentParser(description="Spawns a worker, says something to it, and prints what it answers.")
    parser.add_argument("--endpoint", default="127.0.0.1:7400")
    parser.add_argument("--token-file")
    parser.add_argument("--runtime", default="embedded-worker-runtime")
    parser.add_argument("--profile", default="builtin:coder")
    parser.add_argument("text")
    return parser.parse_args()


if __name__ == "__main__":
    try:
        sys.exit(main())
    except grpc.RpcError as error:
        sys.exit(f"{error.code().name}: {error.details()}")
