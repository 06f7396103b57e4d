//! Every field of every request, outside of its rule: refused, with its path. Complete by the descriptors: a new field without
//! a rule in `rules` fails here, and so does a new method.

use prost::Message as _;
use prost_reflect::{DescriptorPool, MethodDescriptor};
use tonic::Code;

use crate::bed::{Bed, is_host, methods, pool};
use crate::sample::{Broken, Maker, is_required};

/// Methods whose requests nobody looks at yet. One that has come must be taken off.
const NOT_YET: &[(&str, &str)] = &[
    ("RuntimeService.RegisterRuntime", "comes with fleets"),
    ("RuntimeService.UpdateRuntime", "comes with fleets"),
    ("RuntimeService.RemoveRuntime", "comes with fleets"),
    ("RuntimeService.SetRuntimeCordon", "comes with fleets"),
    ("RuntimeService.WatchRuntimes", "comes with fleets"),
    ("WorkerService.WatchWorkers", "comes with fleets"),
    ("ObservationService.ObserveWorkers", "comes with fleets"),
    ("WorkerRuntimeService.WatchWorkers", "comes with fleets"),
    ("WorkerRuntimeService.ObserveWorkers", "comes with fleets"),
];

/// As it stands in the table.
fn short(method: &MethodDescriptor) -> String {
    format!("{}.{}", method.parent_service().name(), method.name())
}

fn is_later(method: &MethodDescriptor) -> bool {
    NOT_YET.iter().any(|(name, _)| *name == short(method))
}

fn served(pool: &DescriptorPool) -> Vec<MethodDescriptor> {
    methods(pool).into_iter().filter(|method| !is_later(method)).collect()
}

#[tokio::test(start_paused = true)]
async fn every_field_outside_its_rule_is_refused_with_its_path() {
    // acceptance 28, 85, 89, 93, 109, 124
    let (pool, bed) = (pool(), Bed::new().await);
    let (mut wrong, mut forgotten, mut cases) = (Vec::new(), Vec::new(), 0);
    for method in served(&pool) {
        let maker = Maker { worker: &bed.worker, is_host: is_host(&method) };
        for Broken { message, path, reason } in maker.broken(&method.input(), &mut forgotten) {
            cases += 1;
            let answer = bed.call(&method, &message.encode_to_vec()).await;
            let right =
                answer.status.code() == Code::InvalidArgument && answer.reason() == reason && answer.field() == path;
            if !right {
                let sent: String = message.to_string().chars().take(300).collect();
                wrong.push(format!("{}: {reason} at `{path}`, got {}\n    {sent}", short(&method), answer.told()));
            }
        }
    }
    forgotten.sort();
    forgotten.dedup();
    assert!(forgotten.is_empty(), "fields without a rule in rules.rs: {forgotten:#?}");
    assert!(wrong.is_empty(), "{} of {cases} cases:\n{}", wrong.len(), wrong.join("\n"));
    assert!(cases > 300, "only {cases} cases");
}

#[tokio::test(start_paused = true)]
async fn a_request_within_the_rules_is_no_bad_request_with_or_without_what_is_optional() {
    let (pool, bed) = (pool(), Bed::new().await);
    for method in served(&pool) {
        let maker = Maker { worker: &bed.worker, is_host: is_host(&method) };
        let good = maker.good(&method.input());
        let mut requests = vec![good.clone()];
        for field in method.input().fields().filter(|field| !is_required(field)) {
            let mut without = good.clone();
            without.clear_field(&field);
            requests.push(without);
        }
        for request in requests {
            let answer = bed.call(&method, &request.encode_to_vec()).await;
            assert_ne!(
                answer.status.code(),
                Code::InvalidArgument,
                "{}: {} for {request}",
                short(&method),
                answer.told()
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn methods_that_are_to_come_say_so_and_are_listed() {
    let (pool, bed) = (pool(), Bed::new().await);
    for method in methods(&pool) {
        let maker = Maker { worker: &bed.worker, is_host: is_host(&method) };
        let answer = bed.call(&method, &maker.good(&method.input()).encode_to_vec()).await;
        let says_so = answer.status.code() == Code::Unimplemented && answer.reason() == "NOT_YET";
        assert_eq!(says_so, is_later(&method), "{}: {}", short(&method), answer.told());
    }
    for (name, _) in NOT_YET {
        assert!(methods(&pool).iter().any(|method| short(method) == *name), "there is no {name}");
    }
}
