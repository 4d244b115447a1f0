//! The Pythons that every runtime row is driven on: 2.7 and whatever Python 3 the machine has.

use std::process::Command;
use std::sync::OnceLock;

/// One of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Python {
    /// `runtime: python27`.
    Two,
    /// `runtime: python3xx`, the version that `python3` is.
    Three,
}

/// Both, for tests that run on each.
pub const BOTH: [Python; 2] = [Python::Two, Python::Three];

impl Python {
    /// The name for `runtime:`.
    pub fn runtime(self) -> String {
        match self {
            Self::Two => "python27".into(),
            Self::Three => format!("python3{}", minor()),
        }
    }

    /// The first lines of an app.yaml.
    pub fn head(self) -> String {
        match self {
            Self::Two => "runtime: python27\napi_version: 1\nthreadsafe: true\n".into(),
            Self::Three => format!("runtime: {}\n", self.runtime()),
        }
    }

    /// The value of `script:` that runs `app` of main.py.
    pub fn script(self) -> &'static str {
        match self {
            Self::Two => "main.app",
            Self::Three => "auto",
        }
    }

    /// An app.yaml that sends every path to `app` of main.py; `extra` goes between the head and the handlers.
    pub fn yaml(self, extra: &str) -> String {
        format!("{}{extra}\nhandlers:\n- url: /.*\n  script: {}\n", self.head(), self.script())
    }
}

/// The minor version of `python3`, asked once.
fn minor() -> u32 {
    static MINOR: OnceLock<u32> = OnceLock::new();
    *MINOR.get_or_init(|| {
        let output = Command::new("python3").args(["-c", "import sys; print(sys.version_info[1])"]).output().expect("python3 is installed");
        String::from_utf8_lossy(&output.stdout).trim().parse().expect("python3 tells its version")
    })
}
