//! `multipart/related` with two parts, the object's description and its content, read as it arrives.
//!
//! gcloud names the boundary in single quotes, which no grammar calls quotes, and ends lines with LF alone; others use CRLF. The first line of the body
//! settles both, so that a CR which is the content's own last byte stays.

use memchr::memmem;

/// Bytes of a part's head, and of the description.
const HEAD: usize = 64 * 1024;

/// What a piece of the body brought.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// The description is whole: its JSON.
    Description(Vec<u8>),
    /// The content begins; its type, if that was said.
    Content(Option<String>),
    /// A piece of the content.
    Piece(Vec<u8>),
    /// The content is over.
    End,
}

#[derive(Debug)]
enum State {
    /// Before the first delimiter.
    Start,
    /// In the head of part 0 or 1.
    Head(u8),
    Description,
    Content,
    Done,
}

/// A reader of such a body.
#[derive(Debug)]
pub(super) struct Multipart {
    names: [String; 2],
    /// What ends a part: a line end and the delimiter.
    end: Vec<u8>,
    line: &'static [u8],
    state: State,
    held: Vec<u8>,
    /// How much of `held` is the line end before the part, which counts as the beginning of a delimiter but not as content.
    lead: usize,
}

impl Multipart {
    /// A reader for a body of this type; `None` if it names no boundary.
    pub(super) fn new(content_type: &str) -> Option<Self> {
        let (_, rest) = content_type.split_at_checked(content_type.to_ascii_lowercase().find("boundary=")? + "boundary=".len())?;
        let named = match rest.strip_prefix('"') {
            Some(quoted) => quoted.split('"').next()?,
            None => rest.split(';').next()?.trim(),
        };
        let bare = named.strip_prefix('\'').and_then(|rest| rest.strip_suffix('\'')).unwrap_or(named);
        if bare.is_empty() || named.len() > 200 {
            return None;
        }
        Some(Self {
            names: [bare.to_owned(), named.to_owned()],
            end: Vec::new(),
            line: b"\n",
            state: State::Start,
            held: Vec::new(),
            lead: 0,
        })
    }

    /// Takes a piece; what was found with it.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Result<Vec<Found>, String> {
        self.held.extend_from_slice(bytes);
        let mut found = Vec::new();
        while self.step(&mut found)? {}
        Ok(found)
    }

    /// Whether the last delimiter was seen.
    pub(super) fn is_whole(&self) -> bool {
        matches!(self.state, State::Done)
    }

    /// One step; whether another may follow without more bytes.
    fn step(&mut self, found: &mut Vec<Found>) -> Result<bool, String> {
        match self.state {
            State::Start => self.start(),
            State::Head(part) => self.head(part, found),
            State::Description => {
                let Some(at) = memmem::find(&self.held, &self.end) else {
                    return if self.held.len() > HEAD { Err("the description of the object is too long".into()) } else { Ok(false) };
                };
                found.push(Found::Description(self.held[self.lead.min(at)..at].to_vec()));
                self.held.drain(..at + self.end.len());
                self.lead = 0;
                self.state = State::Head(1);
                Ok(true)
            }
            State::Content => Ok(self.content(found)),
            State::Done => {
                self.held.clear();
                Ok(false)
            }
        }
    }

    fn start(&mut self) -> Result<bool, String> {
        let Some(length) = memchr::memchr(b'\n', &self.held) else {
            return if self.held.len() > HEAD { Err("there is no line with the boundary".into()) } else { Ok(false) };
        };
        let line = &self.held[..length];
        let (text, end): (&[u8], &'static [u8]) = match line.strip_suffix(b"\r") {
            Some(text) => (text, b"\r\n"),
            None => (line, b"\n"),
        };
        let is_empty = text.trim_ascii().is_empty();
        let name = text.strip_prefix(b"--").map(<[u8]>::trim_ascii_end);
        let name = name.and_then(|name| self.names.iter().find(|known| known.as_bytes() == name));
        if let Some(name) = name {
            self.end = [end, b"--", name.as_bytes()].concat();
            self.line = end;
            self.state = State::Head(0);
        } else if !is_empty {
            return Err("the first line is not the boundary that the Content-Type names".into());
        }
        self.held.drain(..=length);
        Ok(true)
    }

    /// The lines up to the empty one. The rest of the delimiter's line, which is empty, comes first in the second part.
    fn head(&mut self, part: u8, found: &mut Vec<Found>) -> Result<bool, String> {
        let begin = usize::from(part == 1) * self.line.len();
        if self.held.len() < begin + 2 {
            return Ok(false);
        }
        if part == 1 && self.held.starts_with(b"--") {
            return Err("the content of the object is missing".into());
        }
        let blank = [self.line, self.line].concat();
        // A part without any head begins with the empty line.
        let (head, length) = if self.held[begin..].starts_with(self.line) {
            (String::new(), begin + self.line.len())
        } else {
            let Some(at) = memmem::find(&self.held[begin..], &blank) else {
                return if self.held.len() > HEAD { Err("the head of a part is too long".into()) } else { Ok(false) };
            };
            (String::from_utf8_lossy(&self.held[begin..begin + at]).into_owned(), begin + at + blank.len())
        };
        self.held.drain(..length);
        let field = |name: &str| {
            let of = |line: &str| {
                line.split_once(':').filter(|(own, _)| own.trim().eq_ignore_ascii_case(name)).map(|(_, value)| value.trim().to_owned())
            };
            head.lines().find_map(of)
        };
        if let Some(encoding) = field("Content-Transfer-Encoding")
            && !["binary", "8bit", "7bit"].contains(&encoding.to_ascii_lowercase().as_str())
        {
            return Err(format!("parts in {encoding} are not read; send them in binary"));
        }
        // The delimiter of an empty part begins with the line end of its head.
        self.held.splice(..0, self.line.iter().copied());
        self.lead = self.line.len();
        if part == 0 {
            self.state = State::Description;
        } else {
            found.push(Found::Content(field("Content-Type")));
            self.state = State::Content;
        }
        Ok(true)
    }

    fn content(&mut self, found: &mut Vec<Found>) -> bool {
        if let Some(at) = memmem::find(&self.held, &self.end) {
            self.give(at, found);
            found.push(Found::End);
            self.state = State::Done;
            return true;
        }
        // What may be the beginning of the delimiter is kept back.
        let safe = self.held.len().saturating_sub(self.end.len());
        self.give(safe, found);
        false
    }

    fn give(&mut self, length: usize, found: &mut Vec<Found>) {
        let lead = self.lead.min(length);
        self.lead -= lead;
        let piece: Vec<u8> = self.held.drain(..length).skip(lead).collect();
        if !piece.is_empty() {
            found.push(Found::Piece(piece));
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Description, type and content of a body that arrives in pieces of this size.
    fn read(content_type: &str, body: &[u8], size: usize) -> Result<(String, Option<String>, Vec<u8>), String> {
        let mut reader = Multipart::new(content_type).ok_or("no boundary")?;
        let (mut description, mut kind, mut content) = (String::new(), None, Vec::new());
        for piece in body.chunks(size.max(1)) {
            for found in reader.push(piece)? {
                match found {
                    Found::Description(text) => description = String::from_utf8_lossy(&text).into_owned(),
                    Found::Content(named) => kind = named,
                    Found::Piece(piece) => content.extend(piece),
                    Found::End => {}
                }
            }
        }
        if reader.is_whole() { Ok((description, kind, content)) } else { Err("it has no end".into()) }
    }

    const GCLOUD: &str = "multipart/related; boundary='===============7330845974216740156=='";

    fn gcloud(content: &[u8]) -> Vec<u8> {
        let head = b"--===============7330845974216740156==\nContent-Type: application/json\nMIME-Version: 1.0\n\n{\"size\": \"4\"}\n\
                     --===============7330845974216740156==\nContent-Type: application/octet-stream\nMIME-Version: 1.0\nContent-Transfer-Encoding: binary\n\n";
        [head, content, b"\n--===============7330845974216740156==--"].concat()
    }

    #[test]
    fn t9_gclouds_quotes_and_line_ends_are_read() {
        for content in [
            &b""[..],
            b"abc",
            b"ends with CR\r",
            b"ends with a line\n",
            b"\n",
            b"\r\n\r\n",
            b"\n--===============733084597421674015",
            b"--",
        ] {
            for size in [1, 3, 7, 1000] {
                let (description, kind, read) = read(GCLOUD, &gcloud(content), size).expect("read");
                assert_eq!((description.as_str(), kind.as_deref()), ("{\"size\": \"4\"}", Some("application/octet-stream")));
                assert_eq!(read, content, "{size}");
            }
        }
    }

    #[test]
    fn t9_other_clients_write_it_by_the_book() {
        let body = b"\r\n--foo bar\r\nContent-Type: application/json\r\n\r\n{}\r\n--foo bar\r\n\r\nx\n\r\n--foo bar--\r\n";
        let (description, kind, content) = read("multipart/related; boundary=\"foo bar\"; charset=x", body, 5).expect("read");
        assert_eq!((description.as_str(), kind, content.as_slice()), ("{}", None, &b"x\n"[..]));
        let quoted = b"--'q'\n\n{}\n--'q'\n\nx\n--'q'--";
        assert_eq!(read("multipart/related; boundary='q'", quoted, 100).expect("read").2, b"x");
    }

    #[test]
    fn t9_bodies_that_are_none_are_refused() {
        assert!(Multipart::new("multipart/related").is_none() && Multipart::new("multipart/related; boundary=").is_none());
        for wrong in [
            &b"--other\n\n{}\n--q\n\nx\n--q--"[..],
            b"--q\n\n{}\n--q--\n",
            b"--q\nContent-Transfer-Encoding: base64\n\n{}\n--q\n\nx\n--q--",
            b"--q\n\n{}\n--q\n\nx",
            b"",
        ] {
            assert!(read("multipart/related; boundary=q", wrong, 4).is_err(), "{}", String::from_utf8_lossy(wrong));
        }
        assert!(read("multipart/related; boundary=q", &vec![b'x'; 100_000], 1000).is_err());
    }

    proptest! {
        #[test]
        fn t9_what_goes_in_comes_out(content in proptest::collection::vec(prop_oneof![Just(b'\n'), Just(b'-'), Just(b'\r'), any::<u8>()], 0..200), size in 1_usize..50) {
            // The delimiter itself cannot stand in a content; clients see to that.
            let (_, _, read) = read(GCLOUD, &gcloud(&content), size).expect("read");
            prop_assert_eq!(read, content);
        }

        #[test]
        fn t9_no_body_can_panic(body in proptest::collection::vec(prop_oneof![Just(b'\n'), Just(b'-'), Just(b'q'), any::<u8>()], 0..120), size in 1_usize..20) {
            let _ = read("multipart/related; boundary=q", &body, size);
        }
    }
}
