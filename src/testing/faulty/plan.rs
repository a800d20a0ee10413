//! Which call fails, and how: the state behind a [`FaultyBackend`](super::FaultyBackend).

use std::error::Error;
use std::fmt;
use std::io;

use wacore::store::error::StoreError;

/// On which side of the inner call a fault strikes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum When {
    /// The inner store is never called: a write that did not happen.
    Before,
    /// The inner store is called and its answer thrown away: a write that happened and looks as if it
    /// had not.
    After,
}

/// How long a fault stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Lasting {
    /// Only call number [`Fault::call`] fails.
    Once,
    /// This call and every later one fail, until [`clear`](super::FaultyBackend::clear).
    ForGood,
}

/// One planned fault of a [`FaultyBackend`](super::FaultyBackend).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Fault {
    /// The number of the call that fails, from 1, counted since the store was made or cleared.
    /// [`Lasting::Once`] with the number of a call already past never fires.
    pub call: u64,
    /// Before or after the effect of the call.
    pub when: When,
    /// This call only, or all from here on.
    pub lasting: Lasting,
}

impl Fault {
    fn strikes(&self, call: u64) -> bool {
        match self.lasting {
            Lasting::Once => call == self.call,
            Lasting::ForGood => call >= self.call,
        }
    }
}

/// The error of a call that was made to fail, inside a [`StoreError::Io`].
///
/// Its text contains neither "locked" nor "busy": upstream takes these words for a reason to try again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InjectedFault {
    /// The number of the call, from 1.
    pub call: u64,
    /// The trait method that was called.
    pub method: &'static str,
    /// Whether the call had its effect ([`When::After`]) or not.
    pub when: When,
    /// The seed, if the fault was a random one.
    pub seed: Option<u64>,
}

impl InjectedFault {
    /// The injected fault behind `error`, however deep in its chain of sources; `None` if it is a real error.
    pub fn of(error: &StoreError) -> Option<&InjectedFault> {
        let mut layer: Option<&(dyn Error + 'static)> = Some(error);
        while let Some(current) = layer {
            // `io::Error::source` skips the error it was made from, so ask for that one by name.
            let held = current
                .downcast_ref::<io::Error>()
                .and_then(|error| error.get_ref())
                .and_then(|held| held.downcast_ref());
            if held.is_some() {
                return held;
            }
            layer = current.source();
        }
        None
    }
}

impl fmt::Display for InjectedFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            call,
            method,
            when,
            seed,
        } = self;
        let side = match when {
            When::Before => "before",
            When::After => "after",
        };
        write!(
            f,
            "injected fault {side} the effect of call {call}, {method}"
        )?;
        match seed {
            Some(seed) => write!(f, " (seed {seed})"),
            None => Ok(()),
        }
    }
}

impl Error for InjectedFault {}

/// What was decided about one call when it began.
pub(super) struct Call {
    pub(super) fault: Option<InjectedFault>,
    pub(super) yields: bool,
}

/// Counters, log, and everything armed.
#[derive(Default)]
pub(super) struct Plan {
    log: Vec<&'static str>,
    faults: Vec<Fault>,
    dice: Option<Dice>,
    yields: bool,
}

impl Plan {
    pub(super) fn arm(&mut self, fault: Fault) {
        self.faults.push(fault);
    }

    pub(super) fn arm_random(&mut self, seed: u64, one_in: u32) {
        self.dice = (one_in > 0).then_some(Dice {
            seed,
            state: seed,
            one_in,
        });
    }

    pub(super) fn clear(&mut self) {
        *self = Self {
            yields: self.yields,
            ..Self::default()
        };
    }

    pub(super) fn yields(&mut self, on: bool) {
        self.yields = on;
    }

    pub(super) fn calls(&self) -> u64 {
        self.log.len() as u64
    }

    pub(super) fn log(&self) -> Vec<&'static str> {
        self.log.clone()
    }

    pub(super) fn begin(&mut self, method: &'static str) -> Call {
        self.log.push(method);
        let call = self.calls();
        // Rolled on every call, so that arming another fault does not shift the random ones.
        let rolled = self.dice.as_mut().and_then(Dice::roll);
        let planned = self.faults.iter().find(|fault| fault.strikes(call));
        let fault = match (planned, rolled) {
            (Some(fault), _) => Some((fault.when, None)),
            (None, Some((when, seed))) => Some((when, Some(seed))),
            (None, None) => None,
        };
        Call {
            fault: fault.map(|(when, seed)| InjectedFault {
                call,
                method,
                when,
                seed,
            }),
            yields: self.yields,
        }
    }
}

/// The SplitMix64 generator: good enough to scatter faults, and the same on every machine.
struct Dice {
    seed: u64,
    state: u64,
    one_in: u32,
}

impl Dice {
    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn roll(&mut self) -> Option<(When, u64)> {
        let (hit, side) = (self.next(), self.next());
        let when = if side & 1 == 0 {
            When::Before
        } else {
            When::After
        };
        hit.is_multiple_of(u64::from(self.one_in))
            .then_some((when, self.seed))
    }
}
