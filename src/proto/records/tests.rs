//! Every record comes back as it went, and none that nobody wrote is taken for one.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use prost::Message as _;

use super::*;
use crate::engine::{Outcome, ProcessRecord, Protocol, ReceiptKey, WorkerRow};
use crate::model::{
    Approval, ApprovalId, ApprovalKind, ApprovalOption, BundleContent, BundleDigest, BundleId, BundleRef, Caller,
    Declaration, DeclarationKind, Diagnostic, Fingerprint, ProfileDescriptor, ProfileSelector, Provenance, Severity,
    Termination, TerminationReason, WorkerId, WorkerState, WorkspaceId,
};
use crate::proto::FILE_DESCRIPTOR_SET;

fn times() -> impl Strategy<Value = SystemTime> {
    // Also before 1970: a clock may be wrong.
    (0..1_u64 << 33, 0..1_000_000_000_u32, any::<bool>()).prop_map(|(seconds, nanos, before)| {
        let since = Duration::new(seconds, nanos);
        if before { SystemTime::UNIX_EPOCH - since } else { SystemTime::UNIX_EPOCH + since }
    })
}

fn worker_ids() -> impl Strategy<Value = WorkerId> {
    "[A-Za-z0-9_:-]{1,120}".prop_map(|id| WorkerId::new(&id).unwrap())
}

fn selectors() -> impl Strategy<Value = ProfileSelector> {
    let name = "[A-Za-z0-9._:/-]{1,128}";
    prop_oneof![
        Just(ProfileSelector::RuntimeDefault),
        name.prop_map(|name| ProfileSelector::builtin(name).unwrap()),
        name.prop_map(|name| ProfileSelector::named(name).unwrap()),
    ]
}

fn references() -> impl Strategy<Value = BundleRef> {
    ("[A-Za-z0-9][A-Za-z0-9._:-]{0,127}", "[0-9a-f]{64}").prop_map(|(id, digest)| BundleRef {
        id: BundleId::new(&id).unwrap(),
        digest: BundleDigest::new(&digest).unwrap(),
    })
}

fn diagnostics() -> impl Strategy<Value = Diagnostic> {
    let severity = select(vec![Severity::Info, Severity::Warning, Severity::Error]);
    ("[a-z_.]{1,20}", severity, any::<String>()).prop_map(|(code, severity, message)| Diagnostic {
        code: code.into(),
        severity,
        message: message.into(),
    })
}

prop_compose! {
    fn origins()(
        worker_id in worker_ids(),
        workspace_id in "[A-Za-z0-9_:-]{1,120}",
        caller in "[A-Za-z0-9._:@-]{0,120}",
        label in any::<String>(),
        labels in btree_map("[a-z]{1,5}", "[a-z]{0,5}", 0..4),
        role in any::<String>(),
        profile in selectors(),
        protocol in select(Protocol::ALL.to_vec()),
        config_bundle in option::of(references()),
        capabilities in vec(any::<String>(), 0..4),
        created_at in times(),
        diagnostics in vec(diagnostics(), 0..4),
    ) -> WorkerOrigin {
        WorkerOrigin {
            worker_id,
            workspace_id: WorkspaceId::new(&workspace_id).unwrap(),
            caller: Caller::new(&caller),
            label,
            labels,
            role,
            profile,
            display_hint: protocol.as_str(),
            config_bundle,
            capabilities,
            created_at,
            diagnostics,
        }
    }
}

fn reasons() -> impl Strategy<Value = TerminationReason> {
    use TerminationReason::{
        Cancelled, Drained, Exited, Killed, OutOfMemory, ProtocolError, RuntimeLost, StartFailed, Stopped,
    };
    select(vec![Stopped, Cancelled, Exited, Killed, OutOfMemory, StartFailed, ProtocolError, RuntimeLost, Drained])
}

prop_compose! {
    fn terminations()(
        reason in reasons(),
        exit_code in option::of(any::<i32>()),
        signal in option::of(any::<i32>()),
        // Longer than any that is told: what is stored is not cut.
        message in "\\PC{0,3000}",
        ended_at in times(),
        run_generation in any::<u64>(),
        last_sequence in any::<u64>(),
    ) -> Termination {
        Termination { reason, exit_code, signal, message, ended_at, run_generation, last_sequence }
    }
}

prop_compose! {
    fn approvals()(
        number in any::<u64>(),
        turn_id in "[a-z0-9-]{0,20}",
        title in any::<String>(),
        options in vec(("[!-~]{1,128}", any::<String>(), select(ApprovalKind::ALL.to_vec())), 0..4),
        requested_at in times(),
    ) -> Approval {
        let option = |(option_id, label, kind): (String, String, _)| {
            ApprovalOption { option_id: option_id.into(), label, kind }
        };
        Approval {
            approval_id: ApprovalId::numbered(number),
            turn_id: turn_id.into(),
            title,
            options: options.into_iter().map(option).collect(),
            requested_at,
        }
    }
}

fn states() -> impl Strategy<Value = WorkerState> {
    use WorkerState::{Cancelled, Failed, Running, Starting, Stopped, Stopping};
    select(vec![Starting, Running, Stopping, Stopped, Cancelled, Failed])
}

prop_compose! {
    fn rows()(
        origin in origins(),
        state in states(),
        process in option::of((any::<i32>(), any::<u64>(), any::<u64>())),
        driver in vec(any::<u8>(), 0..64),
        numbers in any::<[u64; 8]>(),
        last_accepted in option::of(any::<u64>()),
        last_progress_at in option::of(times()),
        restarts in vec(times(), 0..4),
        last_failure in option::of(terminations()),
        termination in option::of(terminations()),
        approvals in vec(approvals().prop_map(Arc::new), 0..4),
        approvals_asked in any::<u64>(),
    ) -> WorkerRow {
        let [run_generation, last_sequence, first_sequence, transcript_length, removed_items, said_items, picked_up,
            turns_ended] = numbers;
        WorkerRow {
            origin: Arc::new(origin),
            state,
            run_generation,
            process: process.map(|(pid, start_time, boot)| ProcessRecord { pid, start_time, boot }),
            driver: driver.into(),
            last_sequence,
            first_sequence,
            transcript_length,
            removed_items,
            said_items,
            picked_up,
            turns_ended,
            last_accepted,
            last_progress_at,
            restarts,
            last_failure,
            termination,
            approvals,
            approvals_asked,
        }
    }
}

fn receipts() -> impl Strategy<Value = Receipt> {
    let outcome = prop_oneof![
        worker_ids().prop_map(Outcome::Created),
        (worker_ids(), any::<u64>(), any::<u64>()).prop_map(|(worker_id, transcript_sequence, event_id)| {
            Outcome::Input { worker_id, transcript_sequence, event_id }
        }),
        worker_ids().prop_map(Outcome::Stopping),
        (worker_ids(), any::<u64>()).prop_map(|(worker_id, event_id)| Outcome::Answered { worker_id, event_id }),
        (worker_ids(), proptest::option::of(any::<u64>()))
            .prop_map(|(worker_id, turn)| Outcome::Interrupted { worker_id, turn }),
        references().prop_map(Outcome::Bundle),
        references().prop_map(Outcome::BundleRemoved),
        (worker_ids(), option::of(rows().prop_map(Box::new)))
            .prop_map(|(worker_id, last)| Outcome::Deleted { worker_id, last }),
    ];
    (any::<[u8; 32]>(), any::<[u8; 32]>(), outcome, times()).prop_map(|(key, fingerprint, outcome, at)| Receipt {
        key: ReceiptKey::from_bytes(key),
        fingerprint: Fingerprint(fingerprint),
        outcome,
        at,
    })
}

fn bundles() -> impl Strategy<Value = ConfigBundle> {
    let word = "[a-z]{1,9}";
    let profile = (selectors(), option::of(word))
        .prop_map(|(_, label)| ProfileDescriptor { selector: ProfileSelector::RuntimeDefault, label });
    let declaration = (word, word, any::<bool>()).prop_map(|(name, to, secret)| {
        let (kind, prefix) = if secret {
            (DeclarationKind::SecretRef, "vault")
        } else {
            (DeclarationKind::CapabilityGrant, "capability")
        };
        Declaration { kind, name, reference: format!("{prefix}:{to}") }
    });
    (word, word, option::of(word), vec(profile, 0..4), vec(declaration, 0..4)).prop_map(
        |(revision, source, detail, profiles, declarations)| {
            let content = BundleContent {
                id: BundleId::new("bundle-1").unwrap(),
                revision,
                workspace_id: "local:test".to_owned(),
                created_at: "2026-06-26T00:00:00Z".to_owned(),
                provenance: Provenance { source, detail },
                profiles,
                declarations,
            };
            ConfigBundle::new(content, None).unwrap()
        },
    )
}

proptest! {
    #[test]
    fn a_workers_origin_and_row_come_back_as_they_went(row in rows(), revision in any::<u64>()) {
        let origin = ProtoRecords.read_origin(&ProtoRecords.origin(&row.origin)).unwrap();
        prop_assert_eq!(&origin, &*row.origin);
        let stored = StoredWorker { revision, row: Box::new(row) };
        let read = ProtoRecords.read_row(Arc::new(origin), &ProtoRecords.row(&stored)).unwrap();
        prop_assert_eq!((read.revision, read.row), (stored.revision, stored.row));
    }

    #[test]
    fn a_receipt_comes_back_as_it_went(receipt in receipts()) {
        prop_assert_eq!(ProtoRecords.read_receipt(&ProtoRecords.receipt(&receipt)).unwrap(), receipt);
    }

    #[test]
    fn a_bundle_comes_back_as_it_went(bundle in bundles()) {
        prop_assert_eq!(ProtoRecords.read_bundle(&ProtoRecords.bundle(&bundle)).unwrap(), bundle);
    }

    #[test]
    fn no_bytes_panic(row in rows(), receipt in receipts(), noise in vec(any::<u8>(), 0..200), at in any::<usize>(), flip in 1..=255_u8) {
        let mut records = vec![ProtoRecords.origin(&row.origin).to_vec(), ProtoRecords.row(&StoredWorker { revision: 1, row: Box::new(row.clone()) }).to_vec()];
        records.extend([ProtoRecords.receipt(&receipt).to_vec(), noise]);
        for bytes in &mut records {
            if !bytes.is_empty() {
                let at = at % bytes.len();
                bytes[at] ^= flip;
            }
            let (_, _) = (ProtoRecords.read_origin(bytes), ProtoRecords.read_row(Arc::clone(&row.origin), bytes));
            let (_, _) = (ProtoRecords.read_receipt(bytes), ProtoRecords.read_bundle(bytes));
        }
    }
}

fn origin() -> stored::WorkerOrigin {
    worker::origin(&WorkerOrigin {
        worker_id: WorkerId::generate(),
        workspace_id: WorkspaceId::new("local:test").unwrap(),
        caller: Caller::anonymous(),
        label: String::new(),
        labels: BTreeMap::new(),
        role: String::new(),
        profile: ProfileSelector::RuntimeDefault,
        display_hint: Protocol::Lines.as_str(),
        config_bundle: None,
        capabilities: Vec::new(),
        created_at: SystemTime::UNIX_EPOCH,
        diagnostics: vec![Diagnostic::info("code", "words")],
    })
}

#[test]
fn what_nobody_wrote_is_refused_by_its_path_and_number() {
    type Change = fn(&mut stored::WorkerOrigin);
    let cases: [(Change, &str); 8] = [
        (|it| it.worker_id = "a b".to_owned(), "worker_origin.worker_id: must be"),
        (|it| it.workspace_id.clear(), "worker_origin.workspace_id: must be"),
        (|it| it.profile = None, "worker_origin.profile: is required"),
        (|it| it.protocol = 99, "worker_origin.protocol: 99 is none of its values"),
        (|it| it.protocol = 0, "worker_origin.protocol: 0 is none of its values"),
        (|it| it.created_at = None, "worker_origin.created_at: is required"),
        (|it| it.diagnostics[0].severity = 7, "worker_origin.diagnostics[0].severity: 7 is none of its values"),
        (
            |it| it.config_bundle = Some(v1::ConfigBundleRef { id: "b".to_owned(), digest: "x".to_owned() }),
            "worker_origin.config_bundle.digest: must be",
        ),
    ];
    for (change, problem) in cases {
        let mut origin = origin();
        change(&mut origin);
        let fault = ProtoRecords.read_origin(&origin.encode_to_vec()).unwrap_err().to_string();
        assert!(fault.starts_with(problem), "{fault}");
    }
    let origin = Arc::new(worker::read_origin(origin()).unwrap());
    let ended = v1::Termination { reason: 42, ..Default::default() };
    let row = stored::WorkerRow { state: 2, termination: Some(ended), ..Default::default() };
    for (row, problem) in [
        (row, "worker_row.termination.reason: 42 is none of its values"),
        (stored::WorkerRow { state: 9, ..Default::default() }, "worker_row.state: 9 is none of its values"),
    ] {
        let fault = ProtoRecords.read_row(Arc::clone(&origin), &row.encode_to_vec()).unwrap_err();
        assert_eq!(fault.to_string(), problem);
    }
    let fault = ProtoRecords.read_receipt(&[]).unwrap_err();
    assert_eq!(fault.to_string(), "receipt.key: must be 32 bytes");
    let fault = ProtoRecords.read_receipt(&[0xff]).unwrap_err();
    assert!(fault.to_string().starts_with("receipt.message: does not decode"), "{fault}");
}

#[test]
fn the_numbers_of_the_kinds_of_events_on_disk_are_frozen() {
    use EventKind::{
        ActivityChanged, ApprovalRequested, ApprovalSettled, End, Gap, Heartbeat, InputAccepted, ItemAppended,
        OutputDelta, Snapshot, StateChanged, ToolCall, TurnEnded, TurnStarted,
    };
    for (kind, number) in [
        (Snapshot, 10),
        (StateChanged, 11),
        (InputAccepted, 12),
        (ItemAppended, 13),
        (OutputDelta, 14),
        (TurnStarted, 15),
        (TurnEnded, 16),
        (ToolCall, 17),
        (ApprovalRequested, 18),
        (ApprovalSettled, 19),
        (ActivityChanged, 20),
        (EventKind::Diagnostic, 21),
        (Heartbeat, 22),
        (Gap, 23),
        (End, 24),
    ] {
        assert_eq!((ProtoRecords.tag(kind), ProtoRecords.kind(number)), (number, Some(kind)));
    }
    assert_eq!((0..=255).filter_map(|tag| ProtoRecords.kind(tag)).count(), 15);
}

#[test]
fn what_is_kept_is_not_served() {
    let pool = prost_reflect::DescriptorPool::decode(FILE_DESCRIPTOR_SET).unwrap();
    let names: Vec<_> = pool.files().map(|file| file.name().to_owned()).collect();
    assert!(names.iter().any(|name| name == "workplane/v1/worker.proto"));
    assert!(names.iter().all(|name| !name.contains("store")), "{names:?}");
}
