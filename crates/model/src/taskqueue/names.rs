//! Names of queues and tasks.

/// Digits of a name that the house chose.
pub const AUTO_NAME: usize = 20;

/// The SDK's `_QUEUE_NAME_REGEX`: `[a-zA-Z0-9-]{1,100}`. Names such as `__cron` belong to the house.
pub fn is_queue_name(name: &str) -> bool {
    (1..=100).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
}

/// The SDK's `_TASK_NAME_REGEX`: `[a-zA-Z0-9_-]{1,500}`.
pub fn is_task_name(name: &str) -> bool {
    (1..=500).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

/// Whether a name may have been chosen by the house at or before `now`: 16 digits of a clock, and four more. Such names rise, which keeps the index of
/// names cheap, and need no tombstones.
pub fn is_auto_name(name: &str, now: super::Micros) -> bool {
    name.len() == AUTO_NAME
        && name.bytes().all(|b| b.is_ascii_digit())
        // Our clock is past 2001 and before 2286.
        && name.get(..16).and_then(|clock| clock.parse::<i64>().ok()).is_some_and(|clock| clock > 1_000_000_000_000_000 && clock <= now)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s1_names_as_the_sdk_takes_them() {
        assert!(is_queue_name("default") && is_queue_name(&"q".repeat(100)));
        assert!(!is_queue_name("") && !is_queue_name("a_b") && !is_queue_name(&"q".repeat(101)) && !is_queue_name("ü"));
        assert!(is_task_name("a_b-C9") && is_task_name(&"t".repeat(500)));
        assert!(!is_task_name("") && !is_task_name("a b") && !is_task_name(&"t".repeat(501)));
        assert!(
            is_auto_name("17632000000000000001", 1_763_200_000_000_000) && !is_auto_name("17632000000000010001", 1_763_200_000_000_000)
        );
        assert!(!is_auto_name("task1", i64::MAX));
    }
}
