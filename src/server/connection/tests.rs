use std::task::Waker;

use tokio::sync::Semaphore;

use super::*;

fn taken(connections: &Connections, address: &str) -> Option<Connection> {
    let room = Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap();
    connections.take(SocketAddr::new(address.parse().unwrap(), 1), room)
}

fn has_ended(connection: &Connection) -> bool {
    connection.watch(&Context::from_waker(Waker::noop())).is_err()
}

#[tokio::test]
async fn strangers_are_counted_by_address_until_they_say_who_they_are() {
    let connections = Connections::new(&Edge { max_connections_per_address: 2, ..Edge::control_plane() });
    let take = |address| taken(&connections, address);
    let (first, second) = (take("192.0.2.1").unwrap(), take("::ffff:192.0.2.1").unwrap());
    assert!(take("192.0.2.1").is_none());
    let _other = take("192.0.2.2").unwrap();
    assert!(first.authenticated(&Caller::new("alice")));
    let _third = take("192.0.2.1").expect("who has said who it is, is no stranger");
    assert!(take("192.0.2.1").is_none());
    drop(second);
    assert!(take("192.0.2.1").is_some());

    let _ours = (take("2001:db8::1").unwrap(), take("2001:db8::2").unwrap());
    assert!(take("2001:db8::ffff:1:1").is_none(), "a whole /64 is one address");
    assert!(take("2001:db8:0:1::1").is_some());
    let loopback: Vec<_> = (0..9).map(|_| (take("127.0.0.1"), take("::1"), take("::ffff:127.0.0.1"))).collect();
    assert!(loopback.iter().all(|(a, b, c)| a.is_some() && b.is_some() && c.is_some()));
}

#[tokio::test(start_paused = true)]
async fn a_connection_beyond_those_of_its_caller_ends_and_counts_for_nobody() {
    let connections = Connections::new(&Edge { max_connections_per_caller: 1, ..Edge::control_plane() });
    let (alice, bob) = (Caller::new("alice"), Caller::new("bob"));
    let [first, second, third] = [1, 2, 3].map(|n| taken(&connections, &format!("192.0.2.{n}")).unwrap());
    assert!(first.authenticated(&alice) && first.authenticated(&bob), "it is its first caller's");
    assert!(!second.authenticated(&alice));
    assert!(!second.authenticated(&bob), "it is nobody's");
    assert!(third.authenticated(&bob));
    assert_eq!([&first, &second, &third].map(Connection::caller), [Some(&alice), None, Some(&bob)]);
    assert!(!has_ended(&second), "what it is told can be read");
    second.asked();
    sleep(SOON + LOOK).await;
    assert_eq!([&first, &second, &third].map(has_ended), [false, true, false]);
    drop(first);
    assert!(taken(&connections, "192.0.2.4").unwrap().authenticated(&alice));
}

#[tokio::test(start_paused = true)]
async fn who_connects_speaks_and_asks_in_time_or_goes() {
    let edge = Edge::control_plane();
    let connections = Connections::new(&edge);
    let [silent, speaking, asking] = [1, 2, 3].map(|n| {
        let connection = taken(&connections, &format!("192.0.2.{n}")).unwrap();
        connection.begins();
        connection
    });
    sleep(edge.preface_timeout / 2).await;
    speaking.spoke();
    asking.spoke();
    asking.asked();
    sleep(edge.preface_timeout / 2 + LOOK).await;
    assert_eq!([&silent, &speaking, &asking].map(has_ended), [true, false, false]);
    sleep(edge.first_request_timeout).await;
    assert_eq!([&speaking, &asking].map(has_ended), [true, false]);
    sleep(Duration::from_hours(24)).await;
    assert!(!has_ended(&asking));
}

#[tokio::test(start_paused = true)]
async fn what_is_not_read_ends_its_connection_and_what_is_silent_does_not() {
    let edge = Edge::control_plane();
    let connections = Connections::new(&edge);
    let [stalled, read, silent] = [1, 2, 3].map(|n| taken(&connections, &format!("192.0.2.{n}")).unwrap());
    let mut answers = [&stalled, &read, &silent].map(Connection::answer);
    answers[0].handed();
    for _ in 0..4 {
        answers[1].handed();
        sleep(edge.stalled_stream_timeout / 5).await;
        answers[1].taken();
    }
    assert_eq!([&stalled, &read, &silent].map(has_ended), [false; 3]);
    sleep(edge.stalled_stream_timeout / 2).await;
    assert_eq!([&stalled, &read, &silent].map(has_ended), [true, false, false]);
    drop(answers);
    sleep(edge.stalled_stream_timeout * 2).await;
    assert_eq!([&read, &silent].map(has_ended), [false; 2]);
}

#[tokio::test(start_paused = true)]
async fn a_socket_that_takes_nothing_is_given_up_as_a_peer_that_does_not_answer() {
    let edge = Edge::control_plane();
    let connections = Connections::new(&edge);
    let [stuck, slow] = [1, 2].map(|n| taken(&connections, &format!("192.0.2.{n}")).unwrap());
    stuck.takes(false);
    let patience = edge.keepalive_interval + edge.keepalive_timeout;
    for _ in 0..8 {
        slow.takes(false);
        slow.takes(false);
        sleep(patience / 8 + LOOK).await;
        slow.takes(true);
    }
    assert_eq!([&stuck, &slow].map(has_ended), [true, false]);
}

#[tokio::test(start_paused = true)]
async fn an_old_connection_has_its_grace_and_then_ends() {
    let age = Duration::from_mins(10);
    let edge = Edge { max_connection_age: Some(age), ..Edge::control_plane() };
    let connections = Connections::new(&edge);
    let connection = taken(&connections, "192.0.2.1").unwrap();
    sleep(age + edge.connection_age_grace / 2).await;
    assert!(!has_ended(&connection));
    sleep(edge.connection_age_grace / 2 + LOOK * 2).await;
    assert!(has_ended(&connection));
}

#[tokio::test]
async fn a_connection_has_so_many_unary_calls_and_room_for_what_ends_things() {
    let connections = Connections::new(&Edge { max_unary_per_connection: 1, ..Edge::control_plane() });
    let connection = taken(&connections, "192.0.2.1").unwrap();
    let call = connection.unary(false).unwrap();
    assert!(connection.unary(false).is_none());
    drop(connection.unary(true).unwrap());
    drop(call);
    assert!(connection.unary(false).is_some());
}

#[tokio::test]
async fn who_waits_on_a_socket_hears_that_it_must_end() {
    let connections = Connections::new(&Edge::control_plane());
    let connection = taken(&connections, "192.0.2.1").unwrap();
    let waiting = std::future::poll_fn(|cx| match connection.watch(cx) {
        Ok(()) => std::task::Poll::Pending,
        Err(error) => std::task::Poll::Ready(error),
    });
    let (error, ()) = tokio::join!(waiting, async { connection.end("of a test") });
    assert_eq!(error.to_string(), "of a test");
}
