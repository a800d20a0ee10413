//! Distinctive values, the forms in which one could show in a file, and a search for all of them.

use std::collections::{BTreeSet, HashMap};

use data_encoding::{BASE64_NOPAD, BASE64URL_NOPAD, Encoding};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::common::wire::put_varint;

/// What a canary is made of.
#[derive(Clone, Debug)]
pub enum Content {
    Text(String),
    Bytes(Vec<u8>),
    U32(u32),
    U64(u64),
}

/// A value that was handed to a method, and appears nowhere else.
#[derive(Clone, Debug)]
pub struct Canary {
    /// `method.argument`
    pub what: String,
    pub content: Content,
    /// The column that shows it, where one may.
    pub clear: Option<(&'static str, &'static str)>,
    /// Whether a plain store has no reason to keep it.
    pub transient: bool,
}

/// Makes canaries, the same for the same seed.
pub struct Planter {
    seed: u64,
    random: StdRng,
    method: String,
    /// Whether the rows that a reading method reads are written first.
    pub prepare: bool,
    pub canaries: Vec<Canary>,
}

impl Planter {
    pub fn new(seed: u64, prepare: bool) -> Self {
        Self {
            seed,
            random: StdRng::seed_from_u64(seed),
            method: String::new(),
            prepare,
            canaries: Vec::new(),
        }
    }

    /// The canaries of a method do not depend on the methods before it.
    pub fn method(&mut self, name: &str) {
        let of_name = name.bytes().fold(0, |sum: u64, byte| {
            sum.wrapping_mul(31).wrapping_add(u64::from(byte))
        });
        self.random = StdRng::seed_from_u64(self.seed.wrapping_add(of_name));
        self.method = name.to_owned();
    }

    fn plant(&mut self, argument: &str, content: Content) {
        self.canaries.push(Canary {
            what: format!("{}.{argument}", self.method),
            content,
            clear: None,
            transient: false,
        });
    }

    fn last(&mut self) -> &mut Canary {
        self.canaries.last_mut().expect("a canary was made")
    }

    /// Letters and digits of both cases.
    pub fn text(&mut self, argument: &str) -> String {
        const LETTERS: &[u8] = b"ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz23456789";
        let text: String = (0..18)
            .map(|_| char::from(LETTERS[self.random.random_range(0..LETTERS.len())]))
            .collect();
        self.plant(argument, Content::Text(text.clone()));
        text
    }

    /// Digits, as phone numbers and hidden ids are.
    pub fn digits(&mut self, argument: &str) -> String {
        let text = format!("5{:014}", self.random.random_range(0..10u64.pow(14)));
        self.plant(argument, Content::Text(text.clone()));
        text
    }

    /// A Signal address of two canaries.
    pub fn address(&mut self, argument: &str) -> String {
        let user = self.digits(&format!("{argument} (user)"));
        let server = self.text(&format!("{argument} (server)"));
        format!("{user}:3@{server}.0")
    }

    pub fn bytes(&mut self, argument: &str, len: usize) -> Vec<u8> {
        let bytes: Vec<u8> = (0..len).map(|_| self.random.random()).collect();
        self.plant(argument, Content::Bytes(bytes.clone()));
        bytes
    }

    pub fn array<const N: usize>(&mut self, argument: &str) -> [u8; N] {
        self.bytes(argument, N).try_into().expect("N bytes")
    }

    /// A value that exists already.
    pub fn given(&mut self, argument: &str, bytes: &[u8]) {
        self.plant(argument, Content::Bytes(bytes.to_vec()));
    }

    /// Positive as an `i32` too, with nine digits or more.
    pub fn u32(&mut self, argument: &str) -> u32 {
        let number = self.random.random_range(0x4000_0000..0x7fff_ffff);
        self.plant(argument, Content::U32(number));
        number
    }

    /// Positive as an `i64` too, and eight bytes wide in every encoding.
    pub fn u64(&mut self, argument: &str) -> u64 {
        let number = self.random.random_range(1 << 62..(1 << 63) - 1);
        self.plant(argument, Content::U64(number));
        number
    }

    pub fn time(&mut self, argument: &str) -> i64 {
        self.u64(argument) as i64
    }

    /// Before every time of [`Self::time`], so that a sweep up to it spares those rows.
    pub fn cutoff(&mut self, argument: &str) -> i64 {
        let number = self.random.random_range(1 << 40..1 << 41);
        self.plant(argument, Content::U64(number));
        self.transient();
        number as i64
    }

    /// The last canary stands in this column of a sealed store.
    pub fn clear(&mut self, table: &'static str, column: &'static str) {
        self.last().clear = Some((table, column));
    }

    /// The last canary is kept by no store.
    pub fn transient(&mut self) {
        self.last().transient = true;
    }

    /// As [`Self::transient`], for all canaries of this method.
    pub fn all_transient(&mut self) {
        let prefix = format!("{}.", self.method);
        for canary in &mut self.canaries {
            canary.transient |= canary.what.starts_with(&prefix);
        }
    }
}

/// A pattern that no file may contain, and what it is a form of.
struct Pattern {
    canary: usize,
    form: &'static str,
    bytes: Vec<u8>,
}

/// Searches for all forms of all canaries at once.
pub struct Search {
    patterns: Vec<Pattern>,
    by_start: HashMap<[u8; 4], Vec<usize>>,
    starts: Vec<bool>,
}

impl Search {
    pub fn new(canaries: &[Canary]) -> Self {
        let mut patterns = Vec::new();
        for (canary, planted) in canaries.iter().enumerate() {
            for (form, bytes) in forms(&planted.content) {
                patterns.push(Pattern {
                    canary,
                    form,
                    bytes,
                });
            }
        }
        let mut by_start: HashMap<[u8; 4], Vec<usize>> = HashMap::new();
        let mut starts = vec![false; 1 << 16];
        for (index, pattern) in patterns.iter().enumerate() {
            let start: [u8; 4] = pattern.bytes[..4].try_into().expect("four bytes");
            by_start.entry(start).or_default().push(index);
            starts[usize::from(u16::from_le_bytes([start[0], start[1]]))] = true;
        }
        Self {
            patterns,
            by_start,
            starts,
        }
    }

    /// Every canary that shows in `bytes`, with the form it shows in.
    pub fn find(&self, bytes: &[u8]) -> BTreeSet<(usize, &'static str)> {
        let mut found = BTreeSet::new();
        for (at, window) in bytes.windows(4).enumerate() {
            if !self.starts[usize::from(u16::from_le_bytes([window[0], window[1]]))] {
                continue;
            }
            for index in self.by_start.get(window).into_iter().flatten() {
                let pattern = &self.patterns[*index];
                if bytes[at..].starts_with(&pattern.bytes) {
                    found.insert((pattern.canary, pattern.form));
                }
            }
        }
        found
    }
}

fn forms(content: &Content) -> Vec<(&'static str, Vec<u8>)> {
    let mut forms = Vec::new();
    match content {
        Content::Text(text) => {
            of_bytes(&mut forms, text.as_bytes());
            let units: Vec<u16> = text.encode_utf16().collect();
            let little = units.iter().flat_map(|unit| unit.to_le_bytes()).collect();
            let big = units.iter().flat_map(|unit| unit.to_be_bytes()).collect();
            forms.push(("UTF-16LE", little));
            forms.push(("UTF-16BE", big));
        }
        Content::Bytes(bytes) => {
            of_bytes(&mut forms, bytes);
            // As JSON writes bytes, which is how the device is serialised.
            let numbers: Vec<String> = bytes.iter().take(12).map(u8::to_string).collect();
            forms.push(("JSON numbers", numbers.join(",").into_bytes()));
        }
        Content::U32(number) => {
            forms.push(("little endian", number.to_le_bytes().to_vec()));
            forms.push(("big endian", number.to_be_bytes().to_vec()));
            of_number(&mut forms, u64::from(*number));
        }
        Content::U64(number) => {
            forms.push(("little endian", number.to_le_bytes().to_vec()));
            forms.push(("big endian", number.to_be_bytes().to_vec()));
            of_number(&mut forms, *number);
        }
    }
    forms
}

fn of_number(forms: &mut Vec<(&'static str, Vec<u8>)>, number: u64) {
    forms.push(("decimal text", number.to_string().into_bytes()));
    let mut varint = Vec::new();
    put_varint(&mut varint, number);
    forms.push(("varint", varint));
}

fn of_bytes(forms: &mut Vec<(&'static str, Vec<u8>)>, bytes: &[u8]) {
    forms.push(("raw", bytes.to_vec()));
    forms.push(("reversed", bytes.iter().rev().copied().collect()));
    forms.push(("hex", hex::encode(bytes).into_bytes()));
    forms.push(("upper-case hex", hex::encode_upper(bytes).into_bytes()));
    for shift in 0..3 {
        forms.push(("base64", base64(&BASE64_NOPAD, bytes, shift)));
        forms.push(("base64url", base64(&BASE64URL_NOPAD, bytes, shift)));
    }
}

/// The characters that `bytes` alone decides, when `shift` other bytes stand before it.
fn base64(encoding: &Encoding, bytes: &[u8], shift: usize) -> Vec<u8> {
    let shifted = [&[0; 2][..shift], bytes].concat();
    let text = encoding.encode(&shifted).into_bytes();
    let first = (shift * 8).div_ceil(6);
    let last = shifted.len() * 8 / 6;
    text[first..last].to_vec()
}
