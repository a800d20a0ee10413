//! Each call to the inner store fails in turn.

use sealed_store::testing::{Fault, Lasting, When};

use crate::world::Cut;
use crate::{changes, scenarios};

#[test]
fn every_method_survives_a_fault_at_any_call() {
    for (name, scenario) in scenarios::ALL.iter().chain(changes::ALL) {
        let mut faults = 0;
        for when in [When::Before, When::After] {
            for lasting in [Lasting::Once, Lasting::ForGood] {
                for same in [true, false] {
                    let calls = (1..).take_while(|&call| {
                        let fault = Fault {
                            call,
                            when,
                            lasting,
                        };
                        println!("{name}: {fault:?}, same handle: {same}");
                        scenario(Cut::Fault(fault), same)
                    });
                    faults += calls.count();
                }
            }
        }
        println!("{name}: {faults} faults");
        assert!(faults > 0);
    }
}
