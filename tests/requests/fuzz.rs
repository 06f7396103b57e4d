//! Requests by chance, to every method of both roles: no panic, no hang, and no error that nobody can explain.
//!
//! Time stands still but when nothing else is to be done; then it jumps to the next timer. So a call that waits for
//! something that never comes ends with its deadline at once, and is found by that; one that computes without end is
//! found by a watchman with a real clock.

use std::panic;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use http::{Method, StatusCode};
use prost_reflect::{DynamicMessage, MethodDescriptor, Value};
use tokio::time::Instant;
use tonic::Code;
use workplane::model::Reason;
use workplane::proto::status;

use crate::answer::Answer;
use crate::bed::{Bed, is_host, methods, pool};
use crate::chance::Chance;
use crate::mutate::Sent;

/// How many requests one engine takes: then another begins, so that there is always room for workers.
const ROUND: u64 = 2_500;
/// How many workers and tokens are remembered.
const REMEMBERED: usize = 12;
/// Longer than any one request takes.
const STUCK: Duration = Duration::from_mins(1);

static PANICS: AtomicUsize = AtomicUsize::new(0);
static DONE: AtomicU64 = AtomicU64::new(0);

#[test]
fn no_request_causes_a_panic_a_hang_or_an_unexplained_error() {
    let number = |name: &str| std::env::var_os(name).and_then(|text| text.to_str()?.parse().ok());
    let requests: u64 = number("WORKPLANE_FUZZ").unwrap_or(50_000);
    let seed: u64 = number("WORKPLANE_SEED").unwrap_or_else(rand::random);
    println!("WORKPLANE_SEED={seed}");
    count_panics();
    watch(seed);
    let (start, mut codes) = (Instant::now(), std::collections::BTreeMap::<String, u64>::new());
    for round in 0..requests.div_ceil(ROUND) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        let count = ROUND.min(requests - round * ROUND);
        // The round is part of the seed, so that one round can be had again alone.
        for code in runtime.block_on(a_round(seed.wrapping_add(round), count)) {
            *codes.entry(format!("{code:?}")).or_default() += 1;
        }
    }
    println!("{requests} requests in {:?}: {codes:?}", start.elapsed());
}

/// Sends so many requests to one engine; the codes of the answers.
async fn a_round(seed: u64, count: u64) -> Vec<Code> {
    let (pool, bed) = (pool(), Bed::new().await);
    let methods = methods(&pool);
    let mut chance = Chance::new(seed, bed.worker.clone());
    let mut codes = Vec::new();
    for n in 0..count {
        let method = &methods[chance.below(methods.len())];
        let Sent { request, hurried, told } = chance.request(method);
        let is_call = request.method() == Method::POST;
        let response = bed.send(is_host(method), request).await;
        if !is_call {
            assert_eq!(response.status(), StatusCode::METHOD_NOT_ALLOWED, "{told}");
            DONE.fetch_add(1, Ordering::Relaxed);
            continue;
        }
        let answer = Answer::read(response).await;
        if let Some(fault) = fault(method, &answer, hurried) {
            panic!("WORKPLANE_SEED={seed}, request {n}: {fault}: {}\n{told}", answer.told());
        }
        learn(&mut chance, method, &answer);
        codes.push(answer.status.code());
        DONE.fetch_add(1, Ordering::Relaxed);
    }
    codes
}

/// What is wrong with an answer.
fn fault(method: &MethodDescriptor, answer: &Answer, hurried: bool) -> Option<String> {
    if PANICS.load(Ordering::Relaxed) > 0 {
        return Some("something panicked".to_owned());
    }
    for message in &answer.messages {
        if let Err(error) = DynamicMessage::decode(method.output(), message.clone()) {
            return Some(format!("the answer does not decode: {error}"));
        }
    }
    if answer.status.code() == Code::Ok {
        return None;
    }
    let Some(reason) = Reason::parse(&answer.reason()) else { return Some("no reason".to_owned()) };
    match answer.status.code() {
        code if code != status::code(reason) => Some("a reason that is not the code's".to_owned()),
        // Nothing here has a store or a host that could fail.
        Code::Internal | Code::Unknown | Code::DataLoss | Code::Unavailable | Code::Cancelled => {
            Some("unexplained".to_owned())
        }
        Code::DeadlineExceeded if !hurried => Some("it hangs".to_owned()),
        Code::InvalidArgument if answer.status.message().is_empty() => Some("no words".to_owned()),
        _ => None,
    }
}

/// Remembers what later requests may name.
fn learn(chance: &mut Chance, method: &MethodDescriptor, answer: &Answer) {
    let Some(message) = answer.messages.last() else { return };
    // It was decoded before.
    let Ok(message) = DynamicMessage::decode(method.output(), message.clone()) else { return };
    let text = |message: &DynamicMessage, name: &str| match message.get_field_by_name(name).as_deref() {
        Some(Value::String(text)) if !text.is_empty() => Some(text.clone()),
        _ => None,
    };
    let within = |name: &str, field: &str| match message.get_field_by_name(name).as_deref() {
        Some(Value::Message(inner)) => text(inner, field),
        _ => None,
    };
    let keep = |all: &mut Vec<String>, found: Option<String>| {
        let Some(found) = found.filter(|found| !all.contains(found)) else { return };
        if all.len() >= REMEMBERED {
            all.remove(0);
        }
        all.push(found);
    };
    keep(&mut chance.workers, within("worker", "worker_id"));
    keep(&mut chance.tokens, text(&message, "next_page_token").or_else(|| within("frame", "cursor")));
}

/// Counts panics anywhere, also in tasks that nobody waits for.
fn count_panics() {
    let before = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        PANICS.fetch_add(1, Ordering::Relaxed);
        before(info);
    }));
}

/// Ends everything when nothing goes on any more.
fn watch(seed: u64) {
    // Outside of a runtime the clock is the real one.
    std::thread::spawn(move || {
        let (mut last, mut since) = (0, Instant::now());
        loop {
            std::thread::park_timeout(Duration::from_secs(1));
            let done = DONE.load(Ordering::Relaxed);
            if done != last {
                (last, since) = (done, Instant::now());
            } else if since.elapsed() > STUCK {
                eprintln!("WORKPLANE_SEED={seed}: the request after {done} does not end");
                std::process::abort();
            }
        }
    });
}
