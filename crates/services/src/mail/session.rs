//! The conversation with a server that brings mail (RFC 5321), as far as it is decisions: what a line is answered with, and where a message ends. Pure.

use super::address::is_address;

/// Bytes of a line of commands (RFC 5321 §4.5.3.1.4 asks for 512).
pub const LINE: usize = 2048;
/// Bytes of a message (docs, "Mail API": incoming messages up to 31.5 MB).
pub const MOST: usize = 32 << 20;
/// Recipients of one message (RFC 5321 §4.5.3.1.8 asks for 100).
const RECIPIENTS: usize = 100;
/// Mistakes that are listened to.
const PATIENCE: u32 = 10;
/// Messages and commands of one connection.
const COMMANDS: u32 = 10_000;

/// What is done about a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// This is said.
    Say(String),
    /// This is said, and then a message follows.
    Data(&'static str),
    /// This is said, and then TLS begins; nothing that was said before counts (RFC 3207 §4.2).
    Secure(&'static str),
    /// This is said, and then the connection is closed.
    Close(String),
}

/// How the connection is protected.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Guard {
    /// It is not, and cannot be.
    #[default]
    Never,
    /// STARTTLS is offered.
    Offered,
    /// By TLS.
    Tls,
}

/// The conversation so far.
#[derive(Debug, Default)]
pub struct Session {
    guard: Guard,
    helo: Option<String>,
    /// It was EHLO.
    extended: bool,
    from: Option<String>,
    to: Vec<String>,
    mistakes: u32,
    commands: u32,
}

/// Where a message comes from and goes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    /// How the other side calls itself.
    pub helo: String,
    /// How it came, as `Received` says it (RFC 3848).
    pub with: &'static str,
    /// The sender; empty for reports of other mail servers.
    pub from: String,
    /// The recipients.
    pub to: Vec<String>,
}

/// The first words.
pub const GREETING: &str = "220 Enginehouse ESMTP";

impl Session {
    /// A conversation on such a connection.
    pub fn new(guard: Guard) -> Self {
        Self { guard, ..Self::default() }
    }

    /// Answers a line, without its end. `known` says whether there is somebody at an address.
    pub fn line(&mut self, line: &[u8], known: impl Fn(&str) -> bool) -> Step {
        self.commands += 1;
        if self.commands > COMMANDS {
            return Step::Close("421 4.7.0 Too many commands; come again".into());
        }
        let Ok(text) = std::str::from_utf8(line) else { return self.mistake("500 5.5.2 That is no text") };
        if text.chars().any(char::is_control) {
            return self.mistake("500 5.5.2 That is no text");
        }
        let (verb, rest) = text.trim_end().split_once(' ').unwrap_or((text.trim_end(), ""));
        match verb.to_ascii_uppercase().as_str() {
            "EHLO" => {
                let tls = if self.guard == Guard::Offered { "250-STARTTLS\r\n" } else { "" };
                let said = format!("250-Enginehouse\r\n250-SIZE {MOST}\r\n250-8BITMIME\r\n250-PIPELINING\r\n{tls}250 ENHANCEDSTATUSCODES");
                self.hello(rest, true, &said)
            }
            "HELO" => self.hello(rest, false, "250 Enginehouse"),
            "STARTTLS" => self.start_tls(rest),
            "MAIL" => self.mail(rest),
            "RCPT" => self.rcpt(rest, known),
            "DATA" if self.from.is_none() => self.mistake("503 5.5.1 First MAIL FROM"),
            "DATA" if self.to.is_empty() => self.mistake("554 5.5.1 No valid recipients"),
            "DATA" => Step::Data("354 End with <CRLF>.<CRLF>"),
            "RSET" => {
                self.reset();
                Step::Say("250 2.0.0 OK".into())
            }
            "NOOP" => Step::Say("250 2.0.0 OK".into()),
            "VRFY" | "EXPN" => Step::Say("252 2.1.5 Send mail and see".into()),
            "HELP" => Step::Say("214 2.0.0 RFC 5321".into()),
            "QUIT" => Step::Close("221 2.0.0 Bye".into()),
            _ => self.mistake("502 5.5.1 There is no such command"),
        }
    }

    /// A line was too long.
    pub fn overlong(&mut self) -> Step {
        self.mistake("500 5.5.2 The line is too long")
    }

    /// The message is there; the next one may follow.
    pub fn take(&mut self) -> Option<Envelope> {
        let with = match (self.guard, self.extended) {
            (Guard::Tls, _) => "ESMTPS",
            (_, true) => "ESMTP",
            (_, false) => "SMTP",
        };
        let helo = self.helo.clone().unwrap_or_default();
        Some(Envelope { helo, with, from: self.from.take()?, to: std::mem::take(&mut self.to) })
    }

    fn start_tls(&mut self, rest: &str) -> Step {
        match self.guard {
            Guard::Never => self.mistake("502 5.5.1 There is no such command"),
            Guard::Tls => self.mistake("503 5.5.1 TLS is on already"),
            Guard::Offered if !rest.is_empty() => self.mistake("501 5.5.4 STARTTLS has no parameters"),
            Guard::Offered => Step::Secure("220 2.0.0 Go on with TLS"),
        }
    }

    fn hello(&mut self, name: &str, extended: bool, said: &str) -> Step {
        if name.is_empty() || name.len() > 255 || !name.bytes().all(|b| b.is_ascii_graphic()) {
            return self.mistake("501 5.5.4 Who are you?");
        }
        self.reset();
        (self.helo, self.extended) = (Some(name.to_owned()), extended);
        Step::Say(said.into())
    }

    fn mail(&mut self, rest: &str) -> Step {
        if self.helo.is_none() {
            return self.mistake("503 5.5.1 First EHLO");
        }
        if self.from.is_some() {
            return self.mistake("503 5.5.1 One sender is enough");
        }
        let Some((address, parameters)) = path(rest, "FROM:") else { return self.mistake("501 5.5.4 MAIL FROM:<address>") };
        if !address.is_empty() && !is_address(address) {
            return self.mistake("553 5.1.7 The address is malformed");
        }
        for parameter in parameters.split_whitespace() {
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            match name.to_ascii_uppercase().as_str() {
                "SIZE" if value.parse::<usize>().is_ok_and(|size| size > MOST) => {
                    return self.mistake("552 5.3.4 The message is too large");
                }
                "SIZE" | "BODY" => {}
                _ => return self.mistake("555 5.5.4 There is no such parameter"),
            }
        }
        self.from = Some(address.to_owned());
        Step::Say("250 2.1.0 OK".into())
    }

    fn rcpt(&mut self, rest: &str, known: impl Fn(&str) -> bool) -> Step {
        if self.from.is_none() {
            return self.mistake("503 5.5.1 First MAIL FROM");
        }
        let Some((address, parameters)) = path(rest, "TO:") else { return self.mistake("501 5.5.4 RCPT TO:<address>") };
        if !is_address(address) {
            return self.mistake("553 5.1.3 The address is malformed");
        }
        if !parameters.is_empty() {
            return self.mistake("555 5.5.4 There is no such parameter");
        }
        if self.to.len() >= RECIPIENTS {
            return Step::Say("452 4.5.3 Too many recipients; send the others their own".into());
        }
        if !known(address) {
            return self.mistake("550 5.1.1 No app of this server takes mail for this address");
        }
        if !self.to.iter().any(|known| known == address) {
            self.to.push(address.to_owned());
        }
        Step::Say("250 2.1.5 OK".into())
    }

    fn reset(&mut self) {
        self.from = None;
        self.to.clear();
    }

    fn mistake(&mut self, said: &str) -> Step {
        self.mistakes += 1;
        if self.mistakes >= PATIENCE { Step::Close(format!("{said}\r\n421 4.7.0 Too many mistakes")) } else { Step::Say(said.into()) }
    }
}

/// `FROM:<a@b> SIZE=3` → `a@b`, `SIZE=3`.
fn path<'l>(rest: &'l str, word: &str) -> Option<(&'l str, &'l str)> {
    let head = rest.get(..word.len()).filter(|head| head.eq_ignore_ascii_case(word))?;
    let rest = rest[head.len()..].trim_start().strip_prefix('<')?;
    let (address, parameters) = rest.split_once('>')?;
    // Routes are long gone (RFC 5321 §4.1.1.3): what stands behind the last colon counts.
    let address = if address.starts_with('@') { address.split_once(':')?.1 } else { address };
    Some((address, parameters.trim()))
}

/// Puts a message together. Only `CRLF.CRLF` ends it: what other servers take for a line's end is a character like any other, so nothing can be smuggled
/// past them into here.
#[derive(Debug, Default)]
pub struct Collector {
    message: Vec<u8>,
    at: At,
    /// Bytes that came, kept or not.
    came: usize,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum At {
    #[default]
    Start,
    Dot,
    DotCr,
    Inside,
    Cr,
}

impl Collector {
    /// Takes bytes in; how many of them, and whether the message has ended behind them.
    pub fn feed(&mut self, bytes: &[u8]) -> (usize, bool) {
        for (index, &b) in bytes.iter().enumerate() {
            self.came += 1;
            self.at = match (self.at, b) {
                (At::Start, b'.') => At::Dot,
                (At::Dot, b'\r') => At::DotCr,
                (At::DotCr, b'\n') => return (index + 1, true),
                (At::DotCr, _) => {
                    self.keep(b'\r');
                    self.keep(b);
                    if b == b'\r' { At::Cr } else { At::Inside }
                }
                (At::Cr, b'\n') => {
                    self.keep(b);
                    At::Start
                }
                (_, b'\r') => {
                    self.keep(b);
                    At::Cr
                }
                _ => {
                    self.keep(b);
                    At::Inside
                }
            };
        }
        (bytes.len(), false)
    }

    fn keep(&mut self, b: u8) {
        if self.message.len() <= MOST {
            self.message.push(b);
        }
    }

    /// Bytes that it holds.
    pub fn len(&self) -> usize {
        self.message.len()
    }

    /// It holds none.
    pub fn is_empty(&self) -> bool {
        self.message.is_empty()
    }

    /// There is more than a message may have.
    pub fn is_too_large(&self) -> bool {
        self.message.len() > MOST
    }

    /// Whoever sends that much in vain does not mean well.
    pub fn is_hopeless(&self) -> bool {
        self.came > 2 * MOST
    }

    /// The message.
    pub fn into_message(self) -> Vec<u8> {
        self.message
    }
}

/// The subject in the head of a message, for lists; undecoded words stay as they are.
pub fn header(message: &[u8], name: &str) -> Option<String> {
    let mut found: Option<String> = None;
    for line in message.split(|b| *b == b'\n').take(1000) {
        let line = String::from_utf8_lossy(line);
        let line = line.trim_end_matches('\r');
        if line.is_empty() {
            break;
        }
        match &mut found {
            Some(value) if line.starts_with([' ', '\t']) => value.push_str(line),
            Some(_) => break,
            None => {
                if let Some((key, value)) = line.split_once(':')
                    && key.trim_end().eq_ignore_ascii_case(name)
                {
                    found = Some(value.trim_start().to_owned());
                }
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn say(session: &mut Session, line: &str) -> String {
        match session.line(line.as_bytes(), |address| address.ends_with("@shop.appspotmail.com")) {
            Step::Say(said) | Step::Close(said) => said,
            Step::Data(said) | Step::Secure(said) => said.into(),
        }
    }

    #[test]
    fn y21_tls_is_offered_once() {
        let mut plain = Session::default();
        assert!(!say(&mut plain, "EHLO x").contains("STARTTLS") && say(&mut plain, "STARTTLS").starts_with("502"));
        let mut offered = Session::new(Guard::Offered);
        assert!(say(&mut offered, "EHLO x").contains("250-STARTTLS\r\n"));
        assert!(say(&mut offered, "STARTTLS now").starts_with("501"));
        assert!(matches!(offered.line(b"starttls", |_| true), Step::Secure(_)));
        let mut inside = Session::new(Guard::Tls);
        assert!(!say(&mut inside, "EHLO x").contains("STARTTLS") && say(&mut inside, "STARTTLS").starts_with("503"));
        say(&mut inside, "MAIL FROM:<>");
        assert_eq!(inside.take().map(|envelope| envelope.with), Some("ESMTPS"));
    }

    #[test]
    fn y21_a_conversation() {
        let mut session = Session::default();
        for (line, wanted) in [
            ("MAIL FROM:<a@b>", "503"),
            ("ehlo there.example", "250-Enginehouse"),
            ("RCPT TO:<x@shop.appspotmail.com>", "503"),
            ("mail from:<a@b.example> SIZE=1000 BODY=8BITMIME", "250"),
            ("MAIL FROM:<a@b>", "503"),
            ("DATA", "554"),
            ("RCPT TO:<x@elsewhere.example>", "550"),
            ("RCPT TO:<x@shop.appspotmail.com>", "250"),
            ("rcpt to: <y@shop.appspotmail.com>", "250"),
            ("RCPT TO:<x@shop.appspotmail.com>", "250"),
            ("NOOP", "250"),
            ("DATA", "354"),
        ] {
            assert!(say(&mut session, line).starts_with(wanted), "{line}");
        }
        let envelope = session.take().expect("one");
        assert_eq!((envelope.from.as_str(), envelope.to.len()), ("a@b.example", 2));
        assert!(session.take().is_none());
        assert!(say(&mut session, "MAIL FROM:<>").starts_with("250"), "reports have no sender");
        assert!(say(&mut session, "QUIT").starts_with("221"));
    }

    #[test]
    fn y21_mistakes_end_it() {
        let mut session = Session::default();
        let said: Vec<_> = (0..10).map(|_| session.line(b"GET / HTTP/1.1", |_| true)).collect();
        assert!(matches!(&said[8], Step::Say(_)) && matches!(&said[9], Step::Close(_)));
        for line in ["MAIL FROM:<a@b> SIZE=99999999999", "MAIL FROM:<a@b> AUTH=x", "MAIL FROM:a@b", "MAIL FROM:<a b@c>", "MAIL", "\u{7}"] {
            let mut session = Session::default();
            say(&mut session, "EHLO x");
            assert!(say(&mut session, line).starts_with('5'), "{line}");
        }
    }

    fn collected(bytes: &[u8]) -> (Vec<u8>, usize, bool) {
        let mut collector = Collector::default();
        let (taken, done) = collector.feed(bytes);
        (collector.into_message(), taken, done)
    }

    #[test]
    fn y21_only_one_end_ends_a_message() {
        assert_eq!(collected(b"a\r\n.\r\nQUIT"), (b"a\r\n".to_vec(), 6, true));
        assert_eq!(collected(b"..a\r\n...\r\n.\r\n"), (b".a\r\n..\r\n".to_vec(), 13, true));
        assert_eq!(collected(b".\r\n"), (Vec::new(), 3, true));
        for smuggled in [b"a\n.\nMAIL FROM:<x>".as_slice(), b"a\n.\r\nMAIL", b"a\r.\r\nMAIL", b"a\r\n.\nMAIL", b"a\r\n.\rMAIL"] {
            assert!(!collected(smuggled).2, "{smuggled:?}");
        }
    }

    #[test]
    fn y21_headers_are_found() {
        let message = b"From: a\r\nsubject:  one\r\n two\r\nTo: b\r\n\r\nSubject: no\r\n";
        assert_eq!(header(message, "Subject").as_deref(), Some("one two"));
        assert_eq!(header(message, "Cc"), None);
    }

    proptest! {
        /// What our own side writes, it reads again, in whatever pieces it comes.
        #[test]
        fn y21_stuffing_and_collecting_are_inverse(lines in proptest::collection::vec("[ -~.]{0,20}", 1..10), cut in 1usize..7) {
            let message = (lines.join("\r\n") + "\r\n").into_bytes();
            let wire = super::super::relay::stuffed(&message);
            let mut collector = Collector::default();
            let mut ended = false;
            for piece in wire.chunks(cut) {
                prop_assert!(!ended);
                let (taken, done) = collector.feed(piece);
                prop_assert_eq!(taken, piece.len());
                ended = done;
            }
            prop_assert!(ended);
            prop_assert_eq!(collector.into_message(), message);
        }
    }
}
