//! The texts that were read, and places in them: byte ranges inside, lines and columns towards people.

use std::ops::Range;
use std::path::PathBuf;

/// A file among [`Sources`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileId(u32);

/// A byte range in one file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span {
    /// Which file.
    pub file: FileId,
    /// First byte.
    pub start: usize,
    /// One past the last byte.
    pub end: usize,
}

impl Span {
    /// The bytes.
    pub fn range(self) -> Range<usize> {
        self.start..self.end
    }

    /// From the start of `self` to the end of `other`, if both lie in one file.
    #[must_use]
    pub fn to(self, other: Self) -> Self {
        if self.file == other.file { Self { end: other.end.max(self.end), ..self } } else { self }
    }

    /// `range` counted from the start of `self`, kept inside it.
    #[must_use]
    pub fn inside(self, range: Range<usize>) -> Self {
        let start = (self.start + range.start).min(self.end);
        Self { start, end: (self.start + range.end).clamp(start, self.end), ..self }
    }
}

/// A place as editors count it: both from 1, columns in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// Line, from 1.
    pub line: u32,
    /// Column in characters, from 1.
    pub column: u32,
}

/// One text.
#[derive(Debug, Clone)]
pub struct Source {
    /// The name that messages use: as the user would write it.
    pub name: String,
    /// Where it was read from; empty for a text from memory.
    pub path: PathBuf,
    /// What it says.
    pub text: String,
    lines: Vec<usize>,
}

impl Source {
    /// The place of byte `at`; the end of the text for anything beyond it.
    pub fn position(&self, at: usize) -> Position {
        let at = at.min(self.text.len());
        let line = self.lines.partition_point(|&start| start <= at);
        let start = self.lines[line - 1];
        let column = self.text.as_bytes()[start..at].iter().filter(|&&b| b & 0xC0 != 0x80).count();
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        Position { line: count(line), column: count(column + 1) }
    }
}

/// All texts that were read, in the order of reading.
#[derive(Debug, Clone, Default)]
pub struct Sources(Vec<Source>);

impl Sources {
    /// Adds a text.
    pub fn add(&mut self, name: impl Into<String>, path: impl Into<PathBuf>, text: impl Into<String>) -> FileId {
        let text = text.into();
        let mut lines = vec![0];
        lines.extend(text.bytes().enumerate().filter(|&(_, b)| b == b'\n').map(|(at, _)| at + 1));
        self.0.push(Source { name: name.into(), path: path.into(), text, lines });
        FileId(u32::try_from(self.0.len() - 1).unwrap_or(u32::MAX))
    }

    /// A text by its id.
    pub fn get(&self, file: FileId) -> &Source {
        &self.0[file.0 as usize]
    }

    /// All texts.
    pub fn iter(&self) -> impl Iterator<Item = &Source> {
        self.0.iter()
    }

    /// The 1-based line where `span` begins.
    pub fn line(&self, span: Span) -> u32 {
        self.get(span.file).position(span.start).line
    }

    /// The first byte of a file, for what concerns it as a whole.
    pub fn start(file: FileId) -> Span {
        Span { file, start: 0, end: 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn y1_columns_count_characters_and_lines_begin_at_one() {
        let mut sources = Sources::default();
        let file = sources.add("a", "", "é: x\n  ü: y\n");
        let source = sources.get(file);
        assert_eq!(source.position(0), Position { line: 1, column: 1 });
        assert_eq!(source.position(4), Position { line: 1, column: 4 });
        assert_eq!(source.position(source.text.find('y').expect("there")), Position { line: 2, column: 6 });
        assert_eq!(source.position(999), Position { line: 3, column: 1 });
    }
}
