//! The log of an app on disk: one JSON object a line, in segments of bounded size, the oldest removed first. One process writes ([`Writer`], under
//! the lock of the storage folder); any number read at the same time ([`Reader`]).
//!
//! A crash may tear the last line; it is skipped. The address of a line, segment and offset, is its [`Id`]: ids rise, and a page begins where the
//! one before ended without a search.

mod filter;
mod line;
mod reader;
mod writer;

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;

pub use filter::Filter;
pub use line::write as write_line;
pub use reader::{Backward, Forward, Found, Reader};
pub use writer::Writer;

/// The folder within the storage folder.
pub const FOLDER: &str = "logs";

/// Where an entry stands. Later entries have higher ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Id {
    segment: u32,
    offset: u32,
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}{:08x}", self.segment, self.offset)
    }
}

impl FromStr for Id {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is not the id of a log entry: 16 hexadecimal digits");
        if text.len() != 16 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(wrong());
        }
        let part = |range| u32::from_str_radix(&text[range], 16).map_err(|_| wrong());
        Ok(Self { segment: part(0..8)?, offset: part(8..16)? })
    }
}

fn path_of(dir: &Path, segment: u32) -> PathBuf {
    dir.join(format!("{segment:08x}.jsonl"))
}

/// The segments that are there, oldest first.
fn segments(dir: &Path) -> io::Result<Vec<u32>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir)? {
        let name = entry?.file_name();
        let number = name.to_str().and_then(|name| name.strip_suffix(".jsonl")).filter(|number| number.len() == 8);
        found.extend(number.and_then(|number| u32::from_str_radix(number, 16).ok()));
    }
    found.sort_unstable();
    Ok(found)
}

#[cfg(test)]
mod tests;
