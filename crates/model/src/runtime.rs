//! Which language runtime a version asks for, known by pattern so that tomorrow's `python315` needs no release of ours.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The language of a runtime.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Language {
    /// First-generation Python 2.7: request-local environment, `script:` handlers, WSGI and CGI.
    Python27,
    /// Second-generation Python 3.
    Python3,
    /// Node.js.
    Node,
    /// Go.
    Go,
    /// Java.
    Java,
    /// PHP.
    Php,
    /// Ruby.
    Ruby,
}

/// A runtime as `runtime:` names it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Runtime {
    name: String,
    language: Language,
    /// The version digits of the name: `39` of `python39`, `1.11` of `go1.11`; empty for a bare `java`.
    digits: String,
}

/// Names that the reference lists as retired first-generation runtimes other than python27.
const FIRST_GENERATION: [&str; 8] = ["python", "python25", "php", "php55", "java", "java7", "java8", "go"];

impl Runtime {
    /// Knows a runtime by its pattern: `python27`, `python3x`, `nodejsNN`, `goNNN`, `javaNN`, `phpNN`, `rubyNN`.
    ///
    /// `None` if the name follows none of them.
    pub fn parse(name: &str) -> Option<Self> {
        let split = name.find(|c: char| c.is_ascii_digit()).unwrap_or(name.len());
        let (word, digits) = name.split_at(split);
        let digits_ok = digits.bytes().all(|b| b.is_ascii_digit() || b == b'.');
        let language = match word {
            "python" if digits == "27" => Language::Python27,
            "python" if digits.starts_with('3') => Language::Python3,
            "nodejs" if !digits.is_empty() => Language::Node,
            "go" => Language::Go,
            "java" => Language::Java,
            "php" => Language::Php,
            "ruby" if !digits.is_empty() => Language::Ruby,
            _ => return None,
        };
        digits_ok.then(|| Self { name: name.to_owned(), language, digits: digits.to_owned() })
    }

    /// The name as written.
    pub fn as_str(&self) -> &str {
        &self.name
    }

    /// The language.
    pub fn language(&self) -> Language {
        self.language
    }

    /// For Python: the interpreter's version, `2.7` of `python27`, `3.12` of `python312`.
    pub fn python_version(&self) -> Option<String> {
        match self.language {
            Language::Python27 => Some("2.7".into()),
            Language::Python3 => {
                let minor = &self.digits[1..];
                Some(if minor.is_empty() { "3".into() } else { format!("3.{minor}") })
            }
            _ => None,
        }
    }

    /// The version digits of the name, empty if it has none.
    pub fn digits(&self) -> &str {
        &self.digits
    }

    /// Whether this is a first-generation runtime (request-local environment, bundled services by default, 60 s deadline).
    pub fn is_first_generation(&self) -> bool {
        self.language == Language::Python27 || FIRST_GENERATION.contains(&self.name.as_str())
    }
}

impl fmt::Display for Runtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn y25_runtimes_are_known_by_pattern() {
        for (name, language) in [
            ("python27", Language::Python27),
            ("python39", Language::Python3),
            ("python315", Language::Python3),
            ("nodejs22", Language::Node),
            ("go122", Language::Go),
            ("java21", Language::Java),
            ("php83", Language::Php),
            ("ruby33", Language::Ruby),
        ] {
            assert_eq!(Runtime::parse(name).map(|r| r.language()), Some(language), "{name}");
        }
        for bad in ["python28", "python", "nodejs", "rust1", "", "python3x", "node20"] {
            assert_eq!(Runtime::parse(bad), None, "{bad}");
        }
        assert_eq!(Runtime::parse("python312").and_then(|r| r.python_version()).as_deref(), Some("3.12"));
    }
}
