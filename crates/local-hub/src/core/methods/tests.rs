//! These tests take calls through every order of transitions.

use super::*;
use iothub_models::Identity;

const OLD: u64 = 1;
const NEW: u64 = 2;

fn id() -> Identity {
    Identity::device("d".parse().unwrap())
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

/// A call that waits `connect` seconds for the device and ten for its answer.
fn call(connect: u64) -> MethodCall {
    MethodCall {
        response_timeout: Duration::from_secs(10),
        connect_timeout: Duration::from_secs(connect),
        ..MethodCall::new("m".parse().unwrap(), Bytes::from_static(b"5"))
    }
}

fn answer(status: i32, payload: &'static str) -> MethodAnswer {
    MethodAnswer { status, payload: payload.into() }
}

/// Returns the last thing that was said of a call.
fn progress(calls: &MethodCalls, begun: &Begun) -> Progress {
    let of_call = calls.progress.iter().rev().find(|(number, _)| *number == begun.number);
    of_call.map_or(Progress::Until(begun.deadline), |(_, progress)| progress.clone())
}

fn code(calls: &MethodCalls, begun: &Begun) -> Option<(ErrorCode, Option<u64>)> {
    match progress(calls, begun) {
        Progress::Done(Err(failure)) => {
            Some((failure.refusal.code, failure.waited.map(|waited| waited.as_secs())))
        }
        _ => None,
    }
}

fn numbers(taken: &[MethodRequest]) -> Vec<u64> {
    taken.iter().map(|request| request.number).collect()
}

/// Checks that nothing is left behind.
fn assert_empty(calls: &MethodCalls) {
    assert_eq!((calls.calls, calls.bytes, calls.targets.len()), (0, 0, 0));
}

#[test]
fn a_call_is_handed_out_once_and_answered_once() {
    let mut calls = MethodCalls::new(at(0));
    assert!(!calls.listen(&id(), OLD, at(0)));
    let begun = calls.begin(&id(), call(0), at(0)).unwrap();
    let taken = calls.take(&id(), OLD, 1000);
    assert_eq!(
        taken,
        [MethodRequest { number: begun.number, name: "m".parse().unwrap(), payload: "5".into() }]
    );
    assert!(calls.take(&id(), OLD, 1000).is_empty());
    assert!(!calls.answer(&id(), NEW, begun.number, answer(1, "")), "another connection does not have it");
    assert!(!calls.answer(&id(), OLD, begun.number + 1, answer(1, "")));
    assert!(calls.answer(&id(), OLD, begun.number, answer(-7, "{}")));
    assert_eq!(progress(&calls, &begun), Progress::Done(Ok(answer(-7, "{}"))));
    assert!(!calls.answer(&id(), OLD, begun.number, answer(1, "")), "it is over");
    calls.ended(&id(), OLD, at(1));
    assert_empty(&calls);
}

#[test]
fn who_is_not_there_or_does_not_listen_is_not_online() {
    let mut calls = MethodCalls::new(at(0));
    let refused = calls.begin(&id(), call(0), at(0)).unwrap_err();
    assert_eq!((refused.refusal.code, refused.waited), (ErrorCode::DeviceNotOnline, Some(Duration::ZERO)));
    let begun = calls.begin(&id(), call(5), at(0)).unwrap();
    calls.expire(&id(), begun.number, at(4));
    assert_eq!(progress(&calls, &begun), Progress::Until(at(5)));
    calls.expire(&id(), begun.number, at(5));
    assert_eq!(code(&calls, &begun), Some((ErrorCode::DeviceNotOnline, Some(5))));
    assert_empty(&calls);
}

#[test]
fn a_device_that_comes_in_time_has_the_whole_response_timeout() {
    let mut calls = MethodCalls::new(at(0));
    let begun = calls.begin(&id(), call(5), at(0)).unwrap();
    assert!(calls.listen(&id(), OLD, at(4)));
    let until = at(14).checked_sub(EARLY).unwrap();
    assert_eq!(progress(&calls, &begun), Progress::Until(until));
    calls.expire(&id(), begun.number, at(13));
    assert_eq!(numbers(&calls.take(&id(), OLD, 1000)), [begun.number]);
    calls.expire(&id(), begun.number, until);
    assert_eq!(code(&calls, &begun), Some((ErrorCode::GatewayTimeout, Some(10))));
    assert!(!calls.answer(&id(), OLD, begun.number, answer(200, "1")), "too late");
}

#[test]
fn what_a_lost_connection_had_fails_and_what_it_had_not_waits_on() {
    let mut calls = MethodCalls::new(at(0));
    calls.listen(&id(), OLD, at(0));
    let sent = calls.begin(&id(), call(5), at(0)).unwrap();
    assert_eq!(numbers(&calls.take(&id(), OLD, 1000)), [sent.number]);
    let patient = calls.begin(&id(), call(5), at(0)).unwrap();
    let hasty = calls.begin(&id(), call(0), at(0)).unwrap();
    calls.ended(&id(), OLD, at(1));
    assert_eq!(code(&calls, &sent), Some((ErrorCode::DeviceConnectionClosedRemotely, None)));
    assert_eq!(code(&calls, &hasty), Some((ErrorCode::DeviceNotOnline, Some(0))));
    assert_eq!(progress(&calls, &patient), Progress::Until(at(5)));
    assert!(calls.listen(&id(), NEW, at(2)));
    assert!(calls.take(&id(), OLD, 1000).is_empty());
    assert_eq!(numbers(&calls.take(&id(), NEW, 1000)), [patient.number]);
    // The end of a connection that has nothing any more changes nothing.
    calls.ended(&id(), OLD, at(3));
    assert!(calls.answer(&id(), NEW, patient.number, answer(200, "")));
}

#[test]
fn who_stops_listening_may_still_answer_what_it_has() {
    let mut calls = MethodCalls::new(at(0));
    calls.listen(&id(), OLD, at(0));
    let begun = calls.begin(&id(), call(0), at(0)).unwrap();
    calls.take(&id(), OLD, 1000);
    calls.unlisten(&id(), OLD, at(1));
    assert!(calls.begin(&id(), call(0), at(1)).is_err());
    assert!(calls.answer(&id(), OLD, begun.number, answer(200, "")));
    assert_empty(&calls);
}

#[test]
fn calls_are_bounded_and_refused_aloud() {
    let mut calls = MethodCalls::new(at(0));
    calls.listen(&id(), OLD, at(0));
    let begun: Vec<_> =
        (0..METHOD_CALLS_PER_DEVICE).map(|_| calls.begin(&id(), call(0), at(0)).unwrap()).collect();
    let refused = calls.begin(&id(), call(0), at(0)).unwrap_err();
    assert_eq!(refused.refusal.code, ErrorCode::DeviceMaximumInflightMethodExceeded);
    // Nobody waits for it any more, so there is room again.
    calls.cancel(&id(), begun[0].number);
    calls.begin(&id(), call(0), at(0)).unwrap();

    let big = Bytes::from(vec![b'1'; DirectMethodRequest::MAX_PAYLOAD]);
    let of_size = |payload| MethodCall { payload, ..call(5) };
    let too_large = of_size([&big[..], b"1"].concat().into());
    let refused = calls.begin(&id(), too_large, at(0)).unwrap_err();
    assert_eq!(refused.refusal.code, ErrorCode::MessageTooLarge);
    let mut kept = Vec::new();
    let refused = loop {
        let other = Identity::device(format!("d{}", kept.len()).parse().unwrap());
        match calls.begin(&other, of_size(big.clone()), at(0)) {
            Ok(begun) => kept.push(begun),
            Err(refused) => break refused,
        }
    };
    assert_eq!(refused.refusal.code, ErrorCode::ThrottlingException);
    assert_eq!(kept.len(), METHOD_REQUEST_BYTES / big.len() - 1, "less the small ones");
    calls.clear();
    assert!(begun.iter().skip(1).chain(&kept).all(|begun| code(&calls, begun).is_some()));
    assert_empty(&calls);
}

#[test]
fn calls_are_taken_oldest_first_and_within_the_room_there_is() {
    let mut calls = MethodCalls::new(at(0));
    calls.listen(&id(), OLD, at(0));
    let begun: Vec<_> = (0..5).map(|_| calls.begin(&id(), call(0), at(0)).unwrap().number).collect();
    // Each has a payload and a name of one byte.
    assert_eq!(numbers(&calls.take(&id(), OLD, 3)), begun[..2]);
    assert_eq!(numbers(&calls.take(&id(), OLD, 1)), begun[2..3]);
    assert_eq!(numbers(&calls.take(&id(), OLD, 1000)), begun[3..]);
}

#[test]
fn an_identity_that_is_gone_ends_its_calls_and_not_those_of_others() {
    let mut calls = MethodCalls::new(at(0));
    let module = Identity { module: Some("m".parse().unwrap()), ..id() };
    let other = Identity::device("e".parse().unwrap());
    let [device_call, module_call, other_call] =
        [id(), module.clone(), other].map(|id| calls.begin(&id, call(5), at(0)).unwrap());
    calls.forget(&module);
    assert_eq!(code(&calls, &module_call), Some((ErrorCode::ModuleNotFound, None)));
    assert_eq!(code(&calls, &device_call), None);
    calls.forget_device(&"d".parse().unwrap());
    assert_eq!(code(&calls, &device_call), Some((ErrorCode::DeviceNotFound, None)));
    assert_eq!(code(&calls, &other_call), None);
}

#[test]
fn an_answer_is_json_or_nothing_of_bounded_size() {
    let limit = DirectMethodRequest::MAX_PAYLOAD;
    let text = |length: usize| format!("\"{}\"", "x".repeat(length - 2));
    let deep = format!("{}{}", "[".repeat(1000), "]".repeat(1000));
    for (payload, good) in [
        (String::new(), true),
        ("null".to_owned(), true),
        (" 1.50 ".to_owned(), true),
        (deep, true),
        (text(limit), true),
        (text(limit + 1), false),
        ("{".to_owned(), false),
        ("yes".to_owned(), false),
        ("1 2".to_owned(), false),
        ("\u{0}".to_owned(), false),
    ] {
        let checked = failure::checked(MethodAnswer { status: 200, payload: payload.clone().into() });
        match checked {
            Ok(answer) => assert!(good && answer.payload == payload, "{payload:.20}"),
            Err(failure) => {
                assert!(!good, "{payload:.20}");
                let too_long = payload.len() > limit;
                let code = if too_long {
                    ErrorCode::GenericBadGateway
                } else {
                    ErrorCode::InvalidResponseWhileProxying
                };
                assert_eq!(failure.refusal.code, code);
            }
        }
    }
}

#[test]
fn a_number_from_before_a_restart_answers_no_call_after_it() {
    let mut before = MethodCalls::new(at(1_000));
    let late = (0..100).map(|_| before.begin(&id(), call(5), at(1_000)).unwrap().number).collect::<Vec<_>>();
    let mut after = MethodCalls::new(at(1_001));
    after.listen(&id(), NEW, at(1_001));
    for _ in 0..100 {
        after.begin(&id(), call(5), at(1_001)).unwrap();
    }
    after.take(&id(), NEW, 100_000);
    assert!(late.iter().all(|number| !after.answer(&id(), NEW, *number, answer(200, "1"))));
    assert_eq!(after.pending(&id()), 100);
}
