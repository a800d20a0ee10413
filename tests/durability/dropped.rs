//! Each future is dropped at each of its awaits, as a cancelled task's is.

use crate::world::Cut;
use crate::{changes, scenarios};

#[test]
fn every_method_survives_being_dropped_at_any_await() {
    for (name, scenario) in scenarios::ALL.iter().chain(changes::ALL) {
        let mut drops = 0;
        for same in [true, false] {
            let polls = (1..).take_while(|&polls| {
                println!("{name}: dropped after {polls} polls, same handle: {same}");
                scenario(Cut::DropAfter(polls), same)
            });
            drops += polls.count();
        }
        println!("{name}: {drops} drops");
        assert!(drops > 0);
    }
}
