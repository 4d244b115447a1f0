//! The store as whole processes use and end it.
#![allow(clippy::redundant_closure_for_method_calls, reason = "`View` has a lifetime, with which a method's path is not general enough")]

mod collect;
mod crash;
mod scene;
