//! The query language of Cloud Logging, as far as logs of App Engine need it: comparisons joined by AND, OR, NOT, parentheses. Reads a text once,
//! answers for entries as they are shown. `OR` binds closer than `AND`, as there; text is compared without regard to case, patterns with it.

use std::time::SystemTime;

use model::ids::{ServiceId, VersionId};
use model::journal::Severity;
use regex::Regex;
use serde_json::Value;

/// Longer filters are refused, as Cloud Logging refuses them.
const LONGEST: usize = 20_000;
/// Parentheses within each other.
const DEEPEST: usize = 50;

/// A filter that was read.
#[derive(Debug, Clone)]
pub(crate) struct Filter(Term);

#[derive(Debug, Clone)]
enum Term {
    /// All of them; none is true.
    All(Vec<Self>),
    /// One of them.
    Any(Vec<Self>),
    Not(Box<Self>),
    /// `FIELD OP VALUE`.
    Is(Comparison),
    /// A bare word: stands somewhere in the entry.
    Mentions(String),
}

#[derive(Debug, Clone)]
struct Comparison {
    field: Vec<String>,
    test: Test,
}

#[derive(Debug, Clone)]
enum Test {
    Equal(String),
    Unequal(String),
    Has(String),
    Order(Order, String),
    Matches(Regex),
    Lacks(Regex),
    /// `field:*`.
    Exists,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    Less,
    AtMost,
    More,
    AtLeast,
}

impl Order {
    fn holds(self, ordering: std::cmp::Ordering) -> bool {
        match self {
            Self::Less => ordering.is_lt(),
            Self::AtMost => ordering.is_le(),
            Self::More => ordering.is_gt(),
            Self::AtLeast => ordering.is_ge(),
        }
    }
}

/// What every entry that passes must be like, for a reader that can skip others cheaply.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Bounds {
    /// `resource.labels.module_id`.
    pub(crate) service: Option<ServiceId>,
    /// `resource.labels.version_id`.
    pub(crate) version: Option<VersionId>,
    /// `severity>=`.
    pub(crate) level: Option<Severity>,
    /// Not older.
    pub(crate) since: Option<SystemTime>,
    /// Not newer.
    pub(crate) until: Option<SystemTime>,
}

impl Filter {
    /// Reads a filter; an empty one lets everything pass.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        if text.len() > LONGEST {
            return Err(format!("the filter has {} characters, at most {LONGEST} are read", text.len()));
        }
        let mut parser = Parser { tokens: tokens(text)?, at: 0, depth: 0 };
        let term = parser.conjunction()?;
        match parser.peek() {
            None => Ok(Self(term)),
            Some(rest) => Err(format!("unexpected {rest}")),
        }
    }

    /// Whether an entry passes.
    pub(crate) fn wants(&self, entry: &Value) -> bool {
        self.0.holds(entry)
    }

    /// What follows from the filter for every entry.
    pub(crate) fn bounds(&self) -> Bounds {
        let mut bounds = Bounds::default();
        self.0.bound(&mut bounds);
        bounds
    }
}

impl Term {
    fn holds(&self, entry: &Value) -> bool {
        match self {
            Self::All(terms) => terms.iter().all(|term| term.holds(entry)),
            Self::Any(terms) => terms.iter().any(|term| term.holds(entry)),
            Self::Not(term) => !term.holds(entry),
            Self::Is(comparison) => comparison.holds(entry),
            Self::Mentions(word) => mentions(entry, word),
        }
    }

    fn bound(&self, bounds: &mut Bounds) {
        match self {
            Self::All(terms) => terms.iter().for_each(|term| term.bound(bounds)),
            Self::Is(comparison) => comparison.bound(bounds),
            _ => {}
        }
    }
}

impl Comparison {
    fn bound(&self, bounds: &mut Bounds) {
        let field: Vec<&str> = self.field.iter().map(String::as_str).collect();
        match (field.as_slice(), &self.test) {
            (["resource", "labels", "module_id"], Test::Equal(text)) => bounds.service = text.to_ascii_lowercase().parse().ok(),
            (["resource", "labels", "version_id"], Test::Equal(text)) => bounds.version = text.to_ascii_lowercase().parse().ok(),
            (["severity"], Test::Order(Order::AtLeast, text)) => bounds.level = Severity::parse(text),
            (["timestamp"], Test::Order(Order::More | Order::AtLeast, text)) => bounds.since = time(text),
            (["timestamp"], Test::Order(Order::Less | Order::AtMost, text)) => bounds.until = time(text),
            _ => {}
        }
    }

    fn holds(&self, entry: &Value) -> bool {
        let mut found = Vec::new();
        look_up(entry, &self.field, &mut found);
        found.iter().any(|value| self.holds_for(value))
    }

    fn holds_for(&self, value: &Value) -> bool {
        let name = self.field.last().map_or("", String::as_str);
        match &self.test {
            Test::Exists => true,
            Test::Equal(text) => equal(name, value, text),
            Test::Unequal(text) => !equal(name, value, text),
            Test::Has(text) => mentions(value, text),
            Test::Order(order, text) => compare(name, value, text).is_some_and(|ordering| order.holds(ordering)),
            Test::Matches(regex) => plain(value).is_some_and(|text| regex.is_match(&text)),
            Test::Lacks(regex) => plain(value).is_some_and(|text| !regex.is_match(&text)),
        }
    }
}

/// The values of a path; a list stands for each of its elements.
fn look_up<'v>(value: &'v Value, path: &[String], found: &mut Vec<&'v Value>) {
    match (value, path) {
        (Value::Array(items), _) => items.iter().for_each(|item| look_up(item, path, found)),
        (_, []) => found.push(value),
        (Value::Object(fields), [first, rest @ ..]) => {
            let field = fields.get(first).or_else(|| fields.get(&camel(first)));
            if let Some(field) = field {
                look_up(field, rest, found);
            }
        }
        _ => {}
    }
}

/// `log_name` names `logName` too.
fn camel(name: &str) -> String {
    let mut parts = name.split('_');
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |mut all, part| {
        let mut letters = part.chars();
        all.extend(letters.next().map(|letter| letter.to_ascii_uppercase()));
        all + letters.as_str()
    })
}

fn plain(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(flag.to_string()),
        _ => None,
    }
}

fn equal(name: &str, value: &Value, text: &str) -> bool {
    compare(name, value, text).map_or_else(|| plain(value).is_some_and(|own| own.eq_ignore_ascii_case(text)), std::cmp::Ordering::is_eq)
}

/// Times, levels and numbers by their worth, everything else as text.
fn compare(name: &str, value: &Value, text: &str) -> Option<std::cmp::Ordering> {
    let own = plain(value)?;
    if matches!(name, "timestamp" | "receiveTimestamp" | "receive_timestamp" | "startTime" | "endTime") {
        return Some(time(&own)?.cmp(&time(text)?));
    }
    if name == "severity" {
        return Some(Severity::parse(&own)?.cmp(&Severity::parse(text)?));
    }
    let number = |text: &str| text.strip_suffix('s').unwrap_or(text).parse::<f64>().ok();
    if name != "insertId"
        && let (Some(own), Some(wanted)) = (number(&own), number(text))
    {
        return own.partial_cmp(&wanted);
    }
    Some(own.to_ascii_lowercase().cmp(&text.to_ascii_lowercase()))
}

fn mentions(value: &Value, word: &str) -> bool {
    match value {
        Value::Array(items) => items.iter().any(|item| mentions(item, word)),
        Value::Object(fields) => fields.values().any(|field| mentions(field, word)),
        other => plain(other).is_some_and(|text| text.to_ascii_lowercase().contains(&word.to_ascii_lowercase())),
    }
}

/// RFC 3339, or a day, which begins at midnight.
fn time(text: &str) -> Option<SystemTime> {
    let micros = model::time::stamp(text).or_else(|| model::time::stamp(&format!("{text}T00:00:00Z")))?;
    SystemTime::UNIX_EPOCH.checked_add(std::time::Duration::from_micros(micros))
}

#[derive(Debug, Clone, PartialEq)]
enum Token {
    Word(String),
    Quoted(String),
    Op(&'static str),
    Open,
    Close,
    Dot,
    Minus,
}

impl std::fmt::Display for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Word(text) | Self::Quoted(text) => write!(f, "`{text}`"),
            Self::Op(op) => write!(f, "`{op}`"),
            Self::Open => f.write_str("`(`"),
            Self::Close => f.write_str("`)`"),
            Self::Dot => f.write_str("`.`"),
            Self::Minus => f.write_str("`-`"),
        }
    }
}

/// Longer ones first.
const OPS: [&str; 9] = ["!=", ">=", "<=", "=~", "!~", "=", ">", "<", ":"];

fn tokens(text: &str) -> Result<Vec<Token>, String> {
    let mut found = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let (token, length) = if let Some(op) = OPS.iter().find(|op| rest.starts_with(**op)) {
            (Some(Token::Op(op)), op.len())
        } else if rest.starts_with("--") {
            (None, rest.find('\n').unwrap_or(rest.len()))
        } else if matches!(first, '"' | '\'') {
            let (text, length) = quoted(rest, first)?;
            (Some(Token::Quoted(text)), length)
        } else if let Some(token) = single(first) {
            (Some(token), 1)
        } else {
            let length = rest.find(|c: char| c.is_whitespace() || "()=<>!:,\"'.".contains(c)).unwrap_or(rest.len());
            if length == 0 {
                return Err(format!("unexpected `{first}`"));
            }
            (Some(Token::Word(rest[..length].to_owned())), length)
        };
        found.extend(token);
        rest = rest[length..].trim_start();
    }
    Ok(found)
}

fn single(first: char) -> Option<Token> {
    match first {
        '(' => Some(Token::Open),
        ')' => Some(Token::Close),
        '.' => Some(Token::Dot),
        '-' => Some(Token::Minus),
        _ => None,
    }
}

/// A string in quotes, and how long it stands in the text.
fn quoted(text: &str, quote: char) -> Result<(String, usize), String> {
    let mut own = String::new();
    let mut letters = text.char_indices().skip(1);
    while let Some((at, letter)) = letters.next() {
        match letter {
            '\\' => match letters.next() {
                Some((_, 'n')) => own.push('\n'),
                Some((_, 't')) => own.push('\t'),
                Some((_, other @ ('"' | '\'' | '\\'))) => own.push(other),
                // Patterns keep theirs: `"\d+"`.
                Some((_, other)) => own.extend(['\\', other]),
                None => break,
            },
            letter if letter == quote => return Ok((own, at + letter.len_utf8())),
            letter => own.push(letter),
        }
    }
    Err("a string has no end".into())
}

struct Parser {
    tokens: Vec<Token>,
    at: usize,
    depth: usize,
}

impl Parser {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at)
    }

    fn next(&mut self) -> Option<Token> {
        let token = self.tokens.get(self.at).cloned();
        self.at += 1;
        token
    }

    fn eat(&mut self, wanted: &Token) -> bool {
        let is_next = self.peek() == Some(wanted);
        self.at += usize::from(is_next);
        is_next
    }

    fn eat_word(&mut self, wanted: &str) -> bool {
        self.eat(&Token::Word(wanted.to_owned()))
    }

    fn conjunction(&mut self) -> Result<Term, String> {
        let mut terms = Vec::new();
        while !matches!(self.peek(), None | Some(Token::Close)) {
            terms.push(self.disjunction()?);
            // Two terms beside each other are joined too.
            self.eat_word("AND");
        }
        Ok(one_or(terms, Term::All))
    }

    fn disjunction(&mut self) -> Result<Term, String> {
        let mut terms = vec![self.negation()?];
        while self.eat_word("OR") {
            terms.push(self.negation()?);
        }
        Ok(one_or(terms, Term::Any))
    }

    fn negation(&mut self) -> Result<Term, String> {
        if self.eat_word("NOT") || self.eat(&Token::Minus) {
            return Ok(Term::Not(Box::new(self.deeper(Self::negation)?)));
        }
        if self.eat(&Token::Open) {
            let term = self.deeper(Self::conjunction)?;
            return if self.eat(&Token::Close) { Ok(term) } else { Err("a parenthesis is not closed".into()) };
        }
        self.comparison()
    }

    fn deeper(&mut self, parse: fn(&mut Self) -> Result<Term, String>) -> Result<Term, String> {
        self.depth += 1;
        if self.depth > DEEPEST {
            return Err(format!("more than {DEEPEST} levels"));
        }
        let term = parse(self);
        self.depth -= 1;
        term
    }

    fn comparison(&mut self) -> Result<Term, String> {
        let first = match self.next() {
            Some(Token::Word(text) | Token::Quoted(text)) => text,
            Some(other) => return Err(format!("unexpected {other}")),
            None => return Err("the filter ends where a field is expected".into()),
        };
        let mut field = vec![first];
        while self.eat(&Token::Dot) {
            match self.next() {
                Some(Token::Word(text) | Token::Quoted(text)) => field.push(text),
                _ => return Err(format!("a name is missing after `{}.`", field.join("."))),
            }
        }
        if field == ["log_id"] && self.eat(&Token::Open) {
            return self.log_id();
        }
        let Some(Token::Op(op)) = self.peek() else { return Ok(Term::Mentions(field.join("."))) };
        let op = *op;
        self.at += 1;
        self.values(&field, op)
    }

    /// `log_id("stdout")` is short for the whole name of a log.
    fn log_id(&mut self) -> Result<Term, String> {
        match (self.next(), self.next()) {
            (Some(Token::Quoted(id) | Token::Word(id)), Some(Token::Close)) => {
                let id = regex::escape(&id.replace('/', "%2F"));
                comparison(&["logName".to_owned()], "=~", format!("/logs/{id}$"))
            }
            _ => Err("log_id takes one name in quotes".into()),
        }
    }

    /// One value, or several in parentheses: `logName=("a" OR "b")`.
    fn values(&mut self, field: &[String], op: &'static str) -> Result<Term, String> {
        if !self.eat(&Token::Open) {
            return comparison(field, op, self.value()?);
        }
        let mut all = Vec::new();
        loop {
            let mut any = vec![self.signed(field, op)?];
            while self.eat_word("OR") {
                any.push(self.signed(field, op)?);
            }
            all.push(one_or(any, Term::Any));
            if self.eat(&Token::Close) {
                return Ok(one_or(all, Term::All));
            }
            self.eat_word("AND");
        }
    }

    fn signed(&mut self, field: &[String], op: &'static str) -> Result<Term, String> {
        let negative = self.eat_word("NOT");
        let term = comparison(field, op, self.value()?)?;
        Ok(if negative { Term::Not(Box::new(term)) } else { term })
    }

    /// Words that are glued by dots and signs are one value: `default.123`, `-1.5`.
    fn value(&mut self) -> Result<String, String> {
        let minus = if self.eat(&Token::Minus) { "-" } else { "" };
        match self.next() {
            Some(Token::Quoted(text)) => Ok(text),
            Some(Token::Word(word)) => {
                let mut text = minus.to_owned() + &word;
                while self.eat(&Token::Dot) {
                    let Some(Token::Word(more)) = self.next() else { return Err(format!("`{text}.` is not a value")) };
                    text = text + "." + &more;
                }
                Ok(text)
            }
            Some(other) => Err(format!("unexpected {other} where a value is expected")),
            None => Err("the filter ends where a value is expected".into()),
        }
    }
}

fn one_or(mut terms: Vec<Term>, many: fn(Vec<Term>) -> Term) -> Term {
    match terms.pop() {
        Some(only) if terms.is_empty() => only,
        last => {
            terms.extend(last);
            many(terms)
        }
    }
}

fn comparison(field: &[String], op: &'static str, value: String) -> Result<Term, String> {
    let regex = |text: &str| Regex::new(text).map_err(|error| format!("`{text}` is not a pattern: {error}"));
    let test = match op {
        "=" => Test::Equal(value),
        "!=" => Test::Unequal(value),
        ":" if value == "*" => Test::Exists,
        ":" => Test::Has(value),
        "=~" => Test::Matches(regex(&value)?),
        "!~" => Test::Lacks(regex(&value)?),
        "<" => Test::Order(Order::Less, value),
        "<=" => Test::Order(Order::AtMost, value),
        ">" => Test::Order(Order::More, value),
        _ => Test::Order(Order::AtLeast, value),
    };
    Ok(Term::Is(Comparison { field: field.to_vec(), test }))
}

#[cfg(test)]
mod tests;
