//! When an instance uses more memory than its class has: App Engine's two limits and its own log lines.

use crate::config::VersionConfig;

const MB: u64 = 1 << 20;

/// The memory of an instance class.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Memory {
    /// The class's memory in MB: above it, an instance is replaced once a request is over.
    pub limit_mb: u32,
    /// First-generation runtimes write MB, the others MiB.
    pub first_generation: bool,
}

impl Memory {
    /// The memory of a version's instances.
    pub fn of(config: &VersionConfig) -> Self {
        let first_generation = config.runtime.is_first_generation();
        Self { limit_mb: config.class.memory_mb(first_generation), first_generation }
    }

    /// Bytes above which an instance is replaced after a request.
    pub fn soft(self) -> u64 {
        u64::from(self.limit_mb) * MB
    }

    /// Bytes above which an instance is killed at once: a fifth above the class, so that one big request finishes before its instance goes.
    pub fn hard(self) -> u64 {
        self.soft() / 5 * 6
    }

    /// The line that App Engine writes; `kind` is `soft` or `hard`.
    pub fn line(self, kind: &str, used: u64, served: u64) -> String {
        let unit = if self.first_generation { "MB" } else { "MiB" };
        format!(
            "Exceeded {kind} memory limit of {} {unit} with {} {unit} after servicing {served} requests total. Consider setting a larger instance \
             class in app.yaml.",
            self.limit_mb,
            used.div_ceil(MB)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn y22_the_lines_are_app_engines_own() {
        let old = Memory { limit_mb: 128, first_generation: true };
        assert_eq!(
            old.line("soft", 140 * MB, 3),
            "Exceeded soft memory limit of 128 MB with 140 MB after servicing 3 requests total. Consider setting a larger instance class in \
             app.yaml."
        );
        let new = Memory { limit_mb: 384, first_generation: false };
        assert!(new.line("hard", 400 * MB, 3).starts_with("Exceeded hard memory limit of 384 MiB with 400 MiB after servicing 3 requests"));
        assert!(new.hard() > new.soft());
    }
}
