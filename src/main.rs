//! The `mediaforge` command.
#![forbid(unsafe_code)]

use std::process::ExitCode;

// Jobs are many small allocations that one thread makes and another frees. The system's allocator spends a sixth of the
// processor's time on them.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    mediaforge::main()
}
