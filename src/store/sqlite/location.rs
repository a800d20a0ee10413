//! Where a database is: a path, a `sqlite://` or `file:` URL, or memory.

use std::path::{Path, PathBuf};

use wacore::store::error::StoreError;

/// Where a database is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Location {
    File(PathBuf),
    /// In this process only, for tests.
    Memory,
}

impl Location {
    /// Reads `PATH`, `:memory:`, `sqlite://PATH` or `file:PATH`; a URL may have `mode=rwc`, `mode=rw` or
    /// `mode=memory` as its query, and percent escapes in a `file:` URL are undone, as SQLite does it.
    ///
    /// The second part of the answer is whether there must be a file already, as `mode=rw` has it.
    pub(super) fn parse(text: &str) -> Result<(Self, bool), StoreError> {
        let invalid = |what: &str| StoreError::InvalidConfig(what.to_owned());
        if text == ":memory:" {
            return Ok((Self::Memory, false));
        }
        let (rest, escaped) = if let Some(rest) = text.strip_prefix("file:") {
            let rest = rest.strip_prefix("//localhost/").map_or_else(
                || rest.strip_prefix("//").unwrap_or(rest).to_owned(),
                |path| format!("/{path}"),
            );
            (rest, true)
        } else if let Some(rest) = text.strip_prefix("sqlite:") {
            (rest.strip_prefix("//").unwrap_or(rest).to_owned(), false)
        } else {
            return match text {
                "" => Err(invalid("the database has no path; give one")),
                _ => Ok((Self::File(PathBuf::from(text)), false)),
            };
        };
        if rest.contains('#') {
            // Whatever follows would name no file; taken for the end, `a#b.db` would be opened as `a`.
            return Err(invalid(
                "the database's URL has a #; write it as %23 in a file: URL, or give the plain path",
            ));
        }
        let (path, query) = rest.split_once('?').unwrap_or((&rest, ""));
        let (mut memory, mut existing) = (path == ":memory:", false);
        for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
            match parameter {
                "mode=memory" => memory = true,
                "mode=rwc" => {}
                "mode=rw" => existing = true,
                _ => {
                    return Err(invalid(
                        "the database's URL has a parameter other than mode=rw, mode=rwc or mode=memory; \
                         set options in code",
                    ));
                }
            }
        }
        if memory {
            return Ok((Self::Memory, false));
        }
        let path = if escaped {
            unescape(path).ok_or_else(|| invalid("the database's URL has a broken % escape"))?
        } else {
            path.to_owned()
        };
        if path.is_empty() {
            return Err(invalid("the database's URL has no path; give one"));
        }
        Ok((Self::File(PathBuf::from(path)), existing))
    }

    pub(super) fn path(&self) -> Option<&Path> {
        match self {
            Self::File(path) => Some(path),
            Self::Memory => None,
        }
    }
}

fn unescape(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || char::from(rest.next()?).to_digit(16);
        let (high, low) = (digit()?, digit()?);
        match u8::try_from(16 * high + low).ok()? {
            0 => return None,
            byte => bytes.push(byte),
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::Location;
    use std::path::PathBuf;

    #[test]
    fn paths_and_urls_name_the_file_they_say() {
        for (text, path) in [
            ("whatsapp.db", "whatsapp.db"),
            ("/var/lib/a b?.db", "/var/lib/a b?.db"),
            ("sqlite://whatsapp.db", "whatsapp.db"),
            ("sqlite:///var/lib/w.db", "/var/lib/w.db"),
            ("sqlite:w.db?mode=rwc", "w.db"),
            ("sqlite://100%.db", "100%.db"),
            ("file:w.db", "w.db"),
            ("file:///var/a%20b.db?mode=rw", "/var/a b.db"),
            ("file:a%23b.db", "a#b.db"),
            ("a#b.db", "a#b.db"),
            ("file://localhost/var/w.db", "/var/w.db"),
        ] {
            let (location, existing) = Location::parse(text).unwrap();
            assert_eq!(location, Location::File(PathBuf::from(path)), "{text}");
            assert_eq!(existing, text.ends_with("mode=rw"), "{text}");
        }
        for text in [
            ":memory:",
            "sqlite::memory:",
            "file:x?mode=memory",
            "file::memory:",
        ] {
            assert_eq!(Location::parse(text).unwrap().0, Location::Memory, "{text}");
        }
        for text in [
            "",
            "sqlite://",
            "file:",
            "file:?mode=rw",
            "file:a?mode=ro",
            "sqlite:a?cache=shared",
            "sqlite://a#b.db",
            "file:///a.db#b",
            "file:a%",
            "file:a%2",
            "file:a%zz",
            "file:a%00b",
            "file:%ff",
        ] {
            assert!(Location::parse(text).is_err(), "{text}");
        }
    }
}
