//! Lost packets: how often a question is sent again, and how seldom that is not often enough.

use super::*;

/// Of a hundred pairs of query and reply so many come through where 30 % of the packets are lost each way.
const COMES_THROUGH: f64 = 0.7 * 0.7;
/// Of so many questions fewer than one may fail then.
const ONE_FAILS_OF: f64 = 10_000.0;

/// When a question is sent while nobody answers.
fn sent_in_vain(candidates: Vec<Candidate>) -> Vec<(u64, u8)> {
    let went = run(candidates, |_, _| vec![]);
    assert_eq!((went.at, went.result.clone()), (EXCHANGE_MILLIS_MAX, Err(ExchangeError::TimedOut)));
    went.sends()
}

/// Moments so many milliseconds apart, up to the last one.
fn every(millis: u64, from: u64, to: u64) -> impl Iterator<Item = u64> {
    (from..=to).step_by(millis as usize)
}

#[test]
fn waits_grow_up_to_a_quarter_of_a_second() {
    let moments = |candidates| sent_in_vain(candidates).into_iter().map(|(at, _)| at).collect::<Vec<_>>();
    let first: Vec<u64> = [0, 50, 150, 350].into_iter().chain(every(250, 600, 3100)).collect();
    assert_eq!(moments(patient(1, 50)), first);
    let patience_is_400: Vec<u64> = [0, 400].into_iter().chain(every(250, 650, 3650)).collect();
    for count in [1, 2, 6] {
        assert_eq!(moments(patient(count, 400)), patience_is_400, "{count} targets");
    }
    let two: Vec<u64> = [0, 50, 100, 200, 300, 500, 700].into_iter().chain(every(250, 950, 2700)).collect();
    assert_eq!(moments(patient(2, 50)), two);
    let mut unlike = patient(2, 50);
    unlike[1].patience_millis = 400;
    let two: Vec<u64> = [0, 50, 300, 400, 650, 850].into_iter().chain(every(250, 1100, 3100)).collect();
    assert_eq!(moments(unlike), two);
    // Six are asked in turn, and the third time round their waits are 200 ms: fifteen are sent after 1.3 s.
    let six = every(50, 0, 250).chain(every(100, 300, 800)).chain(every(200, 900, 1900)).chain(every(400, 2100, 3700));
    assert_eq!(moments(patient(6, 50)), six.collect::<Vec<u64>>());
}

#[test]
fn a_target_that_is_away_is_sent_a_query_a_few_times() {
    let away = |patience| Candidate { is_away: true, ..patient(1, patience)[0] };
    let moments = |candidates| sent_in_vain(candidates).into_iter().map(|(at, _)| at).collect::<Vec<_>>();
    assert_eq!(moments(vec![away(400)]), [0, 400, 1200, 2800]);
    assert_eq!(moments(vec![away(50)]), [0, 50, 150, 350, 750, 1550, 3150]);
}

#[test]
fn thirty_per_cent_lost_each_way_fails_one_question_in_ten_thousand_at_most() {
    for count in 1..=6 {
        for patience in [50, 60, 100, 170, 250, 300, 400] {
            // Reply times within the patience, which is what it was made of; the last may be too late.
            let round_trip = u64::from(patience) / 2;
            let sent = sent_in_vain(patient(count, patience));
            let in_time = sent.iter().filter(|(at, _)| at + round_trip < EXCHANGE_MILLIS_MAX).count();
            let fails = (1.0 - COMES_THROUGH).powi(in_time as i32);
            assert!(fails * ONE_FAILS_OF < 1.0, "{count} targets of {patience} ms: {in_time} of {sent:?}");
            assert!(sent.len() <= 24, "{count} targets of {patience} ms: {sent:?}");
            // Each target gets its share.
            let of = |target: u8| sent.iter().filter(|(_, of)| *of == target).count();
            assert!((0..count).all(|target| of(target) + 1 >= of(0)), "{sent:?}");
        }
    }
}

#[test]
fn whoever_loses_half_of_all_packets_is_heard_in_the_end() {
    let mut rng = StdRng::seed_from_u64(49);
    let mut took = Vec::new();
    for question in 0..2000 {
        let mut candidates = patient(2, 50);
        candidates[1].patience_millis = [50, 400][question % 2];
        let went =
            run(candidates, |_, query| if rng.random_bool(COMES_THROUGH) { vec![good(1, query)] } else { vec![] });
        assert_eq!(went.rcode(), Rcode::NOERROR, "question {question}: {:?}", went.sends());
        took.push(went.at);
    }
    took.sort_unstable();
    assert!(took[1000] <= 51, "half of them at the second try: {} ms", took[1000]);
    assert!(took[1980] <= 1100, "99 in 100: {} ms", took[1980]);
}

#[test]
fn what_is_lost_is_sent_again_from_the_same_port_under_the_same_id() {
    // The query is lost, then the reply, then neither.
    let mut ids = std::collections::HashSet::new();
    let went = run(candidates(1), |sent, query| {
        ids.insert(query.metadata.id);
        if sent.at == 650 { vec![good(10, query)] } else { vec![] }
    });
    assert_eq!((went.at, went.sends()), (660, vec![(0, 0), (400, 0), (650, 0)]));
    assert_eq!(ids.len(), 1, "no more chances for a forger");
}

#[test]
fn a_name_that_takes_a_second_is_asked_for_a_few_times() {
    for (count, patience, sendings) in [(1, 400, 4), (1, 50, 6), (2, 50, 8), (6, 50, 13)] {
        let went =
            run(patient(count, patience), |sent, query| if sent.at == 0 { vec![good(1000, query)] } else { vec![] });
        assert_eq!((went.at, went.sends().len()), (1000, sendings), "{count} targets of {patience} ms");
    }
}

#[test]
fn targets_that_nothing_is_known_of_are_asked_with_and_without_edns_and_no_more_often() {
    for count in 1..=6 {
        let mut ids = std::collections::HashSet::new();
        let unknown = candidates(count).into_iter().map(|known| Candidate { edns: EdnsSupport::Unknown, ..known });
        let went = run(unknown.collect(), |sent, query| {
            ids.insert((sent.target, sent.with_edns, query.metadata.id));
            vec![]
        });
        assert_eq!(went.result, Err(ExchangeError::TimedOut));
        assert_eq!(ids.len(), 2 * usize::from(count), "one id each");
        let plain = ids.iter().filter(|(_, with_edns, _)| !with_edns).count();
        assert_eq!(plain, usize::from(count), "{count} targets");
    }
}

#[test]
fn a_name_that_takes_all_targets_seconds_is_answered() {
    // Each listens from its first query on: what came of that counts, however often it was sent again.
    for count in 1..=6 {
        for millis in [1500, 3700] {
            let mut answered = [false; 6];
            let went = run(patient(count, 50), |sent, query| {
                let is_first = !std::mem::replace(&mut answered[usize::from(sent.target)], true);
                if is_first { vec![good(millis, query)] } else { vec![] }
            });
            assert_eq!((went.at, went.by), (millis, Some(0)), "{count} targets that take {millis} ms");
        }
    }
}
