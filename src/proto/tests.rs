//! What the protos themselves promise, read from their descriptors.

use std::collections::BTreeSet;

use prost_reflect::{DescriptorPool, FieldDescriptor, Kind, MessageDescriptor};

use super::{FILE_DESCRIPTOR_SET, v1};

fn pool() -> DescriptorPool {
    DescriptorPool::decode(FILE_DESCRIPTOR_SET).unwrap()
}

fn message(name: &str) -> MessageDescriptor {
    let pool = pool();
    pool.get_message_by_name(&format!("workplane.{name}")).unwrap_or_else(|| panic!("there is no {name}"))
}

fn field(message_name: &str, name: &str) -> FieldDescriptor {
    message(message_name).get_field_by_name(name).unwrap_or_else(|| panic!("{message_name} has no {name}"))
}

fn names(message_name: &str) -> Vec<String> {
    message(message_name).fields().map(|field| field.name().to_owned()).collect()
}

/// Every message that is reached from one, by name.
fn reached(from: &MessageDescriptor, seen: &mut BTreeSet<String>, fields: &mut Vec<FieldDescriptor>) {
    if !seen.insert(from.full_name().to_owned()) {
        return;
    }
    for field in from.fields() {
        if let Kind::Message(inner) = field.kind() {
            reached(&inner, seen, fields);
        }
        fields.push(field);
    }
}

fn fields_reached(name: &str) -> Vec<FieldDescriptor> {
    let (mut seen, mut fields) = (BTreeSet::new(), Vec::new());
    reached(&message(name), &mut seen, &mut fields);
    fields
}

#[test]
fn capabilities_are_fifteen_and_the_same_of_runtimes_and_hosts() {
    // acceptance 4
    let expected = "can_list_hosts can_list_workers can_get_worker can_spawn_worker can_stop_worker can_accept_input \
                    has_workspace_fs has_shell has_git supports_worktrees supports_backend_internal_tools \
                    workspace_scope max_workers os arch";
    assert_eq!(names("v1.RuntimeCapabilities"), expected.split_whitespace().collect::<Vec<_>>());
    for of in ["v1.Runtime", "v1.Host", "runtime.v1.GetRuntimeResponse"] {
        let kind = field(of, "capabilities").kind();
        assert_eq!(kind.as_message().unwrap().full_name(), "workplane.v1.RuntimeCapabilities", "{of}");
    }
}

#[test]
fn a_worker_tells_all_that_it_should() {
    // acceptance 5
    let told: BTreeSet<_> = names("v1.Worker").into_iter().collect();
    let expected = "runtime_id worker_id workspace_id host_id label labels role profile workspace state activity \
                    run_generation created_at last_seen_at seen_age last_progress_at stale termination config_bundle \
                    implementation capabilities transcript_length first_sequence last_event_id diagnostics";
    for name in expected.split_whitespace() {
        assert!(told.contains(name), "a worker does not tell its {name}");
    }
    assert_eq!(names("v1.WorkerWorkspace"), ["visibility", "identity"]);
    assert_eq!(names("v1.WorkerImplementation"), ["kind", "display_hint"]);
    assert_eq!(names("v1.WorkerCapabilities"), ["can_accept_input", "can_stop", "can_spawn_followup"]);
    for optional in ["role", "profile", "last_seen_at", "termination"] {
        assert!(field("v1.Worker", optional).supports_presence(), "{optional}");
    }
}

#[test]
fn every_change_of_a_worker_says_what_became_of_it() {
    // acceptance 6
    for change in "SpawnWorker SendInput StopWorker CancelWorker DeleteWorker InterruptWorker AnswerApproval \
                   SyncConfigBundle CheckConfigBundle RemoveConfigBundle GetTranscript"
        .split_whitespace()
    {
        let kind = field(&format!("v1.{change}Response"), "state").kind();
        let states = kind.as_enum().unwrap_or_else(|| panic!("{change} has another state")).clone();
        assert_eq!(states.full_name(), "workplane.v1.OperationState", "{change}");
        let names: Vec<_> = states.values().map(|value| value.name().to_owned()).collect();
        assert_eq!(
            names,
            ["UNSPECIFIED", "ACCEPTED", "UNSUPPORTED", "REJECTED"].map(|name| format!("OPERATION_STATE_{name}"))
        );
    }
}

#[test]
fn what_is_absent_is_absent_on_the_wire() {
    // acceptance 7
    for (of, optional) in [
        ("v1.SpawnWorkerResponse", "worker"),
        ("v1.SendInputResponse", "transcript_sequence"),
        ("v1.SendInputResponse", "event_id"),
        ("v1.StopWorkerResponse", "event_id"),
        ("v1.CancelWorkerResponse", "event_id"),
        ("v1.CheckConfigBundleResponse", "availability"),
        ("v1.SyncConfigBundleResponse", "availability"),
        ("v1.GetTranscriptResponse", "next_start"),
        ("v1.SpawnWorkerRequest", "requested_worker_name"),
        ("v1.SpawnWorkerRequest", "profile"),
        ("v1.SpawnWorkerRequest", "config_bundle"),
        ("v1.SpawnWorkerRequest", "workspace_id"),
        ("v1.SpawnWorkerRequest", "initial_input"),
        ("v1.ObserveWorkerRequest", "cursor"),
        ("v1.Host", "last_seen_at"),
        ("v1.Termination", "exit_code"),
        ("v1.Termination", "signal"),
        ("runtime.v1.StopWorkerResponse", "event_id"),
    ] {
        assert!(field(of, optional).supports_presence(), "{of}.{optional}");
    }
    let rejected = v1::SendInputResponse { state: v1::OperationState::Rejected.into(), ..Default::default() };
    let mut bytes = Vec::new();
    prost::Message::encode(&rejected, &mut bytes).unwrap();
    assert_eq!(bytes.len(), 2, "more than the state is on the wire");
}

#[test]
fn a_spawn_has_no_place_for_a_path_a_command_an_endpoint_or_a_secret() {
    // acceptance 8
    const FORBIDDEN: [&str; 16] = [
        "cwd",
        "root",
        "executable",
        "command",
        "argv",
        "args",
        "env",
        "endpoint",
        "url",
        "credential",
        "token",
        "secret",
        "password",
        "socket",
        "path",
        "spec",
    ];
    for request in ["v1.SpawnWorkerRequest", "runtime.v1.CreateWorkerRequest"] {
        let fields = fields_reached(request);
        assert!(fields.len() > 20, "{request} is not looked through");
        for field in fields {
            // The acceptance by a socket, which is always refused, is an empty message.
            if field.name() == "socket_ready" {
                assert_eq!(field.kind().as_message().unwrap().fields().len(), 0);
                continue;
            }
            let bad = field.name().split('_').find(|word| FORBIDDEN.contains(word));
            assert_eq!(bad, None, "{request} holds {}", field.full_name());
        }
    }
}

#[test]
fn observations_are_read_and_never_written() {
    // acceptance 113
    let pool = pool();
    let mut streams = 0;
    for service in pool.services() {
        for method in service.methods() {
            assert!(!method.is_client_streaming(), "{}", method.full_name());
            streams += usize::from(method.is_server_streaming());
        }
    }
    assert!(streams >= 8, "only {streams} methods answer with streams");
}

#[test]
fn a_frame_has_its_envelope_and_no_place_for_an_endpoint_or_a_credential() {
    // acceptance 120
    let envelope = ["runtime_id", "worker_id", "cursor", "sequence", "observed_at"];
    assert_eq!(names("v1.ObservationFrame")[..5], envelope);
    let oneof = message("v1.ObservationFrame").oneofs().next().unwrap();
    assert_eq!((oneof.name(), oneof.fields().len()), ("payload", 15));
    for field in fields_reached("v1.ObservationFrame") {
        let bad = field.name().split('_').find(|word| ["endpoint", "credential", "token", "address"].contains(word));
        assert_eq!(bad, None, "{}", field.full_name());
    }
}
