//! Runs a machine for so many operations, case by case.

use std::env;
use std::io::Write;
use std::ops::RangeInclusive;
use std::panic;
use std::sync::Once;

use proptest::test_runner::{Config, RngSeed, TestError, TestRunner};
use proptest_state_machine::{ReferenceStateMachine, StateMachineTest};
use sealed_store::testing::contract::METHODS;

use super::machine::{Machine, Of};
use super::report::{REPORT, Report};

/// How many operations the usual run has: some seconds of them, without optimisation.
const USUAL: u64 = 6_000;
/// How many cases more may run for the sake of methods that were not drawn yet.
const MORE_CASES: u64 = 50;
/// How long a failing sequence is shortened, in milliseconds, unless `PROPTEST_MAX_SHRINK_TIME` says else.
const SHRINKING: u32 = 120_000;

/// What to run, as the environment says.
pub struct Size {
    pub seed: u64,
    pub operations: u64,
}

impl Size {
    pub fn from_environment() -> Self {
        let number = |name: &str| {
            let text = env::var(name).ok()?;
            Some(
                text.parse()
                    .unwrap_or_else(|_| panic!("{name} is a number, not {text}")),
            )
        };
        Self {
            seed: number("SEALED_STORE_SEED")
                .unwrap_or_else(|| getrandom::u64().expect("the system gives a seed")),
            operations: number("SEALED_STORE_OPS").unwrap_or(USUAL),
        }
    }
}

/// Writes a line past the test harness, which shows what is printed only where a test fails.
pub fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// Runs cases until `operations` calls were compared. Each case has a seed of its own, the next number,
/// so that a failure can be repeated by itself.
pub fn run<K: Of>(
    seed: u64,
    operations: u64,
    length: RangeInclusive<usize>,
) -> Result<Report, String> {
    silence_caught_panics();
    let strategy = Machine::<K>::sequential_strategy(length);
    let mut more = 0;
    loop {
        let report = REPORT.with_borrow(Clone::clone);
        if report.operations() >= operations {
            if report.methods().len() == METHODS.len() || more == MORE_CASES {
                return Ok(report);
            }
            more += 1;
        }
        let seed = seed.wrapping_add(report.cases);
        let default = Config::default();
        let config = Config {
            cases: 1,
            // A failing seed is printed; files in the repository would help nobody.
            failure_persistence: None,
            max_shrink_iters: 100_000,
            max_shrink_time: match default.max_shrink_time {
                0 => SHRINKING,
                said => said,
            },
            rng_seed: RngSeed::Fixed(seed),
            ..default
        };
        let result = TestRunner::new(config.clone()).run(&strategy, |(plan, steps, seen)| {
            Machine::<K>::test_sequential(config.clone(), plan, steps, seen);
            Ok(())
        });
        match result {
            Ok(()) => REPORT.with_borrow_mut(|report| report.cases += 1),
            Err(TestError::Abort(reason)) => return Err(format!("seed={seed}: {reason}")),
            Err(TestError::Fail(reason, (plan, steps, _))) => {
                let mut text = format!(
                    "{reason}\nSEALED_STORE_SEED={seed} repeats it; the shortest sequence found, from {plan:?}:"
                );
                for step in steps {
                    text = format!("{text}\n  {step:?}");
                }
                return Err(text);
            }
        }
    }
}

/// While it shortens a sequence, proptest catches a panic for each attempt: their texts would bury the
/// last one, which is reported.
fn silence_caught_panics() {
    static INSTALL: Once = Once::new();
    INSTALL.call_once(|| {
        let default = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            let name = std::thread::current().name().map(str::to_owned);
            if !name.is_some_and(|name| name.starts_with("differential-")) {
                default(info);
            }
        }));
    });
}
