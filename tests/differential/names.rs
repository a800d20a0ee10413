//! The names that every address, JID, group and message id is drawn from: few, so that operations
//! meet the same rows again and again, and odd.

use std::fmt;
use std::sync::LazyLock;

use proptest::prelude::*;

/// A name of the pool.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(u8);

/// A part of a name that has several, drawn from even fewer: rows with three parts would hardly ever
/// be met twice. The first three are joined to the same text in several ways.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Part(u8);

/// How many names most draws are from.
const OFTEN: u8 = 10;
/// How many parts most draws are from.
const OFTEN_IN_PARTS: u8 = 3;

/// The pool; simpler names first, because shrinking goes there.
const SHORT: &[&str] = &[
    "a",
    "",
    "aa",
    "a@s",
    "a:1@s",
    "A@s",
    "ab@s",
    "aa:2@s",
    "A",
    "ab",
    // As a client writes them.
    "5511987650001",
    "5511987650001@c.us.0",
    "5511987650001:3@c.us.0",
    "55119876500011@c.us.0",
    "5511987650001@s.whatsapp.net",
    "100000012345678@lid",
    "120363021033254949@g.us",
    "120363021033254949@g.us:5511987650001@c.us.0",
    // Separators where none belongs.
    "@",
    ":",
    "@s",
    ":@",
    "a@",
    "a:",
    "a@b:c@d",
    // What LIKE takes for wildcards.
    "%",
    "_",
    "a%",
    "a_",
    "a_@s",
    "%@s",
    // NUL, quotes, blanks.
    "\0",
    "a\0",
    "a\0b",
    "a\0@s",
    "'",
    "\"",
    "a'--",
    " ",
    "a ",
    "NULL",
    // Not ASCII; composed and decomposed.
    "é",
    "e\u{301}",
    "ß",
    "😀",
    "😀@s",
    "\u{feff}",
    // Paths.
    ".",
    "../a",
    // What a sealed store itself writes as literals.
    "1",
    "s",
    "sealed-store.canary",
    "sealed-store.document.keyring",
];

static POOL: LazyLock<Vec<&'static str>> = LazyLock::new(|| {
    let long = "x".repeat(10 * 1024);
    let long_names = [
        format!("{long}y"),
        format!("{long}@s"),
        long,
        // Too long for a snapshot in upstream's SQLite store.
        "x".repeat(101),
    ];
    let mut pool = SHORT.to_vec();
    pool.extend(long_names.map(|name| &*Box::leak(name.into_boxed_str())));
    pool
});

impl Name {
    /// Every name.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..pool_len()).map(Self)
    }

    pub fn text(self) -> &'static str {
        POOL.get(usize::from(self.0)).copied().unwrap_or_default()
    }

    pub fn any() -> BoxedStrategy<Self> {
        prop_oneof![7 => 0..OFTEN, 3 => 0..pool_len()]
            .prop_map(Self)
            .boxed()
    }
}

impl Part {
    pub fn text(self) -> &'static str {
        Name(self.0).text()
    }

    pub fn any() -> BoxedStrategy<Self> {
        prop_oneof![9 => 0..OFTEN_IN_PARTS, 1 => 0..pool_len()]
            .prop_map(Self)
            .boxed()
    }
}

fn pool_len() -> u8 {
    u8::try_from(POOL.len()).expect("a small pool")
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&brief(self.text()))
    }
}

impl fmt::Debug for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&brief(self.text()))
    }
}

/// A text as a failing run prints it: ten kilobytes help nobody.
pub fn brief(text: &str) -> String {
    let mut start: String = text.chars().take(64).collect();
    if start.len() == text.len() {
        return format!("{text:?}");
    }
    start.push('…');
    let end: String = text
        .chars()
        .rev()
        .take(3)
        .collect::<Vec<_>>()
        .iter()
        .rev()
        .collect();
    format!("{start:?}{end:?} ({} bytes)", text.len())
}
