use super::*;

#[test]
fn the_next_question_waits_as_long_as_the_service_said_and_no_longer_than_the_grace() {
    let seconds = Duration::from_secs;
    for (every, retry_after, left, expected) in [
        (40, None, 60, 10),
        (40, None, 7, 7),
        (40, None, 0, 0),
        // Longer than a quarter of the interval, and than all of it.
        (40, Some(11), 60, 11),
        (40, Some(59), 60, 59),
        (40, Some(61), 60, 60),
        (40, Some(u64::MAX), 60, 60),
        (40, Some(11), 0, 0),
        // Asked no sooner than without it.
        (40, Some(0), 60, 10),
        (40, Some(9), 60, 10),
    ] {
        let wait = until_next(seconds(every), retry_after.map(seconds), seconds(left));
        assert_eq!(wait, seconds(expected), "{every} {retry_after:?} {left}");
    }
}
