//! The breaker, call by call.

use super::*;

fn failing(breaker: &mut Breaker, now: Instant, times: u32) -> Option<Duration> {
    let leave = breaker.unasked();
    (0..times).fold(None, |opened, _| opened.or(breaker.failed(leave, now, Trouble::Unanswered)))
}

fn answering(breaker: &mut Breaker, now: Instant) {
    let leave = breaker.unasked();
    assert!(!breaker.answered(leave, now));
}

fn probe(breaker: &mut Breaker, now: Instant) -> Leave {
    let Ok(leave @ Leave::Probe(_)) = breaker.admit(now) else { panic!("{breaker:?}") };
    leave
}

#[tokio::test(start_paused = true)]
async fn five_failures_in_a_row_open_it_and_four_do_not() {
    let (mut breaker, now) = (Breaker::new(), Instant::now());
    assert_eq!(failing(&mut breaker, now, 4), None);
    answering(&mut breaker, now);
    assert_eq!(failing(&mut breaker, now, 4), None);
    assert!(matches!(breaker.admit(now), Ok(Leave::Free(_))));
    assert_eq!(failing(&mut breaker, now, 1), Some(FIRST));
    assert_eq!(breaker.admit(now), Err(FIRST));
}

#[tokio::test(start_paused = true)]
async fn half_of_twenty_in_ten_seconds_open_it() {
    let (mut breaker, now) = (Breaker::new(), Instant::now());
    for _ in 0..9 {
        assert_eq!(failing(&mut breaker, now, 1), None);
        answering(&mut breaker, now);
    }
    assert_eq!(failing(&mut breaker, now, 1), None, "nineteen are not enough");
    answering(&mut breaker, now);
    assert_eq!(failing(&mut breaker, now, 1), Some(FIRST), "eleven of twenty-one");
}

#[tokio::test(start_paused = true)]
async fn what_is_older_than_the_window_counts_no_more() {
    let (mut breaker, began) = (Breaker::new(), Instant::now());
    for n in 0..100 {
        let now = began + WINDOW / 9 * n;
        assert_eq!(failing(&mut breaker, now, 1), None, "at {:?}", now - began);
        answering(&mut breaker, now);
    }
}

#[tokio::test(start_paused = true)]
async fn one_probe_at_a_time_after_one_second_growing_to_thirty() {
    let (mut breaker, mut now) = (Breaker::new(), Instant::now());
    failing(&mut breaker, now, 5);
    for wait in [1, 2, 4, 8, 16, 30, 30].map(Duration::from_secs) {
        assert_eq!(breaker.admit(now), Err(wait));
        assert!(breaker.admit(now + wait - Duration::from_millis(1)).is_err());
        now += wait;
        let leave = probe(&mut breaker, now);
        assert!(breaker.admit(now).is_err(), "one at a time");
        assert!(breaker.failed(leave, now, Trouble::Unanswered).is_some());
    }
    now += MOST;
    let leave = probe(&mut breaker, now);
    assert!(breaker.answered(leave, now));
    assert!(matches!(breaker.admit(now), Ok(Leave::Free(_))));
    assert_eq!(failing(&mut breaker, now, 5), Some(FIRST), "and all begins anew");
}

#[tokio::test(start_paused = true)]
async fn a_probe_whose_caller_goes_before_it_asks_leaves_its_place_to_the_next() {
    let (mut breaker, now) = (Breaker::new(), Instant::now());
    failing(&mut breaker, now, 5);
    let first = probe(&mut breaker, now + FIRST);
    breaker.abandoned(first, now + FIRST);
    let second = probe(&mut breaker, now + FIRST);
    breaker.abandoned(first, now + FIRST);
    assert!(breaker.admit(now + FIRST).is_err(), "the second is still under way");
    assert!(!breaker.answered(first, now + FIRST) && breaker.answered(second, now + FIRST));
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_had_too_little_time_keeps_the_pause_as_it_was() {
    let (mut breaker, mut now) = (Breaker::new(), Instant::now());
    failing(&mut breaker, now, 5);
    now += FIRST;
    for _ in 0..9 {
        let leave = probe(&mut breaker, now);
        now += FAIR / 10;
        assert_eq!(breaker.unanswered(leave, now - FAIR / 10, now), None);
        assert_eq!(breaker.admit(now), Err(FIRST * 2));
        now += FIRST * 2;
    }
    let leave = probe(&mut breaker, now);
    assert_eq!(breaker.unanswered(leave, now - FAIR, now), Some(FIRST * 2));
}

#[tokio::test(start_paused = true)]
async fn what_was_asked_before_it_opened_neither_closes_it_nor_opens_it_again() {
    let (mut breaker, now) = (Breaker::new(), Instant::now());
    let before = breaker.admit(now).unwrap();
    failing(&mut breaker, now, 5);
    let now = now + FIRST;
    let leave = probe(&mut breaker, now);
    assert!(!breaker.answered(before, now), "it is not the probe");
    assert_eq!(breaker.failed(before, now, Trouble::Unanswered), None);
    assert_eq!(breaker.unanswered(before, now - FIRST, now), None);
    assert!(breaker.admit(now).is_err(), "the probe is still under way");
    assert!(breaker.answered(leave, now));
    for _ in 0..IN_A_ROW {
        assert_eq!(breaker.failed(before, now, Trouble::Unanswered), None, "it is of another time");
    }
    assert!(breaker.admit(now).is_ok());
}

#[tokio::test(start_paused = true)]
async fn short_calls_without_an_answer_are_one_failure_for_each_second_they_waited() {
    let (mut breaker, mut now) = (Breaker::new(), Instant::now());
    let mut opened = None;
    let mut calls = 0;
    while opened.is_none() {
        // Three at once wait no longer than one.
        let (leave, began) = (breaker.admit(now).unwrap(), now);
        now += FAIR / 5;
        opened = (0..3).fold(None, |opened, _| opened.or(breaker.unanswered(leave, began, now)));
        calls += 1;
        assert!(calls <= 5 * IN_A_ROW, "it does not open");
    }
    assert_eq!((opened, calls), (Some(FIRST), 5 * IN_A_ROW));
    // An answer in between ends the silence.
    let mut breaker = Breaker::new();
    for _ in 0..100 {
        let leave = breaker.unasked();
        assert_eq!(breaker.unanswered(leave, now, now + FAIR / 2), None);
        breaker.answered(leave, now + FAIR / 2);
        now += FAIR / 2;
    }
}

#[tokio::test(start_paused = true)]
async fn a_new_connection_closes_it_only_where_none_could_be_made() {
    let (mut breaker, now) = (Breaker::new(), Instant::now());
    failing(&mut breaker, now, 5);
    assert!(!breaker.reached() && breaker.is_open(now).is_some());
    breaker.unreached(now);
    assert!(breaker.reached() && breaker.is_open(now).is_none());
    assert!(!breaker.reached(), "nothing is to be closed");
}

#[tokio::test(start_paused = true)]
async fn five_dials_in_a_row_open_it_and_leave_a_probe_to_say_how_it_went() {
    let (mut breaker, now) = (Breaker::new(), Instant::now());
    assert_eq!((0..4).find_map(|_| breaker.unreached(now)), None);
    assert_eq!(breaker.unreached(now), Some(FIRST));
    let leave = probe(&mut breaker, now + FIRST);
    assert_eq!(breaker.unreached(now + FIRST), None);
    assert_eq!(breaker.failed(leave, now + FIRST, Trouble::Unreached), Some(FIRST * 2));
}
