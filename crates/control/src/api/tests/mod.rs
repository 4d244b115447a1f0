//! The API through a real socket, over a real store. What carries changes out here does so at once: the driver has tests of its own, and the whole
//! server is tested in `crates/enginehouse/tests/it`.

mod harness;
mod listing;
mod own;
mod resources;
mod traffic;
