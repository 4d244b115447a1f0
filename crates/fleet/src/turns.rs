//! Kinds of reasons for metrics, whose labels must be few: the scheduler gives reasons for people, with figures in them.

/// What a reason of the scheduler begins with, or holds, and its kind.
const KINDS: [(&str, &str); 8] = [
    ("soft memory limit", "soft_memory"),
    ("hard memory limit", "hard_memory"),
    ("idle for ", "idle"),
    ("> max_idle_instances", "idle"),
    ("a new deployment", "deployment"),
    ("instances is ", "resize"),
    ("the house closes", "shutdown"),
    ("asked to be replaced", "replace"),
];

/// The kind of reason for which an instance is told to end.
pub(crate) fn kind(why: &str) -> &'static str {
    if why.contains("could not reach it") {
        return "unreachable";
    }
    KINDS.iter().find(|(text, _)| why.contains(text)).map_or("other", |(_, kind)| kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_have_few_kinds() {
        assert_eq!(kind("idle for 912 s"), "idle");
        assert_eq!(kind("5 idle instances > max_idle_instances 2"), "idle");
        assert_eq!(kind("hard memory limit"), "hard_memory");
        assert_eq!(kind("three requests in a row could not reach it"), "unreachable");
        assert_eq!(kind("something new"), "other");
    }
}
