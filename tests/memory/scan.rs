//! A search of a process's memory: this one's own, or another's.
//!
//! The searcher must not be what it finds: it knows its needles masked only, masks what it reads before
//! it looks at it, and passes over the buffer that it reads into.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::ops::Range;
use std::os::unix::fs::FileExt;

use zeroize::Zeroizing;

/// Every byte of a needle is masked with it.
pub const MASK: u8 = 0xA5;
/// Needles are pieces of this length: a freed chunk loses its first bytes to the allocator, so that a
/// whole key would be missed where half of it can still be read.
pub const PIECE: usize = 16;
const PAGE: usize = 4096;
const CHUNK: usize = 64 * PAGE;

/// A piece of a secret, masked, by what it is and whose.
#[derive(serde::Serialize, serde::Deserialize)]
pub struct Needle {
    pub what: String,
    pub whose: String,
    pub masked: [u8; PIECE],
}

/// How often each needle was found, by what it is, whose and the kind of mapping.
pub type Hits = BTreeMap<(String, String, String), usize>;

pub struct Scanner {
    needles: Vec<Needle>,
    index: HashMap<[u8; PIECE], usize>,
    /// By [`beginning`]: at most places in memory the search ends here.
    first: Vec<bool>,
}

/// What a scan saw.
pub struct Scan {
    pub hits: Hits,
    pub bytes: usize,
    pub stacks: usize,
}

struct Mapping {
    range: Range<usize>,
    kind: String,
}

impl Scanner {
    pub fn new(needles: Vec<Needle>) -> Self {
        let mut first = vec![false; 1 << 18];
        let mut index = HashMap::new();
        for (number, needle) in needles.iter().enumerate() {
            first[beginning(&needle.masked, 0)] = true;
            index.insert(needle.masked, number);
        }
        Self {
            needles,
            index,
            first,
        }
    }

    /// Searches all private memory of this process that can be written: heap, stacks of all threads, statics.
    pub fn scan(&self) -> Scan {
        self.scan_of("self")
    }

    /// As [`Scanner::scan`], of a process by its id: one that waits, and that this one may trace.
    pub fn scan_of(&self, process: &str) -> Scan {
        let of = |name: &str| format!("/proc/{process}/{name}");
        let memory = File::open(of("mem")).expect("its memory");
        let pagemap = File::open(of("pagemap")).expect("its page map");
        // Wiped: when it has passed over the needles themselves, masking made them clear.
        let mut buffer = Zeroizing::new(vec![0u8; PIECE + CHUNK]);
        let own = match process {
            "self" => buffer.as_ptr().addr()..buffer.as_ptr().addr() + buffer.len(),
            _ => 0..0,
        };
        let (mappings, stacks) = mappings(process);
        let mut scan = Scan {
            hits: Hits::new(),
            bytes: 0,
            stacks,
        };
        for Mapping { range, kind } in mappings {
            // What came before the chunk in this mapping: a needle may lie across.
            let mut carried = 0;
            for start in range.clone().step_by(CHUNK) {
                let len = CHUNK.min(range.end - start);
                if !resident(&pagemap, start, len) {
                    carried = 0;
                    continue;
                }
                let text = &mut buffer[PIECE..PIECE + len];
                if memory.read_exact_at(text, start as u64).is_err() {
                    // Unmapped since the list was read.
                    carried = 0;
                    continue;
                }
                if text == &ZEROS[..len] {
                    carried = 0;
                    continue;
                }
                for byte in &mut *text {
                    *byte ^= MASK;
                }
                scan.bytes += len;
                let from = PIECE - carried;
                self.search(&buffer[from..PIECE + len], |at, needle| {
                    let address = start + at - carried;
                    if !own.contains(&address) {
                        let Needle { what, whose, .. } = needle;
                        let key = (what.clone(), whose.clone(), kind.clone());
                        *scan.hits.entry(key).or_default() += 1;
                    }
                });
                carried = PIECE - 1;
                buffer.copy_within(PIECE + len - carried..PIECE + len, PIECE - carried);
            }
        }
        scan
    }

    fn search(&self, text: &[u8], mut found: impl FnMut(usize, &Needle)) {
        let last = text.len().saturating_sub(PIECE - 1);
        let mut at = 0;
        // Not an iterator: this loop is run unoptimised, over many megabytes.
        while at < last {
            if self.first[beginning(text, at)] {
                let piece: &[u8; PIECE] = text[at..at + PIECE].try_into().expect("a piece");
                if let Some(number) = self.index.get(piece) {
                    found(at, &self.needles[*number]);
                }
            }
            at += 1;
        }
    }
}

/// 18 bits of the piece at `at`.
fn beginning(text: &[u8], at: usize) -> usize {
    text[at] as usize | (text[at + 1] as usize) << 8 | (text[at + 2] as usize & 3) << 16
}

static ZEROS: [u8; CHUNK] = [0; CHUNK];

/// Whether any page of the range is in memory: large parts of stacks and heaps were never touched.
fn resident(pagemap: &File, start: usize, len: usize) -> bool {
    let mut entries = vec![0u8; len / PAGE * 8];
    let at = (start / PAGE * 8) as u64;
    pagemap.read_exact_at(&mut entries, at).is_err()
        // Present, or swapped out.
        || entries.chunks(8).any(|entry| entry[7] & 0xC0 != 0)
}

/// The mappings to search, and how many of them are stacks of a thread.
fn mappings(process: &str) -> (Vec<Mapping>, usize) {
    let stacks = stack_pointers(process);
    let maps = fs::read_to_string(format!("/proc/{process}/maps")).expect("its mappings");
    let mut found = 0;
    let mappings = maps
        .lines()
        .filter_map(|line| {
            let mut fields = line.split_whitespace();
            let (range, rights) = (fields.next()?, fields.next()?);
            let path = fields.nth(3).unwrap_or("anonymous");
            if !rights.starts_with("rw") || path.starts_with("[vv") || path.starts_with("[vdso") {
                return None;
            }
            let (start, end) = range.split_once('-')?;
            let number = |digits| usize::from_str_radix(digits, 16).ok();
            let range = number(start)?..number(end)?;
            let thread = stacks.iter().find(|(at, _)| range.contains(at));
            found += usize::from(thread.is_some());
            let kind = match thread {
                Some((_, name)) => format!("stack of {name}"),
                None => path.rsplit('/').next().unwrap_or(path).to_owned(),
            };
            Some(Mapping { range, kind })
        })
        .collect();
    (mappings, found)
}

/// The stack pointer and name of every thread.
fn stack_pointers(process: &str) -> Vec<(usize, String)> {
    let here = 0u8;
    let mut pointers = Vec::new();
    for task in fs::read_dir(format!("/proc/{process}/task")).expect("its threads") {
        let path = task.expect("a thread").path();
        let read = |name: &str| fs::read_to_string(path.join(name)).unwrap_or_default();
        let name = read("comm").trim().to_owned();
        // `number arguments… stack-pointer program-counter`, or `running`: that is us.
        let call = read("syscall");
        let pointer = call
            .split_whitespace()
            .rev()
            .nth(1)
            .and_then(|digits| usize::from_str_radix(digits.strip_prefix("0x")?, 16).ok());
        pointers.push((pointer.unwrap_or(std::ptr::from_ref(&here).addr()), name));
    }
    pointers
}
