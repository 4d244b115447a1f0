//! From what app.yaml's patterns mean — POSIX extended expressions as Python 2's `re` read them — to what our engines read.
//!
//! Every construct is written out anew, so that nothing an engine knows beyond Python's dialect (`\<`, `&&` in sets, `a++`) can slip through with
//! another meaning. Mistakes are found here, with the place in the pattern as the user wrote it.

use std::fmt::Write;
use std::ops::Range;

use super::PatternError;

/// Deepest nesting of groups.
const MAX_DEPTH: usize = 100;

/// Who is to read the result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialect {
    /// `regex` on bytes, Unicode off.
    Linear,
    /// `fancy-regex` on bytes.
    Backtracking,
}

/// A pattern for an engine, without anchors around it.
#[derive(Debug)]
pub(super) struct Translated {
    /// A group that can be anchored.
    pub(super) body: String,
    /// How many groups the user wrote; an engine forgets those that cannot take part, as in `(a){0}`.
    pub(super) groups: usize,
    /// It has look-around or back-references, so only the backtracking dialect is right.
    pub(super) needs_backtracking: bool,
}

/// Reads `source` for `dialect`.
pub(super) fn translate(source: &str, dialect: Dialect) -> Result<Translated, PatternError> {
    let mut reader = Reader::new(source, dialect);
    reader.read()?;
    if reader.verbose_found && !reader.verbose {
        // As in Python 2, a flag counts for the whole pattern wherever it stands.
        reader = Reader { verbose: true, ..Reader::new(source, dialect) };
        reader.read()?;
    }
    let flags: String = reader.flags.iter().collect();
    Ok(Translated { body: format!("(?{flags}:{})", reader.out), groups: reader.groups, needs_backtracking: reader.needs_backtracking })
}

/// What a quantifier would apply to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Last {
    Nothing,
    Item,
    /// A look-around.
    Assertion,
    Repeated,
}

struct Reader<'s> {
    source: &'s str,
    at: usize,
    dialect: Dialect,
    out: String,
    last: Last,
    /// Where the open groups begin, and whether they are look-arounds.
    open: Vec<(usize, bool)>,
    groups: usize,
    names: Vec<&'s str>,
    flags: Vec<char>,
    verbose: bool,
    verbose_found: bool,
    needs_backtracking: bool,
}

impl<'s> Reader<'s> {
    fn new(source: &'s str, dialect: Dialect) -> Self {
        Self {
            source,
            at: 0,
            dialect,
            out: String::with_capacity(source.len() + 16),
            last: Last::Nothing,
            open: Vec::new(),
            groups: 0,
            names: Vec::new(),
            flags: Vec::new(),
            verbose: false,
            verbose_found: false,
            needs_backtracking: false,
        }
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn rest(&self) -> &'s str {
        &self.source[self.at..]
    }

    fn next(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.at += c.len_utf8();
        Some(c)
    }

    fn take(&mut self, text: &str) -> bool {
        let found = self.rest().starts_with(text);
        if found {
            self.at += text.len();
        }
        found
    }

    fn fail<T>(&self, start: usize, message: impl Into<String>) -> Result<T, PatternError> {
        Err(PatternError { message: message.into(), span: Some(start..self.at) })
    }

    fn read(&mut self) -> Result<(), PatternError> {
        while let Some(c) = self.peek() {
            let start = self.at;
            self.at += c.len_utf8();
            match c {
                '\\' => self.escape(start)?,
                '[' => self.set(start)?,
                '(' => self.group(start)?,
                ')' => self.close(start)?,
                '|' => {
                    self.out.push('|');
                    self.last = Last::Nothing;
                }
                '*' | '+' | '?' => self.repeat(start, &c.to_string())?,
                '{' => self.brace(start)?,
                '^' | '$' => {
                    self.out.push(c);
                    self.last = Last::Nothing;
                }
                '.' => {
                    self.out.push('.');
                    self.last = Last::Item;
                }
                c if self.verbose && c.is_ascii_whitespace() => {}
                '#' if self.verbose => self.at += self.rest().find('\n').unwrap_or(self.rest().len()),
                c => self.literal(c),
            }
        }
        match self.open.pop() {
            Some((start, _)) => {
                self.at = start + 1;
                self.fail(start, "the group that begins here is never closed; add `)`, or write `\\(` for the character itself")
            }
            None => Ok(()),
        }
    }

    fn literal(&mut self, c: char) {
        self.last = Last::Item;
        match (c.is_ascii(), self.dialect) {
            (true, _) => {
                if r"\.+*?()|[]{}^$".contains(c) {
                    self.out.push('\\');
                }
                self.out.push(c);
            }
            (false, Dialect::Linear) => self.out.push(c),
            (false, Dialect::Backtracking) => {
                let _ = write!(self.out, "(?:{c})");
            }
        }
    }

    fn byte(&mut self, byte: u8) {
        let _ = write!(self.out, "\\x{byte:02X}");
        self.last = Last::Item;
    }

    fn close(&mut self, start: usize) -> Result<(), PatternError> {
        let Some((_, look)) = self.open.pop() else {
            return self.fail(start, "this `)` closes no group; remove it, or write `\\)` for the character itself");
        };
        self.out.push(')');
        self.last = if look { Last::Assertion } else { Last::Item };
        Ok(())
    }

    fn repeat(&mut self, start: usize, quantifier: &str) -> Result<(), PatternError> {
        match self.last {
            Last::Item => {}
            Last::Nothing => {
                let text = &self.source[start..self.at];
                return self.fail(start, format!("there is nothing before `{text}` to repeat; write `\\{text}` for the character itself"));
            }
            Last::Assertion => {
                return self.fail(start, "a look-around takes no characters, so there is nothing to repeat; remove this");
            }
            Last::Repeated => {
                let text = &self.source[start..self.at];
                return self
                    .fail(start, format!("`{text}` repeats what is repeated already; put what it repeats into a group, or remove it"));
            }
        }
        self.out.push_str(quantifier);
        if self.take("?") {
            self.out.push('?');
        }
        self.last = Last::Repeated;
        Ok(())
    }

    /// `{2}`, `{2,}`, `{,3}`, `{2,3}` as Python reads them; any other `{` stands for itself, as in `/{id}`.
    fn brace(&mut self, start: usize) -> Result<(), PatternError> {
        let Some((inside, _)) = self.rest().split_once('}') else {
            self.literal('{');
            return Ok(());
        };
        let (low, high) = inside.split_once(',').map_or((inside, None), |(low, high)| (low, Some(high)));
        let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
        if inside.is_empty() || !digits(low) || !high.is_none_or(digits) {
            self.literal('{');
            return Ok(());
        }
        self.at += inside.len() + 1;
        let number = |text: &str| text.parse::<u32>().ok();
        let fewest = if low.is_empty() { Some(0) } else { number(low) };
        let most = match high {
            None => fewest.map(Some),
            Some("") => Some(None),
            Some(high) => number(high).map(Some),
        };
        let (Some(fewest), Some(most)) = (fewest, most) else {
            return self.fail(start, "this repeats too often; write a smaller number");
        };
        if most.is_some_and(|most| most < fewest) {
            return self.fail(start, "the first number is larger than the second; swap them");
        }
        let quantifier = match most {
            Some(most) if high.is_none() => format!("{{{most}}}"),
            Some(most) => format!("{{{fewest},{most}}}"),
            None => format!("{{{fewest},}}"),
        };
        self.repeat(start, &quantifier)
    }

    fn group(&mut self, start: usize) -> Result<(), PatternError> {
        let before = std::mem::replace(&mut self.last, Last::Nothing);
        if !self.take("?") {
            self.groups += 1;
            return self.open_group(start, "(");
        }
        if self.take(":") {
            return self.open_group(start, "(?:");
        }
        for look in ["=", "!", "<=", "<!"] {
            if self.take(look) {
                self.needs_backtracking = true;
                return self.open_group(start, &format!("(?{look}"));
            }
        }
        if self.take("#") {
            self.last = before;
            return self.comment(start);
        }
        if self.take("P<") {
            return self.named(start);
        }
        if self.take("P=") {
            return self.named_reference(start);
        }
        if self.take("(") {
            return self.conditional(start);
        }
        self.flags_group(start, before)
    }

    fn open_group(&mut self, start: usize, text: &str) -> Result<(), PatternError> {
        if self.open.len() >= MAX_DEPTH {
            return self.fail(start, format!("groups are nested more than {MAX_DEPTH} deep"));
        }
        self.open.push((start, matches!(text, "(?=" | "(?!" | "(?<=" | "(?<!")));
        self.out.push_str(text);
        Ok(())
    }

    fn comment(&mut self, start: usize) -> Result<(), PatternError> {
        let Some(end) = self.rest().find(')') else { return self.fail(start, "this comment is never closed; add `)`") };
        self.at += end + 1;
        Ok(())
    }

    /// The name up to `end`.
    fn name(&mut self, start: usize, end: char) -> Result<&'s str, PatternError> {
        let rest = self.rest();
        let name = rest.split_once(end).map_or("", |(name, _)| name);
        let letter = |b: u8| b.is_ascii_alphabetic() || b == b'_';
        let good = name.bytes().next().is_some_and(letter) && name.bytes().all(|b| letter(b) || b.is_ascii_digit());
        self.at += if good { name.len() + 1 } else { rest.len().min(1) };
        if good { Ok(name) } else { self.fail(start, "the group's name is not made of letters, digits and `_`, beginning with a letter") }
    }

    fn named(&mut self, start: usize) -> Result<(), PatternError> {
        let name = self.name(start, '>')?;
        if self.names.contains(&name) {
            return self.fail(start, format!("there are two groups named `{name}`; give one another name"));
        }
        self.names.push(name);
        self.groups += 1;
        self.open_group(start, &format!("(?P<{name}>"))
    }

    fn named_reference(&mut self, start: usize) -> Result<(), PatternError> {
        let name = self.name(start, ')')?;
        if !self.names.contains(&name) {
            return self.fail(start, format!("there is no group named `{name}` before this"));
        }
        self.needs_backtracking = true;
        let _ = write!(self.out, "(?P={name})");
        self.last = Last::Item;
        Ok(())
    }

    /// `(?(1)yes|no)`.
    fn conditional(&mut self, start: usize) -> Result<(), PatternError> {
        let id = self.rest().split_once(')').map_or("", |(id, _)| id);
        let by_number = id.parse::<usize>().is_ok_and(|n| (1..=self.groups).contains(&n));
        if !by_number && !self.names.contains(&id) {
            return self.fail(start, "the condition names no group before this");
        }
        self.at += id.len() + 1;
        self.needs_backtracking = true;
        let condition = if by_number { id.to_owned() } else { format!("<{id}>") };
        self.open_group(start, &format!("(?({condition})"))
    }

    /// `(?i)` for the whole pattern, `(?i:…)` for a group.
    fn flags_group(&mut self, start: usize, before: Last) -> Result<(), PatternError> {
        let letters: String = self.rest().chars().take_while(|c| "iLmsux".contains(*c)).collect();
        self.at += letters.len();
        let known: String = letters.chars().filter(|c| "ims".contains(*c)).collect();
        if !letters.is_empty() && self.take(")") {
            self.last = before;
            self.verbose_found |= letters.contains('x');
            for flag in known.chars().filter(|flag| !self.flags.contains(flag)).collect::<Vec<_>>() {
                self.flags.push(flag);
            }
            return Ok(());
        }
        if !letters.is_empty() && !letters.contains('x') && self.take(":") {
            return self.open_group(start, &format!("(?{known}:"));
        }
        self.next();
        let text = &self.source[start..self.at];
        let help = if text == "(?<" { "write `(?P<name>…)` for a named group" } else { "write `(?:…)` for a group without number" };
        self.fail(start, format!("`{text}` begins no group that App Engine knows; {help}"))
    }

    fn escape(&mut self, start: usize) -> Result<(), PatternError> {
        let Some(c) = self.next() else {
            return self.fail(start, "the pattern ends in a lone `\\`; write `\\\\` for the character itself");
        };
        match c {
            'd' | 'D' | 'w' | 'W' | 's' | 'S' => {
                let text = shorthand(c, self.dialect);
                self.out.push_str(text);
                self.last = Last::Item;
            }
            'b' | 'B' | 'A' | 'Z' => {
                self.out.push('\\');
                // Python's `\Z` is the very end.
                self.out.push(if c == 'Z' { 'z' } else { c });
                self.last = Last::Nothing;
            }
            '1'..='9' => self.reference(start, c)?,
            _ => match self.escaped_byte(start, c)? {
                Some(byte) => self.byte(byte),
                // What has no meaning stands for itself, letters too.
                None => self.literal(c),
            },
        }
        Ok(())
    }

    /// The byte that `\c` stands for, if it is one of `\a \f \n \r \t \v \xHH \0OO`.
    fn escaped_byte(&mut self, start: usize, c: char) -> Result<Option<u8>, PatternError> {
        Ok(Some(match c {
            'a' => 0x07,
            'f' => 0x0c,
            'n' => b'\n',
            'r' => b'\r',
            't' => b'\t',
            'v' => 0x0b,
            'x' => {
                let digits = self.rest().get(..2).and_then(|digits| u8::from_str_radix(digits, 16).ok());
                let Some(byte) = digits.filter(|_| !self.rest().starts_with('+')) else {
                    return self.fail(start, "`\\x` takes two hexadecimal digits, as in `\\x2E`");
                };
                self.at += 2;
                byte
            }
            '0' => self.octal(0, 2),
            _ => return Ok(None),
        }))
    }

    fn octal(&mut self, first: u32, most: usize) -> u8 {
        let digits = self.rest().bytes().take(most).take_while(|b| (b'0'..=b'7').contains(b)).count();
        let value = self.rest().bytes().take(digits).fold(first, |sum, b| sum * 8 + u32::from(b - b'0'));
        self.at += digits;
        u8::try_from(value & 0xff).unwrap_or_default()
    }

    /// `\1`: what a group matched, again. Three octal digits are a byte.
    fn reference(&mut self, start: usize, first: char) -> Result<(), PatternError> {
        let first = first.to_digit(10).unwrap_or_default();
        let bytes = self.rest().as_bytes();
        let is_octal = |at: usize| bytes.get(at).is_some_and(|b| (b'0'..=b'7').contains(b));
        if first < 8 && is_octal(0) && is_octal(1) {
            let byte = self.octal(first, 2);
            self.byte(byte);
            return Ok(());
        }
        let mut group = usize::try_from(first).unwrap_or_default();
        if let Some(digit) = self.peek().and_then(|c| c.to_digit(10)) {
            self.at += 1;
            group = group * 10 + usize::try_from(digit).unwrap_or_default();
        }
        if group > self.groups {
            return self.fail(start, format!("`\\{group}` refers to a group that does not exist before it"));
        }
        self.needs_backtracking = true;
        let _ = write!(self.out, "(?:\\{group})");
        self.last = Last::Item;
        Ok(())
    }

    /// `[…]`.
    fn set(&mut self, start: usize) -> Result<(), PatternError> {
        let negated = self.take("^");
        let mut items: Vec<SetItem> = Vec::new();
        loop {
            let at = self.at;
            let Some(c) = self.next() else {
                self.at = start + 1;
                return self.fail(start, "the set that begins here is never closed; add `]`, or write `\\[` for the character itself");
            };
            if c == ']' && !items.is_empty() {
                break;
            }
            let low = self.set_item(at, c)?;
            let is_range = self.rest().starts_with('-') && !self.rest().starts_with("-]") && self.rest().len() > 1;
            if !is_range {
                items.push(low);
                continue;
            }
            self.at += 1;
            let next = self.at;
            let Some(c) = self.next() else { continue };
            let high = self.set_item(next, c)?;
            let (SetItem::Range(low, _), SetItem::Range(high, _)) = (low, high) else {
                return self.fail(at, "a range goes from one character to another; write `\\-` for the hyphen itself");
            };
            if high < low {
                return self.fail(at, "the range runs backwards; swap its ends");
            }
            items.push(SetItem::Range(low, high));
        }
        self.write_set(start..self.at, negated, &items)
    }

    fn set_item(&mut self, start: usize, c: char) -> Result<SetItem, PatternError> {
        match c {
            '[' if self.rest().starts_with(':') => Ok(self.posix_class(start)?.unwrap_or(SetItem::one('['))),
            '[' if (self.rest().starts_with('.') && self.rest().contains(".]"))
                || (self.rest().starts_with('=') && self.rest().contains("=]")) =>
            {
                self.at += 1;
                self.fail(start, "collating elements and equivalence classes are not supported; list the characters themselves")
            }
            '\\' => {
                let Some(c) = self.next() else { return self.fail(start, "the pattern ends in a lone `\\`") };
                match c {
                    'd' | 'D' | 'w' | 'W' | 's' | 'S' => Ok(SetItem::Shorthand(c)),
                    'b' => Ok(SetItem::one('\x08')),
                    '1'..='7' => Ok(SetItem::one(char::from(self.octal(c.to_digit(8).unwrap_or_default(), 2)))),
                    _ => Ok(self.escaped_byte(start, c)?.map_or(SetItem::one(c), |byte| SetItem::one(char::from(byte)))),
                }
            }
            c => Ok(SetItem::one(c)),
        }
    }

    /// `[:alpha:]`; `None` if the `[` stands for itself.
    fn posix_class(&mut self, start: usize) -> Result<Option<SetItem>, PatternError> {
        const NAMES: [&str; 12] =
            ["alnum", "alpha", "blank", "cntrl", "digit", "graph", "lower", "print", "punct", "space", "upper", "xdigit"];
        let Some((name, _)) = self.rest()[1..].split_once(":]") else { return Ok(None) };
        if name.contains(']') {
            return Ok(None);
        }
        let Some(known) = NAMES.into_iter().find(|known| *known == name) else {
            self.at += name.len() + 3;
            return self.fail(start, format!("`[:{name}:]` is no character class; the classes are {}", NAMES.join(", ")));
        };
        self.at += name.len() + 3;
        Ok(Some(SetItem::Posix(known)))
    }

    fn write_set(&mut self, span: Range<usize>, negated: bool, items: &[SetItem]) -> Result<(), PatternError> {
        // Characters from the pattern's text are UTF-8; only then the set is one of characters and not of bytes.
        let wide = !self.source[span.clone()].is_ascii();
        if wide && self.dialect == Dialect::Backtracking {
            let message = "a set with characters beyond ASCII cannot stand in a pattern with look-around or back-references";
            return Err(PatternError { message: message.into(), span: Some(span) });
        }
        let mut set = String::from(if negated { "[^" } else { "[" });
        for item in items {
            let _ = match *item {
                SetItem::Range(low, high) => write!(set, "\\x{{{low:X}}}-\\x{{{high:X}}}"),
                SetItem::Posix(name) => write!(set, "[:{name}:]"),
                SetItem::Shorthand(c) => write!(set, "{}", shorthand(c, if wide { Dialect::Backtracking } else { self.dialect })),
            };
        }
        set.push(']');
        if wide {
            let _ = write!(self.out, "(?u:{set})");
        } else {
            self.out.push_str(&set);
        }
        self.last = Last::Item;
        Ok(())
    }
}

#[derive(Debug, Clone, Copy)]
enum SetItem {
    /// Code points, both ends included.
    Range(u32, u32),
    /// `\d` and its kin.
    Shorthand(char),
    /// `[:alpha:]`.
    Posix(&'static str),
}

impl SetItem {
    fn one(c: char) -> Self {
        Self::Range(u32::from(c), u32::from(c))
    }
}

/// ASCII always: `\w` must not match half of a UTF-8 sequence.
fn shorthand(c: char, dialect: Dialect) -> &'static str {
    match (c, dialect) {
        ('d', Dialect::Linear) => r"\d",
        ('D', Dialect::Linear) => r"\D",
        ('w', Dialect::Linear) => r"\w",
        ('W', Dialect::Linear) => r"\W",
        ('s', Dialect::Linear) => r"\s",
        (_, Dialect::Linear) => r"\S",
        ('d', _) => "[0-9]",
        ('D', _) => "[^0-9]",
        ('w', _) => "[0-9A-Za-z_]",
        ('W', _) => "[^0-9A-Za-z_]",
        ('s', _) => r"[\t\n\x0B\x0C\r ]",
        (_, _) => r"[^\t\n\x0B\x0C\r ]",
    }
}
