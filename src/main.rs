//! The command line: arguments in, an engine or a file out.

mod cli;

use std::process::ExitCode;

// Sockets and symbols come and go on the cold paths of a long run: an allocator that does not fragment.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    cli::run()
}
