//! Bytes that are not the message they should be.

use bytes::Bytes;
use prost_reflect::Kind;
use tonic::Code;

use crate::answer::Answer;
use crate::bed::{Bed, body, framed, is_host, methods, path, pool, request};

#[tokio::test(start_paused = true)]
async fn a_text_that_is_not_utf8_is_a_bad_field_of_every_method() {
    let (pool, bed) = (pool(), Bed::new().await);
    for method in methods(&pool) {
        for field in method.input().fields().filter(|field| matches!(field.kind(), Kind::String)) {
            let mut message = vec![];
            prost::encoding::bytes::encode(field.number(), &vec![0xff_u8, 0xfe], &mut message);
            let answer = bed.call(&method, &message).await;
            let told = (answer.status.code(), answer.reason(), answer.field());
            let path = if field.is_list() { format!("{}[0]", field.name()) } else { field.name().to_owned() };
            let expected = (Code::InvalidArgument, "INVALID_REQUEST".to_owned(), path);
            assert_eq!(told, expected, "{}", field.full_name());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_bad_field_within_others_is_named_by_its_whole_path() {
    let (pool, bed) = (pool(), Bed::new().await);
    let put = |number, value: &[u8]| {
        let mut bytes = vec![];
        prost::encoding::bytes::encode(number, &value.to_vec(), &mut bytes);
        bytes
    };
    let method = |name: &str| methods(&pool).into_iter().find(|method| method.full_name() == name).unwrap();
    let (spawn, sync) = ("workplane.v1.WorkerService.SpawnWorker", "workplane.v1.ConfigBundleService.SyncConfigBundle");
    // A profile that is selected by a name, which is no UTF-8 the second time.
    let profile = |name: &[u8]| put(2, &put(1, &put(3, name)));
    for (name, message, field) in [
        (spawn, put(3, &put(3, &put(1, &[0xff]))), "intent.ticket_role.ticket_id"),
        (spawn, put(6, &put(3, &[0xff])), "profile.named"),
        (sync, put(2, &[profile(b"good"), profile(&[0xff])].concat()), "bundle.profiles[1].selector.named"),
    ] {
        let answer = bed.call(&method(name), &message).await;
        assert_eq!((answer.reason(), answer.field()), ("INVALID_REQUEST".to_owned(), field.to_owned()), "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_no_message_or_too_large_is_a_bad_request() {
    let (pool, bed) = (pool(), Bed::new().await);
    let large = framed(&vec![0; 5 * 1024 * 1024]);
    let truncated = framed(&[0; 64]).slice(..20);
    for method in methods(&pool) {
        for (bytes, what) in [
            (Bytes::new(), "no message"),
            (framed(&[0xff; 12]), "no fields"),
            (truncated.clone(), "half a message"),
            (Bytes::from_static(&[9, 0, 0, 0, 0]), "an unknown flag"),
            (large.clone(), "more than it takes"),
        ] {
            let response = bed.send(is_host(&method), request(&path(&method)).body(body(bytes)).unwrap()).await;
            let answer = Answer::read(response).await;
            let told = (answer.status.code(), answer.reason());
            let expected = (Code::InvalidArgument, "INVALID_REQUEST".to_owned());
            assert_eq!(told, expected, "{} for {what}: {}", method.full_name(), answer.told());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_method_that_is_not_there_is_unimplemented_with_a_reason() {
    let bed = Bed::new().await;
    for uri in [
        "/workplane.v1.WorkerService/FlyWorker",
        "/other.Service/Call",
        "/",
        "/workplane.v1.WorkerService/GetWorker?x=1",
    ] {
        let asked = request(uri).body(body(framed(&[]))).unwrap();
        let answer = Answer::read(bed.send(false, asked).await).await;
        assert_eq!((answer.status.code(), answer.reason().as_str()), (Code::Unimplemented, "NOT_YET"), "{uri}");
    }
}
