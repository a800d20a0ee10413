//! The state machine: what is drawn next, what it does to both sides, and what must be true after it.

use std::marker::PhantomData;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use proptest_state_machine::{ReferenceStateMachine, StateMachineTest};
use sealed_store::{SealError, Table};
use tokio::runtime::Runtime;

use super::answer::Answer;
use super::calls::{Call, Rest};
use super::clock;
use super::exceptions::{Difference, KEYLESS, Kind, explained};
use super::notes::Notes;
use super::report::REPORT;
use super::stores::Pair;

/// One step of a case.
#[derive(Clone, Debug)]
pub enum Step {
    /// A method, called on both sides.
    Call(Call),
    /// The sealed side is closed and opened anew, with its keyring.
    Reopen,
    Lock,
    Unlock,
    /// New data keys for these tables.
    Rotate(Vec<Table>),
    /// Seconds pass.
    Advance(u8),
    /// Everything that can be read is compared.
    ReadAll,
}

/// What the generator knows: enough to choose.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Whether the case begins with a `create`; else SQLite refuses mappings for a while.
    created: bool,
    locked: bool,
}

/// The kind of store, as a type, because proptest's traits have no room for a value.
pub trait Of: 'static {
    const KIND: Kind;
    /// Whether another process reseals the sealed side meanwhile.
    const RESEALED: bool = false;
}

/// Upstream's store in memory.
pub struct InMemory;
/// Upstream's store on SQLite.
pub struct OnSqlite;

impl Of for InMemory {
    const KIND: Kind = Kind::Memory;
}

impl Of for OnSqlite {
    const KIND: Kind = Kind::Sqlite;
}

/// Our store, against upstream's on SQLite.
pub struct Ours;
/// Our store sealed, against upstream's on SQLite.
pub struct OursSealed;

impl Of for Ours {
    const KIND: Kind = Kind::Ours;
}

impl Of for OursSealed {
    const KIND: Kind = Kind::OursSealed;
}

/// Upstream's store on SQLite, resealed by another process.
pub struct OnSqliteResealed;
/// Our store sealed, resealed by another process.
pub struct OursResealed;

impl Of for OnSqliteResealed {
    const KIND: Kind = Kind::Sqlite;
    const RESEALED: bool = true;
}

impl Of for OursResealed {
    const KIND: Kind = Kind::OursSealed;
    const RESEALED: bool = true;
}

/// The machine for a kind of store.
pub struct Machine<K>(PhantomData<K>);

thread_local! {
    static STEPS: [BoxedStrategy<Step>; 2] = [false, true].map(steps);
    static RUNTIME: Runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
}

fn block_on<T>(work: impl Future<Output = T>) -> T {
    RUNTIME.with(|runtime| runtime.block_on(work))
}

fn steps(locked: bool) -> BoxedStrategy<Step> {
    let tables = vec(select(&Table::ALL[..]), 0..5);
    // A locked store refuses nearly everything: ten calls, and it is unlocked again.
    let (lock, unlock) = if locked { (1, 100) } else { (10, 2) };
    prop_oneof![
        940 => Call::any().prop_map(Step::Call),
        10 => Just(Step::Reopen),
        lock => Just(Step::Lock),
        unlock => Just(Step::Unlock),
        15 => tables.prop_map(Step::Rotate),
        30 => (1..5u8).prop_map(Step::Advance),
        2 => Just(Step::ReadAll),
    ]
    .boxed()
}

impl<K: Of> ReferenceStateMachine for Machine<K> {
    type State = Plan;
    type Transition = Step;

    fn init_state() -> BoxedStrategy<Plan> {
        proptest::bool::weighted(0.8)
            .prop_map(|created| Plan {
                created,
                locked: false,
            })
            .boxed()
    }

    fn transitions(plan: &Plan) -> BoxedStrategy<Step> {
        STEPS.with(|[open, locked]| if plan.locked { locked } else { open }.clone())
    }

    fn apply(mut plan: Plan, step: &Step) -> Plan {
        match step {
            Step::Lock => plan.locked = true,
            Step::Unlock | Step::Reopen => plan.locked = false,
            _ => {}
        }
        plan
    }
}

impl<K: Of> StateMachineTest for Machine<K> {
    type SystemUnderTest = Side;
    type Reference = Self;

    fn init_test(plan: &Plan) -> Side {
        clock::reset();
        let mut side = Side {
            kind: K::KIND,
            pair: block_on(Pair::new(K::KIND)),
            notes: Notes::default(),
        };
        if plan.created || K::RESEALED {
            side.call(&Call::Rest(Rest::create {}));
        }
        if K::RESEALED {
            side.pair.start_resealing();
        }
        side
    }

    fn apply(mut side: Side, _: &Plan, step: Step) -> Side {
        side.pair.step();
        match step {
            Step::Call(call) => {
                if side.call(&call) {
                    REPORT.with_borrow_mut(|report| report.called(call.method()));
                }
            }
            Step::Reopen => block_on(side.pair.reopen()),
            Step::Lock => side.pair.lock(),
            Step::Unlock => block_on(side.pair.unlock()),
            Step::Rotate(tables) => side.rotate(&tables),
            Step::Advance(seconds) => {
                side.pair.settle_time();
                clock::advance(seconds);
            }
            Step::ReadAll => side.read_all(),
        }
        side
    }

    fn teardown(mut side: Side, _: Plan) {
        if side.pair.is_locked() {
            block_on(side.pair.unlock());
        }
        side.read_all();
        let takings = std::mem::take(&mut side.notes.takings);
        let last = takings.into_iter().chain(Call::expire_all());
        side.read(last);
        assert_eq!(side.pair.refused_rows(), 0, "rows were refused");
    }
}

/// Both sides of a case, and what it remembers.
pub struct Side {
    pub kind: Kind,
    pub pair: Pair,
    pub notes: Notes,
}

impl Side {
    /// Calls both sides and compares. `false` if the sealed one was locked and said so, and the plain
    /// one was not asked for that reason: then nothing must have happened.
    fn call(&mut self, call: &Call) -> bool {
        self.pair.settle_time();
        let sealed = block_on(call.run(self.pair.tested()));
        if self.pair.is_locked() {
            if sealed.is_not_open() {
                REPORT.with_borrow_mut(|report| report.refused += 1);
                return false;
            }
            assert!(
                KEYLESS.contains(&call.method()),
                "answered while locked: {call:?} with {sealed:?}"
            );
        }
        let plain = self.ask_plain(call);
        if plain != sealed || self.must_differ(call) {
            let difference = Difference {
                call,
                plain: &plain,
                sealed: &sealed,
                side: self,
            };
            match explained(&difference) {
                Some(number) => REPORT.with_borrow_mut(|report| report.explained(number)),
                None => panic!(
                    "{:?}: {call:?}\n   plain: {plain:?}\n  sealed: {sealed:?}",
                    self.kind
                ),
            }
        }
        self.notes.take(call, &plain, &sealed);
        true
    }

    /// The keys of a created device are random: equal ones would be as wrong as lost ones.
    fn must_differ(&self, call: &Call) -> bool {
        matches!(call, Call::Rest(Rest::load {}))
            && matches!(self.notes.device, super::notes::Origin::Created(_))
            && !self.pair.is_locked()
    }

    pub fn ask_plain(&self, call: &Call) -> Answer {
        block_on(call.run(&*self.pair.plain))
    }

    pub fn ask_inner(&self, call: &Call) -> Answer {
        block_on(call.run(self.pair.inner()))
    }

    fn rotate(&self, tables: &[Table]) {
        let rotated = block_on(self.pair.rotate(tables));
        if self.pair.is_locked() {
            assert!(matches!(rotated, Err(SealError::NotOpen)), "{rotated:?}");
        } else {
            rotated.expect("new data keys are made");
        }
    }

    /// Compares everything that was written and can be read.
    fn read_all(&mut self) {
        if self.pair.is_locked() {
            return;
        }
        let trail: Vec<Call> = self.notes.trail.iter().cloned().collect();
        self.read(Call::reads_of_all_names().into_iter().chain(trail));
        if let Err(difference) = self.pair.compare_unread() {
            panic!("{:?}: {difference}", self.kind);
        }
    }

    fn read(&mut self, calls: impl IntoIterator<Item = Call>) {
        for call in calls {
            self.call(&call);
            REPORT.with_borrow_mut(|report| report.reads += 1);
        }
    }
}
