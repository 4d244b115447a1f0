//! How many instances a version wants: for now one, from the first request on. Automatic, basic and manual scaling become siblings of this
//! file with the same signature; the machine around it stays.

/// What the decision is made from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Load {
    /// Requests that wait.
    pub(super) pending: usize,
    /// Instances that take requests now or soon.
    pub(super) current: usize,
    /// An instance was lost or replaced and nobody asked for it to go.
    pub(super) lost: bool,
}

/// How many instances there should be.
pub(super) fn solve(load: Load) -> usize {
    usize::from(load.pending > 0 || load.current > 0 || load.lost)
}
