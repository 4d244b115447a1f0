//! The launcher alone, so that this crate's tests need not build the whole house. The house itself calls the same function first thing in `main`.

use std::process::ExitCode;

fn main() -> ExitCode {
    fleet::launch::intercept().unwrap_or(ExitCode::from(2))
}
