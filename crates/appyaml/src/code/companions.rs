//! (to come)
pub(super) static GROUP: &[&super::Code] = &[];
