//! The calls: one variant for each of the 82 methods, written by hand, with the arguments that the
//! generator draws. One file for each of the traits, but that the two smallest share one.

mod app_sync;
mod protocol;
mod rest;
mod signal;

use proptest::prelude::*;
use proptest::strategy::Union;
use wacore::store::traits::Backend;

pub use app_sync::AppSync;
pub use protocol::Protocol;
pub use rest::Rest;
pub use signal::Signal;

use super::answer::Answer;

/// Makes the enum of a trait's calls. A line is `weight method(argument: kind, …) = call`: the variant is
/// named as the method is, so that no name is written twice.
macro_rules! calls {
    (
        $(#[$doc:meta])*
        $name:ident on $store:ident {
            $($weight:literal $method:ident($($arg:ident: $kind:ty),*) = $call:expr;)*
        }
    ) => {
        $(#[$doc])*
        #[allow(non_camel_case_types, reason = "variants are named as the methods are")]
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum $name {
            $($method { $($arg: $kind),* },)*
        }

        impl $name {
            /// The names of the methods.
            pub const METHODS: &[&str] = &[$(stringify!($method)),*];

            /// The name of the method that is called.
            pub fn method(&self) -> &'static str {
                match self {
                    $(Self::$method { .. } => stringify!($method),)*
                }
            }

            /// Calls it.
            pub async fn run(&self, $store: &dyn Backend) -> Answer {
                match self {
                    $(Self::$method { $($arg),* } => {
                        $(let $arg = $crate::differential::args::Arg::get($arg);)*
                        $crate::differential::answer::Answer::of($call)
                    })*
                }
            }

            /// How each is drawn, and how often.
            pub fn weighted() -> Vec<(u32, BoxedStrategy<Self>)> {
                vec![$((
                    $weight,
                    (Just(()), $(<$kind as $crate::differential::args::Arg>::any(),)*)
                        .prop_map(|((), $($arg,)*)| Self::$method { $($arg),* })
                        .boxed(),
                ),)*]
            }
        }
    };
}
use calls;

/// A call of any of the 82 methods.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Call {
    Signal(Signal),
    AppSync(AppSync),
    Protocol(Protocol),
    Rest(Rest),
}

impl Call {
    /// The names of all methods that are drawn.
    pub fn methods() -> Vec<&'static str> {
        [
            Signal::METHODS,
            AppSync::METHODS,
            Protocol::METHODS,
            Rest::METHODS,
        ]
        .concat()
    }

    pub fn method(&self) -> &'static str {
        match self {
            Self::Signal(call) => call.method(),
            Self::AppSync(call) => call.method(),
            Self::Protocol(call) => call.method(),
            Self::Rest(call) => call.method(),
        }
    }

    pub async fn run(&self, store: &dyn Backend) -> Answer {
        match self {
            Self::Signal(call) => call.run(store).await,
            Self::AppSync(call) => call.run(store).await,
            Self::Protocol(call) => call.run(store).await,
            Self::Rest(call) => call.run(store).await,
        }
    }

    pub fn any() -> BoxedStrategy<Self> {
        fn of<C: std::fmt::Debug + 'static>(
            calls: Vec<(u32, BoxedStrategy<C>)>,
            wrap: fn(C) -> Call,
        ) -> impl Iterator<Item = (u32, BoxedStrategy<Call>)> {
            calls
                .into_iter()
                .map(move |(weight, call)| (weight, call.prop_map(wrap).boxed()))
        }
        let all = of(Signal::weighted(), Self::Signal)
            .chain(of(AppSync::weighted(), Self::AppSync))
            .chain(of(Protocol::weighted(), Self::Protocol))
            .chain(of(Rest::weighted(), Self::Rest));
        Union::new_weighted(all.collect()).boxed()
    }

    /// The reads that find what this call wrote, where the name has parts. Rows with one name are read
    /// by [`Call::reads_of_all_names`].
    pub fn trail(&self) -> Vec<Self> {
        match self {
            Self::Signal(call) => call.trail().into_iter().map(Self::Signal).collect(),
            Self::AppSync(call) => call.trail().into_iter().map(Self::AppSync).collect(),
            Self::Protocol(call) => call.trail().into_iter().map(Self::Protocol).collect(),
            Self::Rest(call) => call.trail().into_iter().map(Self::Rest).collect(),
        }
    }

    /// Every read that takes no argument, or one name of the pool.
    pub fn reads_of_all_names() -> Vec<Self> {
        let signal = Signal::reads_of_all_names().into_iter().map(Self::Signal);
        let app_sync = AppSync::reads_of_all_names().into_iter().map(Self::AppSync);
        let protocol = Protocol::reads_of_all_names()
            .into_iter()
            .map(Self::Protocol);
        let rest = Rest::reads().into_iter().map(Self::Rest);
        signal.chain(app_sync).chain(protocol).chain(rest).collect()
    }

    /// What reads by taking away, at the end of a case.
    pub fn takings(&self) -> Vec<Self> {
        match self {
            Self::Protocol(call) => call.takings().into_iter().map(Self::Protocol).collect(),
            _ => Vec::new(),
        }
    }

    /// Deletes whatever can expire: the counts tell of rows that no read would find.
    pub fn expire_all() -> Vec<Self> {
        let protocol = Protocol::expire_all().into_iter().map(Self::Protocol);
        protocol
            .chain([Self::Rest(Rest::delete_expired_msg_secrets {
                cutoff: i64::MAX,
            })])
            .collect()
    }
}
